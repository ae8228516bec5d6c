"""Interface of a scheduler: jobs, their states, and the results of submitting and cancelling them.

`tests/schedulers/test_conformance.py` checks every scheduler against this interface, with real jobs.
"""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path

from aiperf_orch.records.base import EndReason
from aiperf_orch.util.job_files import LOG
from aiperf_orch.util.units import format_time


class JobState(str, Enum):
    """State of a job in the queue."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as the queue lists it.

    Attributes:
        name: the job's name, `array[index]` for an element of an array.
        job: the id as the scheduler prints it.
        state: pending, running or ended.
        detail: for the user: why it is pending, that it is suspended, how it ended.
        running_for: seconds since its start; None where the queue does not show it.
        stuck: the scheduler states that the job will not start without intervention; `detail` has the reason.
        final: `stuck`, and waiting cannot change it.
        suspended: it has started, and is suspended.
        never_started: it has ended and certainly never started, so that it may be submitted again under the same name.
    """

    name: str
    job: str
    state: JobState
    detail: str = ""
    running_for: float | None = None
    stuck: bool = False
    final: bool = False
    suspended: bool = False
    never_started: bool = False


@dataclass(frozen=True, slots=True)
class JobEnd:
    """End of a job as the scheduler knows it; `reason` is None where the scheduler does not know it."""

    reason: EndReason | None
    detail: str = ""
    hosts: tuple[str, ...] = ()


_LIVE_STATES = frozenset(
    {
        "PENDING",
        "CONFIGURING",
        "RUNNING",
        "COMPLETING",
        "REQUEUED",
        "REQUEUE_HOLD",
        "SUSPENDED",
        "RESIZING",
        "STAGE_OUT",
    }
)
"""States of accounted jobs, of all batch systems, that a later record replaces."""


@dataclass(frozen=True, slots=True)
class AccountedJob:
    """A record of the scheduler's accounting, independent of what the trial wrote. Times are in UTC.

    A requeued job has one record for each of its runs, where the accounting keeps them.
    """

    name: str
    job: str
    state: str
    exit_code: str
    start: str | None
    end: str | None
    nodes: tuple[str, ...]

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended, or the job ended before it ran."""
        return self.end is not None or self.state.partition(" ")[0] not in _LIVE_STATES


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job to submit.

    Attributes:
        name: the job's name, `array[index]` for an element of an array.
        folder: the job's own folder; the caller creates it.
        submit_folder: the folder of its script, shared by all elements of an array; the caller creates it.
        campaign: the campaign directory.
        command: program and arguments that the job runs.
        time_limit: in seconds; None is the limit of the settings.
        exclude: hosts that the job should not get; it may get them where there are no others.
        drained: hosts that the job must not get, since an administrator drained them.
        after: id of a job that must have ended, for any reason, before this one may start; None without a dependency.
        spec: the trial's specification; None for a job that is no trial.
        spec_sha256: SHA-256 of the specification, as the journal has it.
    """

    name: str
    folder: Path
    submit_folder: Path
    campaign: Path
    command: tuple[str, ...]
    time_limit: float | None = None
    exclude: tuple[str, ...] = ()
    drained: tuple[str, ...] = ()
    after: str | None = None
    spec: Path | None = None
    spec_sha256: str | None = None


@dataclass(slots=True)
class SubmitResult:
    """Outcome of requests, by name of the job.

    Attributes:
        jobs: accepted, with the id as the scheduler prints it.
        refused: permanently refused as they are, with the scheduler's message.
        postponed: refused for a reason that is temporary, or not known to be permanent, with the scheduler's message.
        unsure: possibly accepted, with the error; a query of the queue decides.
        waiting: not submitted, with the reason; they may be submitted immediately where it is empty.
    """

    jobs: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    postponed: dict[str, str] = field(default_factory=dict)
    unsure: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class CancelResult:
    """Outcome of a cancellation, by name of the job.

    Attributes:
        never_started: were pending, and were removed from the queue.
        refused: could not be cancelled, with the scheduler's message.
    """

    never_started: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


_ELEMENT = re.compile(r"(.+)\[(\d+)\]")


def array_element(name: str) -> tuple[str, int] | None:
    """Split an element's name `qk3f9-w00001[17]` into array and index; None for a job that is in no array."""
    match = _ELEMENT.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def trial_command(python: str | None, spec: Path, attempt: int, submitted: datetime | None = None) -> tuple[str, ...]:
    """The command that a job runs: one attempt of the trial with this specification.

    Args:
        python: the site's interpreter for trials; None is the running one.
        spec: absolute path of the trial's specification.
        attempt: number of the attempt, from 1.
        submitted: time of the submission in the journal; the trial's events carry no earlier time.
    """
    # -P: Python does not import modules from the job's folder
    command = (python or sys.executable, "-P", "-m", "aiperf_orch.trial", str(spec), "--attempt", str(attempt))
    return command if submitted is None else (*command, "--submitted", format_time(submitted))


class Scheduler(ABC):
    """Submits, queries and cancels jobs.

    Threads: the methods block until the scheduler's commands have ended, so the controller calls them in threads: one
    method in at most one thread at a time, different methods concurrently.

    Batch scripts: `aiperf_orch.schedulers.script_contract` lists what a script must do, and checks every script. The
    variables by which a script describes its allocation to the trial are those of
    `aiperf_orch.trial.runtime.allocation`.

    Identity: a job belongs to the campaign by its name, not by its id.

    Every method but `submit` may raise `SchedulerUnreachableError`; nothing may be concluded from such a call.
    """

    nonblocking: bool = False
    """Whether its methods return immediately, so that the controller calls them without threads."""

    query_interval: float = 0.0
    """Minimum time between two queries of the queue, in seconds."""

    lookahead: int = 0
    """Number of jobs to keep pending in the queue, beyond those that run."""

    announces_jobs: bool = False
    """Whether `take_news` and `gone_jobs` name every job that starts or ends, without a query."""

    has_queue: bool = False
    """Whether jobs wait in the queue of a batch system, with the settings that they were submitted with."""

    avoids_nodes: bool = False
    """Whether `JobRequest.exclude` is supported."""

    early_log: str = LOG
    """Name of the file in a job's folder for the script's output before it opens the log."""

    max_cancels_per_call: int | None = None
    """Maximum number of jobs in one call of `cancel`; None without a limit."""

    def hold(self, generation: int) -> None:  # noqa: B027  nothing to do for a scheduler of batch jobs
        """Permit what only the one controller of a campaign may do; it calls this when it has the lock.

        Args:
            generation: generation of the controller's lock.
        """

    def succeed(self, former: Scheduler) -> None:  # noqa: B027  nothing to do for a scheduler of batch jobs
        """Take over what another object knows of its jobs, as settings have changed, and it is used no more.

        Args:
            former: scheduler of the same campaign in the same process, none of whose calls runs.
        """

    def set_drained(self, nodes: Collection[str]) -> None:  # noqa: B027  batch jobs have `JobRequest.drained`
        """Place nothing more on these nodes, until the next call; only schedulers that place jobs themselves need it.

        Args:
            nodes: all nodes that are drained, by the names that the administrator gave.
        """

    def node_names(self) -> Collection[str] | None:
        """Return the names of the nodes that jobs may get; None where the scheduler has no inventory of them."""
        return None

    def free_places(self) -> int | None:
        """Return how many more jobs may be submitted now, those that would wait included; None without a limit.

        Where it is not None, no job waits for another one by `JobRequest.after`: the scheduler itself starts a waiting
        job as soon as there is room. It returns at once.
        """
        return None

    @abstractmethod
    def check(self, concurrency: int) -> list[str]:
        """Check that this machine can run jobs.

        Args:
            concurrency: number of jobs that should run concurrently.

        Returns:
            Warnings for the user.

        Raises:
            UsageError: when not even one job can run.
        """

    @abstractmethod
    def render(self, request: JobRequest) -> str:
        """Return the batch script as it would be submitted; submits nothing."""

    @abstractmethod
    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        """Submit jobs; elements of one array together.

        After the first refusal or error the remaining requests are returned as `waiting`.
        """

    def array_limit(self) -> int:
        """Return the maximum number of elements of an array; 1 without arrays."""
        return 1

    def take_news(self) -> Collection[str]:
        """Return the names of jobs that started or ended since the last call, by what is known without blocking."""
        return ()

    def gone_jobs(self) -> Collection[str]:
        """Return the names of jobs that have ended or seem to be lost, by what is known without blocking.

        A query is worth while for them. Those whose resources were released are not among them.
        """
        return ()

    @abstractmethod
    def release_resources(self, names: Collection[str]) -> None:
        """Consider these jobs' resources free: their trials have ended, even if processes of them still exit."""

    @abstractmethod
    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        """Query the queue once, and return the jobs with these names, by name.

        A job that is missing in the result has left the queue, or never was in it; one that is `ENDED` has left it too.
        """

    @abstractmethod
    def query_unlisted(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:
        """Query jobs that the queue does not list, from sources that keep them longer (scontrol, accounting, history).

        Args:
            jobs: ids by name.

        Returns:
            By name, a `JobEnd` for a job that has ended, a `JobStatus` for one that has not; unknown jobs are left out.
        """

    def accounting(self, jobs: Mapping[str, str]) -> list[AccountedJob] | None:  # noqa: ARG002  for subclasses
        """Read the scheduler's accounting of jobs.

        Args:
            jobs: ids by name.

        Returns:
            One record for each run of a job, or for its last run only; None without accounting, or where its records
            are known to be incomplete. Accounting may know of a job, and of its end, some seconds late.
        """
        return None

    @abstractmethod
    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> CancelResult:
        """Cancel jobs: send SIGTERM, or kill them with `force`. Jobs that have ended are ignored.

        Args:
            jobs: ids by name, None where the id is not known. A job whose id is known is cancelled even where the queue
                does not list it.
            force: kill the jobs without a chance to clean up.
        """
