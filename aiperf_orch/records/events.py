"""Events of an attempt: begin, epoch and end lines, written by the trial."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from aiperf_orch.records.base import (
    EndReason,
    EnergyOf,
    Error,
    Name,
    Natural,
    Operations,
    Positive,
    Record,
    Sha256,
    Version,
)
from aiperf_orch.util.units import Timestamp


class _Event(Record):
    trial: Natural
    attempt: Positive
    run: Natural


class Begin(_Event):
    """First line of a run, written after preparation and before training; the first one starts the campaign's clock.

    `inherited` is whether the trial began with its parent's weights, `batch` the initial batch of one accelerator,
    `clock_skew` the seconds that the node's clock is ahead of the file server's, `set_ahead` the seconds that the run's
    times are ahead of the node's clock, so that they are not before the job's submission. `workers` is the world size,
    one worker on each accelerator; `data_sha256` is the digest of the data set's listing.
    """

    type: Literal["begin"] = "begin"
    time: Timestamp
    hosts: list[str]
    job: str
    batch: Positive
    spec_sha256: Sha256
    trainer: Literal["torch", "simulated"]
    device: str
    precision: Name
    cores: Positive
    inherited: bool
    workers: Positive = 1
    compiled: bool = False
    data_sha256: Sha256 | None = None
    clock_skew: float
    set_ahead: Annotated[float, Field(ge=0, lt=1e10)] = 0.0
    versions: dict[Name, Version]

    def to_line(self) -> str:
        """The event as one line of JSON; without `set_ahead` where it is 0, so that 0.1.0 reads the line, too."""
        return self.model_dump_json(exclude=None if self.set_ahead else {"set_ahead"})


class Epoch(_Event):
    """One epoch that was trained and validated.

    `error` is top-1, wrong images / `val_images`; `batch` what one accelerator took, after any halving for want of
    memory. `skipped` training images could not be read, and count nowhere. `data_wait` is the share of the time that
    steps waited for data, `energy` what all nodes took, in joules, of those parts that `energy_of` names; None where
    it is not known.
    """

    type: Literal["epoch"] = "epoch"
    epoch: Positive
    start: Timestamp
    end: Timestamp
    train_images: Natural
    val_images: Positive
    loss: float
    error: Error
    ops: Operations
    batch: Positive
    skipped: Natural = 0
    data_wait: Error | None = None
    energy: Annotated[float, Field(ge=0, lt=1e30)] | None = None
    energy_of: EnergyOf | None = None


class End(_Event):
    """A trial's last line. `best_error` and `best_epoch` are None when no epoch ended."""

    type: Literal["end"] = "end"
    time: Timestamp
    reason: EndReason
    best_error: Error | None = None
    best_epoch: Positive | None = None
    weights_sha256: Sha256 | None = None
    message: str = ""


Event = Annotated[Begin | Epoch | End, Field(discriminator="type")]
event_adapter: TypeAdapter[Begin | Epoch | End] = TypeAdapter(Event)
