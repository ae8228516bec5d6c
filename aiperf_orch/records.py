"""What is written to disk, typed and versioned: trial specifications, events of running trials, journal entries.

Fractions are between 0 and 1, durations in seconds, times in UTC, epochs count from 1. Operations are exact whole
numbers of any size. Where the files lie and how they are written is `campaign`'s.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from aiperf_orch.config import DataSettings, TrainingSettings
from aiperf_orch.units import Timestamp

VERSION: Final = 1

Error = Annotated[float, Field(ge=0, le=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """Base of all records: unknown fields, infinities and NaN are refused, nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def to_line(self) -> str:
        """The record as one line of JSON, without its newline."""
        return self.model_dump_json()


class EndReason(str, Enum):
    """Why an attempt ended."""

    COMPLETED = "COMPLETED"
    EARLY_STOPPED = "EARLY_STOPPED"
    CAMPAIGN_ENDED = "CAMPAIGN_ENDED"
    STOPPED = "STOPPED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    TIME_LIMIT = "TIME_LIMIT"
    NODE_FAILURE = "NODE_FAILURE"
    PREEMPTED = "PREEMPTED"
    CANCELLED = "CANCELLED"
    HELD = "HELD"
    LOST = "LOST"
    HUNG = "HUNG"
    BAD_DATA = "BAD_DATA"
    TRAINING_DIVERGED = "TRAINING_DIVERGED"
    SUBMIT_REFUSED = "SUBMIT_REFUSED"
    TRIAL_ERROR = "TRIAL_ERROR"


class Hyperparameters(Record):
    """One point of the hyperparameter search. `kernel_size` belongs to the convolutions that this step's edits add."""

    kernel_size: Positive
    dropout: Error
    batch_size: Positive


class OperationsPerImage(Record):
    """Operations of one image: `forward` to evaluate it, `train` (forward and backward) to train it."""

    forward: Natural
    train: Natural


class TrialSpec(Record):
    """All that a trial needs to run, again and again, anywhere: trials/NNNNN.json."""

    version: Literal[1] = VERSION
    campaign: str
    trial: Natural
    round: Natural
    seed: Natural
    parent: Natural | None
    parent_error: Error | None = None
    edits: list[dict[str, Any]]
    network_hash: Sha256
    operations: OperationsPerImage
    hyperparameters: Hyperparameters
    epochs: Positive
    patience: Positive
    data: DataSettings
    training: TrainingSettings
    network: dict[str, Any]


class _Event(Record):
    trial: Natural
    attempt: Positive
    run: Natural


class Begin(_Event):
    """A trial's first line, written as it claims its attempt, before it trains."""

    type: Literal["begin"] = "begin"
    time: Timestamp
    hosts: list[str]
    job: str
    batch: Positive
    spec_sha256: Sha256
    trainer: Literal["torch", "simulated"]
    device: str
    precision: str
    cores: Positive
    versions: dict[str, str]


class Epoch(_Event):
    """One epoch that was trained and validated. `error` is top-1, wrong images / `val_images`."""

    type: Literal["epoch"] = "epoch"
    epoch: Positive
    start: Timestamp
    end: Timestamp
    train_images: Natural
    val_images: Positive
    loss: float
    error: Error
    ops: Natural


class End(_Event):
    """A trial's last line. `best_error` and `best_epoch` are None when no epoch ended."""

    type: Literal["end"] = "end"
    time: Timestamp
    reason: EndReason
    best_error: Error | None = None
    best_epoch: Positive | None = None
    weights_sha256: Sha256 | None = None
    inherited: bool = False
    message: str = ""


Event = Annotated[Begin | Epoch | End, Field(discriminator="type")]
event_adapter: TypeAdapter[Begin | Epoch | End] = TypeAdapter(Event)
