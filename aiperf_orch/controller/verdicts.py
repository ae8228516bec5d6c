"""What follows for silent attempts from what the queue says of them. Decides nothing that only a person or a file can."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

from aiperf_orch.campaign.events import is_there
from aiperf_orch.campaign.histories import reason_without_line
from aiperf_orch.campaign.state import Attempt
from aiperf_orch.config_schedulers import SchedulerSettings
from aiperf_orch.controller.watch import Watched, last_line
from aiperf_orch.records import EndReason, JobRecord
from aiperf_orch.schedulers.base import JobEnd, JobState, JobStatus, array_element
from aiperf_orch.units import format_duration


@dataclass
class Verdicts:
    """Attempts by what became of them.

    `found` are in the queue though their id was not known, or though they had been missing. `missing` are not there
    for the first time, `gone` still are not after the grace. `never` were not found either, and no scheduler ever
    said that it had them. `hung` run without having begun, `held` will never run by themselves.
    """

    found: list[JobRecord] = field(default_factory=list)
    missing: list[Attempt] = field(default_factory=list)
    gone: list[Watched] = field(default_factory=list)
    never: list[Watched] = field(default_factory=list)
    hung: list[Attempt] = field(default_factory=list)
    held: list[Attempt] = field(default_factory=list)


def judge(
    silent: Iterable[Watched], statuses: Mapping[str, JobStatus], settings: SchedulerSettings, present: datetime
) -> Verdicts:
    """Judge silent attempts, and note on each what a person should know of its job."""
    verdicts, time = Verdicts(), monotonic()
    grace, patience = timedelta(seconds=settings.lost_after), timedelta(seconds=settings.stop_grace)
    for watched in silent:
        attempt, status = watched.attempt, statuses.get(watched.attempt.name)
        watched.note = status.detail if status else ""
        lives = status is not None and status.state is not JobState.ENDED
        if status is not None and (attempt.job is None or (lives and attempt.missing_since is not None)):
            verdicts.found.append(job_record(attempt, status.job))
        if (
            watched.end is not None
            and watched.ended_by_others
            and (not lives or present - watched.end.time >= patience)
        ):
            verdicts.gone.append(watched)  # its end line is there: nothing to wait for
        elif status is not None and lives:
            watched.heard = watched.due = time
            if attempt.cancelling is None:
                begun = watched.begin is not None or status.running_for is None
                if status.stuck:
                    verdicts.held.append(attempt)
                elif not begun and (status.running_for or 0.0) >= settings.begin_within:
                    verdicts.hung.append(attempt)
        elif attempt.missing_since is None:
            verdicts.missing.append(attempt)
        elif present - attempt.missing_since >= grace:
            unknown = status is None and attempt.job is None and not watched.runs and attempt.cancelling is None
            (verdicts.never if unknown else verdicts.gone).append(watched)
    return verdicts


def how_it_went(
    watched: Watched, end: JobEnd | None, settings: SchedulerSettings, logs: Iterable[Path]
) -> tuple[EndReason, str]:
    """The reason and the message for an attempt whose job left no end line.

    Args:
        watched: the attempt.
        end: what the queue knows of its job's end.
        settings: the scheduler's.
        logs: files with the job's output.
    """
    order, unseen = watched.attempt.cancelling, _vanished_unseen(watched, end, logs)
    reason = reason_without_line(order, end.reason if end else None, unseen=unseen)
    match order:
        case EndReason.HUNG:
            return reason, f"did not begin within {format_duration(settings.begin_within)} (scheduler.begin_within)"
        case EndReason.HELD:
            return reason, watched.note or "the scheduler held its job"
        case None if unseen:
            return reason, "left the queue before it began, without a trace: somebody cancelled it"
        case None:
            gone, detail = "left the queue without an end line", end.detail if end else ""
            return reason, ", ".join(filter(None, [gone, detail, last_line(*logs)]))
        case _:
            return reason, "its job was ended"


def _vanished_unseen(watched: Watched, end: JobEnd | None, logs: Iterable[Path]) -> bool:
    """Whether it is an array's element that never began: Slurm forgets one at once that is cancelled while it waits."""
    element = array_element(watched.attempt.name) is not None
    return (
        element
        and end is None
        and watched.attempt.job is not None
        and not watched.runs
        and not any(map(is_there, logs))
    )


def job_record(attempt: Attempt, job: str) -> JobRecord:
    """The journal's note of an attempt's job."""
    return JobRecord(trial=attempt.trial, attempt=attempt.attempt, job=job)
