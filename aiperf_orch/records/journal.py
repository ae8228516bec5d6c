"""Journal entries, written by the controller."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, TypeAdapter, model_serializer

from aiperf_orch.records.base import EndReason, Error, JobName, Natural, Operations, Positive, Record, Sha256, Version
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.plan import Plan
from aiperf_orch.records.requests import RequestId
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.records.workforce import AgentLeave, AgentRecord, AllocationEnd, AllocationJob, AllocationRecord
from aiperf_orch.util.units import NumberOnly, Timestamp

JOURNAL_FORMAT: Final = 2
"""Version of this format, which the first line states. Raise it with every incompatible change, a new key included."""


SEARCH_EXHAUSTED: Final = "the search proposes nothing more"
"""Begin of the reason of `Finished` where the limits of the settings leave no network to propose."""


class _ExtendedRecord(Record):
    """Base of records that have gained fields since format 1, which a line has only where they are used.

    A line of format 1 is thus written as it was read when a package is made of its campaign.
    """

    _later: ClassVar[frozenset[str]]  # fields that format 1 does not have

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            key: value for key, value in handler(self).items() if key not in self._later or value != fields[key].default
        }


class ProposalRecord(_ExtendedRecord):
    """Proposal of the search for a trial, sufficient to rebuild the search.

    `layers` (as `network.max_layers` counts them), `parameters` and `tensor_operations` (of matrix products alone) are
    those of the network; None in format 1.
    """

    _later = frozenset({"layers", "parameters", "tensor_operations"})

    round: Natural
    parent: Natural | None
    edits: list[dict[str, Any]]
    network_hash: Sha256
    operations: OperationsPerImage
    hyperparameters: Hyperparameters
    layers: Positive | None = None
    parameters: Positive | None = None
    tensor_operations: OperationsPerImage | None = None

    @property
    def used_kernel_size(self) -> int | None:
        """The kernel size of the convolutions that the edits add; None where they add none of that size."""
        return self.hyperparameters.kernel_size if any("kernel" in edit for edit in self.edits) else None


class AttemptRecord(_ExtendedRecord):
    """An attempt before its submission. The first attempt of a trial has the trial's proposal.

    `name` is the job's name, `array[index]` for an array's element. `after` is the name of the job that must have ended
    before this one starts; None for a job that need not wait.
    """

    _later = frozenset({"after"})

    trial: Natural
    attempt: Positive
    name: JobName
    spec_sha256: Sha256
    proposal: ProposalRecord | None = None
    after: JobName | None = None


class JobRecord(Record):
    """The scheduler's id for the job of an attempt."""

    trial: Natural
    attempt: Positive
    job: str


class BeganRecord(Record):
    """A begin line that the controller has read."""

    trial: Natural
    attempt: Positive
    run: Natural
    time: Timestamp
    hosts: list[str]
    job: str


class EventsFile(Record):
    """Part of an events file that counts: its first `size` bytes, and their SHA-256."""

    run: Natural
    size: Natural
    sha256: Sha256


class AttemptEnd(Record):
    """An ended attempt. With `final` the trial has ended too, and the numbers are those of the whole trial.

    Epochs, images and operations count each epoch once, by the earlier of two ends. `hosts` are the nodes on which it
    ran, as far as known; `progressed` is whether it completed an epoch that no earlier attempt had.
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
    files: list[EventsFile] = Field(default_factory=list)
    hosts: list[str] = Field(default_factory=list)
    progressed: bool = False


class _Entry(Record):
    """Fields of every entry: number from 0, time, generation of the writer's lock, and SHA-256 of the line before."""

    seq: Natural
    time: Timestamp
    generation: Natural
    prev: Sha256


class Created(_ExtendedRecord, _Entry):
    """The journal's first line: its format, and the version of aiperf-orch whose controller began it.

    `search` is the version of the search that makes the proposals up to the next entry that names one; None where the
    writer did not name it. `plan` is the plan that the campaign was made with (`run --plan`); None without one.
    """

    _later = frozenset({"format", "search", "plan"})

    type: Literal["created"] = "created"
    settings_sha256: Sha256
    version: str
    format: Annotated[Literal[1, 2], NumberOnly] = 1
    search: Positive | None = None
    plan: Plan | None = None


class Opened(_ExtendedRecord, _Entry):
    """A controller started or resumed the campaign.

    `version` is the version of aiperf-orch that wrote this entry and those up to the next one of its kind, and `search`
    that of its search, which makes the proposals of these entries; None where 0.1.0 wrote it. `templates` is the hash
    of the templates from which this controller renders batch scripts; None where the writer did not record it.
    """

    _later = frozenset({"version", "search", "templates"})

    type: Literal["opened"] = "opened"
    host: str
    pid: Positive
    version: Version | None = None
    search: Positive | None = None
    templates: Sha256 | None = None


class Submitting(_Entry):
    """Written before the scheduler is called: from now on these attempts may exist."""

    type: Literal["submitting"] = "submitting"
    attempts: list[AttemptRecord]


class Submitted(_Entry):
    """The scheduler accepted these jobs, or they were found in its queue."""

    type: Literal["submitted"] = "submitted"
    jobs: list[JobRecord]


class Began(_Entry):
    """The jobs of these attempts claimed them."""

    type: Literal["began"] = "began"
    attempts: list[BeganRecord]


class AttemptId(Record):
    """Identifies one attempt."""

    trial: Natural
    attempt: Positive


class Missing(_Entry):
    """These jobs left the queue without an end line; the grace before LOST begins."""

    type: Literal["missing"] = "missing"
    attempts: list[AttemptId]


class Cancelling(_Entry):
    """These attempts are being cancelled, for a reason."""

    type: Literal["cancelling"] = "cancelling"
    attempts: list[AttemptId]
    reason: EndReason


class Ended(_Entry):
    """These attempts have ended."""

    type: Literal["ended"] = "ended"
    attempts: list[AttemptEnd]


class Allocating(_Entry):
    """Written before the scheduler is called: from now on these allocations may exist."""

    type: Literal["allocating"] = "allocating"
    allocations: list[AllocationRecord]


class Allocated(_Entry):
    """The scheduler accepted the jobs of these allocations, or they were found in its queue."""

    type: Literal["allocated"] = "allocated"
    jobs: list[AllocationJob]


class Joined(_Entry):
    """These agents began, and may get attempts."""

    type: Literal["joined"] = "joined"
    agents: list[AgentRecord]


class Left(_Entry):
    """These agents have ended, and get no more attempts."""

    type: Literal["left"] = "left"
    agents: list[AgentLeave]


class AllocationEnded(_Entry):
    """These allocations have ended, or were never accepted."""

    type: Literal["allocation-ended"] = "allocation-ended"
    allocations: list[AllocationEnd]


class SettingChange(Record):
    """Change of one setting.

    Attributes:
        key: Its dotted key without `advanced`, as `scheduler.partition`.
        before: Its value before, in JSON as campaign.yaml has it.
        after: Its value from now on.
    """

    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}$")]
    before: JsonValue
    after: JsonValue

    @property
    def values(self) -> tuple[str, JsonValue, JsonValue]:
        """Key, value before and value after."""
        return self.key, self.before, self.after


class SettingsChanged(_Entry):
    """Settings of the campaign were changed by a user; they are in force from this entry on.

    Attributes:
        request: Name of the request.
        user: Name of the user.
        host: Host on which the user requested it.
        changes: What changed, each key once.
    """

    type: Literal["settings-changed"] = "settings-changed"
    request: RequestId
    user: str
    host: str
    changes: Annotated[list[SettingChange], Field(min_length=1)]


class Drained(_Entry):
    """An administrator took nodes out of use for further trials, or with `undo` back into use.

    Attributes:
        request: Name of the request.
        user: User who made it.
        host: Machine on which it was made.
        nodes: The nodes.
        now: Whether trials that run on them end, too, as PREEMPTED, and go on elsewhere.
        undo: Whether the nodes may get trials again.
    """

    type: Literal["drained"] = "drained"
    request: RequestId
    user: str
    host: str
    nodes: Annotated[list[str], Field(min_length=1)]
    now: bool = False
    undo: bool = False


class Paused(_Entry):
    """Nothing is submitted until an administrator resumes the campaign."""

    type: Literal["paused"] = "paused"
    reason: str


class Resumed(_Entry):
    """A paused or stopped campaign continues."""

    type: Literal["resumed"] = "resumed"


class Stopped(_Entry):
    """The user stopped the campaign; running it again continues it."""

    type: Literal["stopped"] = "stopped"


class Finished(_Entry):
    """The campaign has ended: by its deadline, or (not `by_deadline`) because nothing is left to do."""

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
    | Allocating
    | Allocated
    | Joined
    | Left
    | AllocationEnded
    | SettingsChanged
    | Drained
    | Paused
    | Resumed
    | Stopped
    | Finished
)
entry_adapter: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="type")])
