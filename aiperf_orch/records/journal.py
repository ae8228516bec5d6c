"""Journal entries, written by the controller."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from aiperf_orch.records.base import (
    EndReason,
    Error,
    JobName,
    Natural,
    Operations,
    OperationsPerImage,
    Positive,
    Record,
    Sha256,
)
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.util.units import Timestamp


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
