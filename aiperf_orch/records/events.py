"""Events of an attempt: begin, epoch and end lines, written by the trial."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from aiperf_orch.records.agents import AgentName
from aiperf_orch.records.base import (
    EndReason,
    EnergyOf,
    Error,
    JobName,
    Name,
    Natural,
    Operations,
    Positive,
    Record,
    Sha256,
    Version,
)
from aiperf_orch.util.units import Timestamp

SIMULATED: Final = "simulated"
"""Trainer and device of trials in which no training took place."""
CPU: Final = "cpu"
"""Device of trials that are trained on the processors of their nodes."""
_EPOCH_CONFIG: Final = ConfigDict(extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")


@dataclass(frozen=True, slots=True, kw_only=True, config=_EPOCH_CONFIG)
class NodeMeasurements:
    """What the telemetry of one or more nodes measured during an epoch.

    Attributes:
        energy: Energy in joules of the parts that `energy_of` names; None where it is not known.
        energy_of: The parts whose energy was measured; None where it is not known.
    """

    energy: Annotated[float, Field(ge=0, lt=1e30)] | None = None
    energy_of: EnergyOf | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_EPOCH_CONFIG)
class EpochMeasurements(NodeMeasurements):
    """What was measured of one epoch: passed whole from the trainer to the event, and part of every epoch event.

    A new measured number is a field here (or in `NodeMeasurements`), a value where it is measured (the trainer or the
    telemetry) and a column in `results.tables`: no other module copies these fields by name. Fields are numbers and
    literals, since redaction leaves epoch events as they are.

    Attributes:
        train_images: Number of images that were trained.
        val_images: Number of images that were validated.
        loss: Mean training loss per image. NaN or infinite when training diverged; never so in an event.
        error: Top-1 error on the validation images: misclassified images / `val_images`.
        batch: Batch size per worker, after any halving for lack of memory.
        skipped: Number of training images that could not be read; they count nowhere.
        data_wait: Share of the epoch that training steps waited for data; None where it was not measured.
    """

    train_images: Natural
    val_images: Positive
    loss: Annotated[float, Field(allow_inf_nan=True)]
    error: Error
    batch: Positive
    skipped: Natural = 0
    data_wait: Error | None = None


class TrainingSetup(Record):
    """What a trainer found and uses: part of every begin event.

    Attributes:
        batch: Batch size per worker at the start.
        device: Name of the accelerator or processor.
        precision: Number format of the computation.
        cores: Number of processor cores available to each task.
        inherited: Whether training started from weights of the parent.
        workers: Number of workers that train together, one on each accelerator.
        compiled: Whether the network was compiled.
        data_sha256: Digest of the data set's listing; None where the data set has none.
        versions: Version of each relevant package.
    """

    batch: Positive
    device: str
    precision: Name
    cores: Positive
    inherited: bool
    workers: Positive = 1
    compiled: bool = False
    data_sha256: Sha256 | None = None
    versions: dict[Name, Version]


class _Event(Record):
    trial: Natural
    attempt: Positive
    run: Natural


class Begin(TrainingSetup, _Event):
    """First event of a run, written after preparation and before training; the campaign's clock starts with it.

    Attributes:
        clock_skew: Seconds by which the node's clock is ahead of the file server's, at least.
        set_ahead: Seconds by which the times of this run are ahead of the node's clock, so that they do not lie before
            the submission of the job.
        agent: Name of the agent that holds the attempt (its first task); None for a job of its own.
        allocation: Name of that agent's allocation; None for an agent that was started by hand.
        slot: Number of the attempt's slot on that agent, from 0.
        started: Time at which the agent started the attempt's process.
    """

    type: Literal["begin"] = "begin"
    time: Timestamp
    hosts: list[str]
    job: str
    spec_sha256: Sha256
    trainer: Literal["torch", "simulated"]
    clock_skew: float
    set_ahead: Annotated[float, Field(ge=0, lt=1e10)] = 0.0
    agent: AgentName | None = None
    allocation: JobName | None = None
    slot: Natural | None = None
    started: Timestamp | None = None

    @property
    def is_simulated(self) -> bool:
        """Whether the trainer or the device is the simulated one."""
        return SIMULATED in (self.trainer, self.device)

    def to_line(self) -> str:
        """Return the event as one line of JSON, without unused fields that 0.1.0 does not know."""
        later = ("set_ahead", "agent", "allocation", "slot", "started")
        fields = type(self).model_fields
        return self.model_dump_json(exclude={name for name in later if getattr(self, name) == fields[name].default})


@dataclass(frozen=True, slots=True, kw_only=True, config=_EPOCH_CONFIG)
class Epoch(EpochMeasurements):
    """One epoch that was trained and validated: its measurements, flat, and which epoch of which run it is.

    A dataclass with slots and not a `Record`, in a third of the memory: a score keeps the epochs of all trials.

    Attributes:
        ops: Operations of the epoch, computed from its images and the network's operations per image.
    """

    type: Literal["epoch"] = "epoch"
    trial: Natural
    attempt: Positive
    run: Natural
    epoch: Positive
    start: Timestamp
    end: Timestamp
    loss: float
    ops: Operations

    def to_line(self) -> str:
        """Return the event as one line of JSON, without its newline."""
        return _epoch_adapter.dump_json(self).decode()


_epoch_adapter: TypeAdapter[Epoch] = TypeAdapter(Epoch)


class End(_Event):
    """Last event of a run. `best_error` and `best_epoch` are None when no epoch ended."""

    type: Literal["end"] = "end"
    time: Timestamp
    reason: EndReason
    best_error: Error | None = None
    best_epoch: Positive | None = None
    weights_sha256: Sha256 | None = None
    message: str = ""


Event = Annotated[Begin | Epoch | End, Field(discriminator="type")]
event_adapter: TypeAdapter[Begin | Epoch | End] = TypeAdapter(Event)
