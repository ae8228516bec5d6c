"""What is written to disk, typed and versioned: trial specifications, events of running trials, journal entries.

Fractions are between 0 and 1, durations in seconds, times in UTC, epochs count from 1. Operations are exact whole
numbers of any size. Where the files lie and how they are written is `campaign`'s.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from aiperf_orch.config import DataSettings, TrainingSettings
from aiperf_orch.units import Timestamp

if TYPE_CHECKING:
    from aiperf_orch.network import counts

VERSION: Final = 1

Error = Annotated[float, Field(ge=0, le=1)]
# what is larger was invented, and is refused before arithmetic overflows on it
Natural = Annotated[int, Field(ge=0, lt=10**60)]
Positive = Annotated[int, Field(ge=1, lt=10**60)]
Operations = Annotated[int, Field(ge=0, lt=10**60)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
JobName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,14}(\[\d{1,7}\])?$")]
EnergyOf = Literal["accelerators", "processors", "accelerators+processors"]
"""Whose energy was measured; of a processor it is that of its package."""
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,79}$")]


class Record(BaseModel):
    """Base of all records: unknown fields, infinities and NaN are refused, nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def to_line(self) -> str:
        """The record as one line of JSON, without its newline."""
        return self.model_dump_json()


def first_fault(error: ValidationError) -> str:
    """The first thing that a validation found, as `key: what is wrong`."""
    fault: Any = error.errors()[0]
    key = ".".join(map(str, fault["loc"]))
    return f"{key}: {fault['msg']}" if key else str(fault["msg"])


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

    forward: Annotated[int, Field(ge=0, lt=10**40)]
    train: Annotated[int, Field(ge=0, lt=10**40)]

    @classmethod
    def of(cls, counted: counts.Operations) -> OperationsPerImage:
        """The operations of a network that was counted."""
        return cls(forward=counted.forward, train=counted.train)

    def of_images(self, *, trained: int, validated: int) -> int:
        """Operations of an epoch that trained and validated so many images."""
        return trained * self.train + validated * self.forward


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
    """A trial's first line, written when all is prepared and before it trains; the campaign's clock starts with it.

    `inherited` tells whether the trial began with its parent's weights, `batch` what one accelerator begins with,
    `clock_skew` how many seconds the node's clock is ahead of the file server's, `set_ahead` how many its run's times are
    ahead of the node's clock, so that they are not behind the job's submission. `workers` train together, one on each
    accelerator; `data_sha256` is the digest of the data set's listing.
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
        """As one line of JSON; without `set_ahead` where it is nothing, so that 0.1.0 reads the line too."""
        return self.model_dump_json(exclude=None if self.set_ahead else {"set_ahead"})


class Epoch(_Event):
    """One epoch that was trained and validated.

    `error` is top-1, wrong images / `val_images`; `batch` what one accelerator took, after any halving for want of memory.
    `skipped` training images could not be read, and count nowhere. `data_wait` is the share of the time that steps waited
    for data, `energy` what all nodes took, in joules, of those parts that `energy_of` names; None where nobody knows.
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


class ProposalRecord(Record):
    """What the search proposed for a trial, as the journal keeps it: enough to rebuild the search."""

    round: Natural
    parent: Natural | None
    edits: list[dict[str, Any]]
    network_hash: Sha256
    operations: OperationsPerImage
    hyperparameters: Hyperparameters


class AttemptRecord(Record):
    """An attempt about to be submitted. The first attempt of a trial carries its proposal.

    `name` is its job's, `array[index]` for an array's element. A job that is to wait in the queue until another one has
    ended names that one in `after`.
    """

    trial: Natural
    attempt: Positive
    name: JobName
    spec_sha256: Sha256
    proposal: ProposalRecord | None = None
    after: JobName | None = None


class JobRecord(Record):
    """The scheduler's id of an attempt's job."""

    trial: Natural
    attempt: Positive
    job: str


class BeganRecord(Record):
    """A begin line that the controller has seen."""

    trial: Natural
    attempt: Positive
    run: Natural
    time: Timestamp
    hosts: list[str]
    job: str


class EventsFile(Record):
    """The part of an events file that counts: its first `size` bytes, and their SHA-256."""

    run: Natural
    size: Natural
    sha256: Sha256


class AttemptEnd(Record):
    """An attempt that is over. With `final` the trial is over too, and the numbers are those of the whole trial.

    Epochs, images and operations count each epoch once, the earlier of two ends. `hosts` are the nodes it ran on, as far
    as anybody knows; `progressed` tells whether it ended an epoch that no earlier attempt had.
    """

    trial: Natural
    attempt: Positive
    reason: EndReason
    message: str
    final: bool
    epochs: Natural = 0
    train_images: Natural = 0
    val_images: Natural = 0
    ops: Operations = 0
    best_error: Error | None = None
    best_epoch: Positive | None = None
    predicted_error: Error | None = None
    first_begin: Timestamp | None = None
    last_end: Timestamp | None = None
    files: list[EventsFile] = []
    hosts: list[str] = []
    progressed: bool = False


class _Entry(Record):
    """Every journal line: its number from 0, its time, who wrote it, and the SHA-256 of the line before it."""

    seq: Natural
    time: Timestamp
    generation: Natural
    prev: Sha256


class Created(_Entry):
    """The journal's first line."""

    type: Literal["created"] = "created"
    settings_sha256: Sha256
    version: str


class Opened(_Entry):
    """A controller took the campaign up."""

    type: Literal["opened"] = "opened"
    host: str
    pid: Positive


class Submitting(_Entry):
    """Written before the scheduler is called: these attempts may exist from now on."""

    type: Literal["submitting"] = "submitting"
    attempts: list[AttemptRecord]


class Submitted(_Entry):
    """The scheduler took these jobs, or they were found in its queue again."""

    type: Literal["submitted"] = "submitted"
    jobs: list[JobRecord]


class Began(_Entry):
    """These attempts were claimed by their jobs."""

    type: Literal["began"] = "began"
    attempts: list[BeganRecord]


class AttemptId(Record):
    """Names one attempt."""

    trial: Natural
    attempt: Positive


class Missing(_Entry):
    """These jobs are not in the queue and have written no end line; the grace before LOST begins."""

    type: Literal["missing"] = "missing"
    attempts: list[AttemptId]


class Cancelling(_Entry):
    """These attempts were told to end, and why."""

    type: Literal["cancelling"] = "cancelling"
    attempts: list[AttemptId]
    reason: EndReason


class Ended(_Entry):
    """These attempts are over."""

    type: Literal["ended"] = "ended"
    attempts: list[AttemptEnd]


class Paused(_Entry):
    """Nothing is submitted any more until a person has looked, and runs the campaign again."""

    type: Literal["paused"] = "paused"
    reason: str


class Resumed(_Entry):
    """A paused or stopped campaign goes on."""

    type: Literal["resumed"] = "resumed"


class Stopped(_Entry):
    """A person stopped the campaign; running it again goes on."""

    type: Literal["stopped"] = "stopped"


class Finished(_Entry):
    """The campaign is over: its deadline has passed, or (not `by_deadline`) there is nothing left to try."""

    type: Literal["finished"] = "finished"
    reason: str
    by_deadline: bool


Entry = (
    Created
    | Opened
    | Submitting
    | Submitted
    | Began
    | Missing
    | Cancelling
    | Ended
    | Paused
    | Resumed
    | Stopped
    | Finished
)
entry_adapter: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="type")])
