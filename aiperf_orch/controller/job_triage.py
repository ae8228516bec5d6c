"""Classifies attempts by what the queue says of their jobs, and names the reason of an end that left no end line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Final

from aiperf_orch.campaign.durable_files import file_exists
from aiperf_orch.campaign.end_reasons import reason_without_end_line
from aiperf_orch.campaign.state import AttemptState
from aiperf_orch.controller.attempt_monitor import LiveAttempt, end_from_log, last_line, tail
from aiperf_orch.controller.queue_poller import QueueAnswer
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import JobRecord
from aiperf_orch.schedulers.base import JobEnd, JobState, JobStatus, array_element
from aiperf_orch.schedulers.missing_output import missing_output_reason
from aiperf_orch.settings.schedulers import ClusterSettings, SchedulerSettings
from aiperf_orch.util.units import format_duration

_FILE_LAG: Final = 3.0
"""Seconds after which what a job wrote is visible here, once the queue has said that the job ended."""


def needs_queue(watched: LiveAttempt, settings: SchedulerSettings, query_interval: float, proven: bool) -> bool:
    """Whether only the queue can tell how an attempt stands: it is silent, or has not begun, or may end at any moment.

    Args:
        watched: the attempt.
        settings: the scheduler's.
        query_interval: seconds between two questions to the queue.
        proven: whether any trial of the campaign has ended an epoch.
    """
    patience = settings.silent_after
    if watched.begin is None:
        patience = min(patience, max(query_interval, settings.poll_interval))
    return may_end(watched, proven) or monotonic() - watched.heard >= patience


def may_end(watched: LiveAttempt, proven: bool) -> bool:
    """Whether news of its job may come at any moment: it was told to end, seems to be gone, or is the canary."""
    canary = watched.begin is None and not proven
    return watched.attempt.unsure or watched.ended_by_others or watched.job_ended is not None or canary


@dataclass
class Verdicts:
    """Attempts by what an answer of the queue means for them.

    `found` are known to the scheduler though their id was not known, or though they had been missing. `missing` are not
    known to it for the first time. `gone` have an end line, and their job has ended. `lost` are given up: the scheduler
    has not known them for the whole grace, or their job outlives its end line; their job is cancelled first, in case it
    lives. `never` were not found either, and no scheduler ever said that it had them. `hung` run without having begun,
    `held` will never run by themselves.
    """

    found: list[JobRecord] = field(default_factory=list)
    missing: list[AttemptState] = field(default_factory=list)
    gone: list[LiveAttempt] = field(default_factory=list)
    lost: list[LiveAttempt] = field(default_factory=list)
    never: list[LiveAttempt] = field(default_factory=list)
    hung: list[AttemptState] = field(default_factory=list)
    held: list[AttemptState] = field(default_factory=list)


def judge(
    asked: Iterable[LiveAttempt], answer: QueueAnswer, settings: SchedulerSettings, present: datetime
) -> Verdicts:
    """Classify attempts by an answer of the queue, and note on each what the user should know of its job.

    An end that is stated is noted on the attempt, which `is_over` once its files must be visible.
    """
    verdicts = Verdicts()
    for watched in asked:
        name = watched.attempt.name
        status, known = answer.statuses.get(name), None if answer.known is None else answer.known.get(name)
        if status is None or status.state is JobState.ENDED:
            if isinstance(known, JobStatus):
                status = known
            elif answer.known is None:
                continue
        if watched.attempt.cancelling is not EndReason.HELD:  # its end says why it was held
            watched.note = status.detail if status else ""
        if status is not None and status.state is not JobState.ENDED:
            _judge_live(verdicts, watched, status, settings, present)
        elif status is not None or known is not None:
            if status is not None and watched.attempt.job is None:
                verdicts.found.append(job_record(watched.attempt, status.job))
            watched.job_end = known if isinstance(known, JobEnd) else JobEnd(None, status.detail if status else "")
            watched.job_ended = monotonic() if watched.job_ended is None else watched.job_ended
            if watched.ended_by_others:
                verdicts.gone.append(watched)  # its end line is there: nothing to wait for
        else:
            _judge_absent(verdicts, watched, settings, present)
    return verdicts


def _judge_live(
    verdicts: Verdicts, watched: LiveAttempt, status: JobStatus, settings: SchedulerSettings, present: datetime
) -> None:
    """Classify an attempt whose job waits or runs."""
    attempt, time = watched.attempt, monotonic()
    watched.job_end = watched.job_ended = None
    if attempt.job is None or attempt.missing_since is not None:
        verdicts.found.append(job_record(attempt, status.job))
    if watched.end is not None and watched.ended_by_others:
        if present - watched.end.time >= timedelta(seconds=settings.stop_grace):
            verdicts.lost.append(watched)
        return
    watched.heard = watched.due = time
    watched.stuck_since = (time if watched.stuck_since is None else watched.stuck_since) if status.stuck else None
    if attempt.cancelling is not None:
        return
    stuck_for = 0.0 if watched.stuck_since is None else time - watched.stuck_since
    begun = watched.begin is not None or status.running_for is None
    if status.stuck and (status.final or stuck_for >= settings.begin_within):
        verdicts.held.append(attempt)
    elif not begun and (status.running_for or 0.0) >= settings.begin_within:
        verdicts.hung.append(attempt)


def _judge_absent(verdicts: Verdicts, watched: LiveAttempt, settings: SchedulerSettings, present: datetime) -> None:
    """Classify an attempt whose job neither the queue nor what knows better has."""
    attempt = watched.attempt
    if attempt.missing_since is None:
        verdicts.missing.append(attempt)
        watched.came_back = False
    elif present - attempt.missing_since >= timedelta(seconds=settings.lost_after):
        unknown = attempt.job is None and not watched.runs and attempt.cancelling is None
        (verdicts.never if unknown else verdicts.lost).append(watched)


def is_over(watched: LiveAttempt, settings: SchedulerSettings) -> bool:
    """Whether a job has ended by the queue's word, so long ago that all that it wrote can be read here."""
    left = seconds_until_over(watched, settings)
    return left is not None and left <= 0


def seconds_until_over(watched: LiveAttempt, settings: SchedulerSettings) -> float | None:
    """Seconds until a job that has ended by the queue's word `is_over`; None for one that has not ended.

    Where the site runs jobs again by itself, an end that may be followed by another run is given the grace.
    """
    if watched.job_ended is None:
        return None
    end = watched.job_end
    again = isinstance(settings, ClusterSettings) and settings.requeue
    passing = again and (end is None or end.reason in _MAY_RUN_AGAIN)
    lag = settings.lost_after if passing else min(_FILE_LAG, settings.lost_after)
    return watched.job_ended + lag - monotonic()


_MAY_RUN_AGAIN: Final = frozenset({None, EndReason.NODE_FAILURE, EndReason.PREEMPTED})


def how_it_went(
    watched: LiveAttempt, end: JobEnd | None, settings: SchedulerSettings, logs: Iterable[Path]
) -> tuple[EndReason, str]:
    """The reason and the message for an attempt whose job left no end line.

    Args:
        watched: the attempt.
        end: what the queue knows of its job's end.
        settings: the scheduler's.
        logs: files with the job's output.
    """
    order, unseen = watched.attempt.cancelling, _vanished_unseen(watched, end, logs)
    log = end_from_log(tail(*logs)) if order is None and watched.attempt.job is not None else None
    if log is not None and log.hosts:  # it names the node that failed
        watched.job_end = JobEnd(end.reason if end else None, end.detail if end else "", log.hosts)
    reason = reason_without_end_line(order, _known_reason(end, log), unseen=unseen)
    match order:
        case EndReason.HUNG:
            return reason, f"did not begin within {format_duration(settings.begin_within)} (scheduler.begin_within)"
        case EndReason.HELD:
            return reason, watched.note or "the scheduler held its job"
        case None if unseen:
            return reason, "left the queue before it began, without a trace: somebody cancelled it"
        case None:
            gone, detail = "left the queue without an end line", end.detail if end else ""
            said = last_line(*logs) or missing_output_reason(settings, end, [*logs])
            return reason, ", ".join(filter(None, [gone, detail, said]))
        case _:
            return reason, "its job was ended"


def _known_reason(queue: JobEnd | None, log: JobEnd | None) -> EndReason | None:
    """Why a job ended: as the queue has it, unless that is only how it ended, and the job's log knows why."""
    known = queue.reason if queue else None
    if log is None or log.reason is None:
        return known
    return log.reason if known in (None, EndReason.TRIAL_ERROR, EndReason.CANCELLED) else known


def _vanished_unseen(watched: LiveAttempt, end: JobEnd | None, logs: Iterable[Path]) -> bool:
    """Whether it is an array's element that never began: Slurm forgets one at once that is cancelled while it waits."""
    element = array_element(watched.attempt.name) is not None
    return (
        element
        and end is None
        and watched.attempt.job is not None
        and not watched.runs
        and not any(map(file_exists, logs))
    )


def job_record(attempt: AttemptState, job: str) -> JobRecord:
    """The journal's note of an attempt's job."""
    return JobRecord(trial=attempt.trial, attempt=attempt.attempt, job=job)
