"""What every scheduler offers, and what every batch script must do. The conformance suite in tests/ holds them to it."""

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
    """What the queue says of a job."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as the queue shows it.

    `detail` is for the user (why it waits, that it is suspended, how it ended), `running_for` the seconds that it has
    run. `stuck` says that the scheduler holds at present that it will never run by itself, `final` that no waiting
    changes this; the reason in words is then its `detail`. `suspended` says that it began, and stands still.
    """

    name: str
    job: str
    state: JobState
    detail: str = ""
    running_for: float | None = None
    stuck: bool = False
    final: bool = False
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class JobEnd:
    """Why a job that wrote no end line, or was told to end by somebody else, is gone; None when nobody knows."""

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
"""States of accounted jobs, in any batch system's words, after which a further record or an end is still to come."""


@dataclass(frozen=True, slots=True)
class AccountedJob:
    """A job as the queue's accounting knows it: independent of what its trial wrote. Times in UTC.

    A job that was run again has a record for each of its runs, where the accounting keeps them.
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
        """Whether this is the record of a run that has ended, or of a job that ended before it ran."""
        return self.end is not None or self.state.partition(" ")[0] not in _LIVE_STATES


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job to submit.

    `name` is the job's, or `array[index]` of an array's element; `folder` is its own, `submit_folder` the one that its
    script lies in (the same, or one that all elements of an array share); both are made by the caller. `time_limit`
    are the seconds that it may take where the scheduler has limits, `exclude` nodes that it must not get. `after` is
    the id of a job that must have ended, in whatever way, before this one may start.
    """

    name: str
    folder: Path
    submit_folder: Path
    campaign: Path
    command: tuple[str, ...]
    time_limit: float | None = None
    exclude: tuple[str, ...] = ()
    after: str | None = None


@dataclass(slots=True)
class SubmitResult:
    """The outcome of requests, by name: `jobs` were accepted, with the id as the scheduler prints it.

    `refused` will never be accepted as they are. `postponed` were refused for a reason that passes, or is not known to
    be for good. `unsure` may have been accepted: the queue will tell. The rest, `waiting`, are certainly not in the
    queue and may be submitted later, at once where the reason is empty. Each with what the scheduler said.
    """

    jobs: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    postponed: dict[str, str] = field(default_factory=dict)
    unsure: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class CancelResult:
    """The outcome for jobs that were to end, by name: `never_started` had not begun and now never will, `refused` will not be ended.

    Each of `refused` with what the scheduler said.
    """

    never_started: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


_ELEMENT = re.compile(r"(.+)\[(\d+)\]")


def array_element(name: str) -> tuple[str, int] | None:
    """Array and index of an element's name, `qk3f9-w00001[17]`; None for a job of its own."""
    match = _ELEMENT.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def trial_command(python: str | None, spec: Path, attempt: int, submitted: datetime | None = None) -> tuple[str, ...]:
    """The command that a job runs: one attempt of the trial with this specification.

    Args:
        python: the site's interpreter for trials; None is this one.
        spec: the trial's specification, absolute.
        attempt: from 1.
        submitted: when the journal says that the attempt was submitted; the trial's time is never behind it.
    """
    # -P: a file in the job's folder is no module
    command = (python or sys.executable, "-P", "-m", "aiperf_orch.trial", str(spec), "--attempt", str(attempt))
    return command if submitted is None else (*command, "--submitted", format_time(submitted))


class Scheduler(ABC):
    """Starts, watches and ends jobs.

    Its methods block until the scheduler's commands have ended, so the controller calls them in threads: each method
    in at most one thread at a time, different methods at the same time.

    A batch script must: refuse to start when others can write the campaign directory; write its output to the file
    `log` in the job's folder; run the command on its allocation in the folder, and lose none of its failures; not be
    run a second time by itself, unless the site asks for that. A job is ours by its name, whatever its id. What a
    script tells the trial of its allocation stands in `aiperf_orch.trial.runtime.allocation`. `schedulers.contract` has all of it for
    whoever writes a template, and holds every script to it.

    Every method but `submit` may raise `SchedulerUnreachableError`, after which nothing has been concluded.
    """

    nonblocking: bool = False
    """Whether its methods never keep the caller waiting, so that they need no threads."""

    query_interval: float = 0.0
    """Seconds between two questions to the queue, at least."""

    lookahead: int = 0
    """How many jobs should wait in the queue beyond those that run."""

    avoids_nodes: bool = False
    """Whether a job can be kept off nodes."""

    early_log: str = LOG
    """Name of the file in a job's folder that holds what its script said before it opened the log."""

    max_cancels_per_call: int | None = None
    """How many jobs to cancel at a time; None for any number."""

    @abstractmethod
    def check(self, concurrency: int) -> list[str]:
        """Whether so many jobs at once can be served: warnings for a person.

        Raises:
            UsageError: when not even one job can be.
        """

    @abstractmethod
    def render(self, request: JobRequest) -> str:
        """The whole batch script, as it would be submitted."""

    @abstractmethod
    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        """Submit jobs; elements of one array together.

        After the first refusal, or the first time without an answer, the rest is left for later.
        """

    def array_limit(self) -> int:
        """How many jobs an array may have, 1 where there are none."""
        return 1

    @abstractmethod
    def release_resources(self, names: Collection[str]) -> None:
        """The controller has seen these jobs' ends: whatever of them still exits holds no place."""

    @abstractmethod
    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        """Jobs with these names, by name, in one question to the queue.

        A job that is not in the answer has left the queue, or never was in it; one that is `ENDED` has left it too.
        """

    @abstractmethod
    def query_unlisted(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:
        """What is known of jobs, ids by name, that the queue does not list, by what knows better than the queue.

        A `JobEnd` says why a job has ended, a `JobStatus` that it lives all the same; unknown jobs are left out.
        """

    def accounting(self, jobs: Mapping[str, str]) -> list[AccountedJob] | None:  # noqa: ARG002  for those that account
        """What the queue's own accounting says of jobs, ids by name; None where it keeps none that could be whole.

        There is one record for each run of a job, or for its last one only. It may learn of a job, and of its end, some seconds late.
        """
        return None

    @abstractmethod
    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> CancelResult:
        """Tell jobs to end (SIGTERM), or with `force` end them; those that are no longer there are left out.

        Args:
            jobs: ids by name, None where the id is not known. A job whose id is known is told also when the queue does
                not list it.
            force: end them without waiting for what they do.
        """
