"""What every scheduler offers, and what every batch script must do. The conformance suite in tests/ holds them to it."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class JobState(str, Enum):
    """What the queue says of a job."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as the queue shows it; `detail` is for a person (an exit status, a signal, a pending reason)."""

    name: str
    job: str
    state: JobState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job to submit: its name, its own folder (made by the caller), its campaign's, and the command that it runs."""

    name: str
    folder: Path
    campaign: Path
    command: tuple[str, ...]


def trial_command(python: str | None, spec: Path, attempt: int) -> tuple[str, ...]:
    """The command that a job runs: one attempt of the trial with this specification.

    Args:
        python: the site's interpreter for trials; None is this one.
        spec: the trial's specification, absolute.
        attempt: from 1.
    """
    # -P: a file in the job's folder is no module
    return (python or sys.executable, "-P", "-m", "aiperf_orch.trial", str(spec), "--attempt", str(attempt))


class Scheduler(ABC):
    """Starts, watches and ends jobs. Used from one thread.

    A batch script must: refuse to start when others can write the campaign directory; write its output to the file
    `log` in the job's folder; run the command on its allocation in the folder, and lose none of its failures; not be
    run a second time by itself. A job is ours by its name, whatever its id.

    Every method may raise `SchedulerUnreachable`, after which nothing has been concluded.
    """

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
    def submit(self, request: JobRequest) -> str:
        """Submit a job; returns its id as the scheduler prints it.

        Raises:
            SubmitRefused: when the scheduler will not have it, with what it said.
        """

    @abstractmethod
    def release(self, names: Collection[str]) -> None:
        """The controller has seen these jobs' ends: whatever of them still exits holds no place."""

    @abstractmethod
    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        """Jobs with these names, by name, in one question to the queue.

        A job that is not in the answer has left the queue, or never was in it; one that is `ENDED` has left it too.
        """

    @abstractmethod
    def cancel(self, names: Collection[str], *, force: bool) -> None:
        """Tell jobs to end (SIGTERM), or with `force` end them; names that are no longer there are left out."""
