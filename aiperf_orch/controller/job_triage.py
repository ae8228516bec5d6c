"""Triage of silent attempts by the state of their jobs, and the end reason of an attempt without an end line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Final

from aiperf_orch.campaign.durable_files import file_exists
from aiperf_orch.campaign.end_reasons import reason_without_end_line
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.campaign.workforce import agents_in
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.controller.job_log import end_from_log, last_line, tail
from aiperf_orch.controller.queue_poller import QueueAnswer
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import AttemptId, JobRecord
from aiperf_orch.schedulers.base import JobEnd, JobState, JobStatus, array_element
from aiperf_orch.schedulers.missing_job_output import missing_output_reason
from aiperf_orch.settings.schedulers import ClusterSettings, SchedulerSettings
from aiperf_orch.util.units import format_duration

_FILE_LAG: Final = 3.0
"""Seconds between the end of a job, by the queue, and the moment at which all its output is visible here."""

_MAY_BE_REQUEUED: Final = frozenset({None, EndReason.NODE_FAILURE, EndReason.PREEMPTED})


@dataclass
class JobTriage:
    """Classes of attempts, by what an answer of the queue means for them.

    Attributes:
        found: Jobs that the scheduler knows, though their id was not known, or though they had been missing.
        missing: Attempts whose job the scheduler does not know, for the first time.
        gone: Attempts with an end line whose job has ended.
        lost: Attempts to abandon: the scheduler has not known their job for the whole grace, or their job outlives
            their end line. Their job is cancelled first, in case it is alive.
        unsubmitted: As `lost`, but no scheduler ever confirmed their job: they are submitted again.
        returned: Attempts whose job has ended and certainly never started: they are submitted again, by the same name.
        hung: Attempts whose job has run for `scheduler.begin_within` without a begin line.
        held: Attempts whose job will never run by itself.
    """

    found: list[JobRecord] = field(default_factory=list)
    missing: list[LiveAttempt] = field(default_factory=list)
    gone: list[LiveAttempt] = field(default_factory=list)
    lost: list[LiveAttempt] = field(default_factory=list)
    unsubmitted: list[LiveAttempt] = field(default_factory=list)
    returned: list[LiveAttempt] = field(default_factory=list)
    hung: list[LiveAttempt] = field(default_factory=list)
    held: list[LiveAttempt] = field(default_factory=list)


def classify_jobs(
    queried: Iterable[LiveAttempt], answer: QueueAnswer, settings: SchedulerSettings, time: datetime
) -> JobTriage:
    """Classify attempts that stopped reporting by the state of their jobs, and note that state on each.

    An end that the queue states is only noted on the attempt: `job_is_over` holds once its files must be visible.

    Args:
        queried: Attempts whose jobs the answer is about.
        answer: The answer of the queue.
        settings: Settings of the scheduler.
        time: The present time.
    """
    triage = JobTriage()
    for live in queried:
        status, known = answer.statuses.get(live.name), None if answer.known is None else answer.known.get(live.name)
        if status is None or status.state is JobState.ENDED:
            if isinstance(known, JobStatus):
                status = known
            elif answer.known is None:
                continue
        if live.attempt.cancelling is not EndReason.HELD:  # then its end record says why it was held
            live.note = status.detail if status else ""
        if status is not None and status.state is not JobState.ENDED:
            _classify_alive(triage, live, status, settings, time)
        elif status is not None and status.never_started and not live.runs and live.attempt.cancelling is None:
            triage.returned.append(live)
        elif status is not None or known is not None:
            if status is not None and live.attempt.job is None:
                triage.found.append(job_record(live.attempt, status.job))
            live.job_end = known if isinstance(known, JobEnd) else JobEnd(None, status.detail if status else "")
            live.job_ended = monotonic() if live.job_ended is None else live.job_ended
            if live.ended_by_others:
                triage.gone.append(live)  # its end line has been read: no file to wait for
        else:
            _classify_absent(triage, live, settings, time)
    return triage


def _classify_alive(
    triage: JobTriage, live: LiveAttempt, status: JobStatus, settings: SchedulerSettings, time: datetime
) -> None:
    """Classify an attempt whose job is pending or running."""
    attempt, clock = live.attempt, monotonic()
    live.job_end = live.job_ended = None
    if attempt.job is None or attempt.missing_since is not None:
        triage.found.append(job_record(attempt, status.job))
    if live.end is not None and live.ended_by_others:
        if time - live.end.time >= timedelta(seconds=settings.stop_grace):
            triage.lost.append(live)
        return
    live.last_sign, live.is_running = clock, status.state is JobState.RUNNING
    if live.is_running or live.runs:
        live.next_poll = clock
    if not status.stuck:
        live.stuck_since = None
    elif live.stuck_since is None:
        live.stuck_since = clock
    if attempt.cancelling is not None:
        return
    stuck_for = 0.0 if live.stuck_since is None else clock - live.stuck_since
    silent_for = status.running_for if live.begin is None else None
    if status.stuck and (status.final or stuck_for >= settings.begin_within):
        triage.held.append(live)
    elif silent_for is not None and silent_for >= settings.begin_within:
        triage.hung.append(live)


def _classify_absent(triage: JobTriage, live: LiveAttempt, settings: SchedulerSettings, time: datetime) -> None:
    """Classify an attempt whose job neither the queue nor accounting knows."""
    attempt = live.attempt
    if attempt.missing_since is None:
        triage.missing.append(live)
        live.reappeared = False
    elif time - attempt.missing_since >= timedelta(seconds=settings.lost_after):
        if attempt.job is None and not live.runs and attempt.cancelling is None:
            triage.unsubmitted.append(live)
        else:
            triage.lost.append(live)


def job_is_over(live: LiveAttempt, settings: SchedulerSettings) -> bool:
    """Whether its job ended, by the queue, so long ago that all its output can be read here."""
    left = seconds_until_over(live, settings)
    return left is not None and left <= 0


def seconds_until_over(live: LiveAttempt, settings: SchedulerSettings) -> float | None:
    """Seconds until `job_is_over` holds; None for a job that has not ended by the queue.

    Where the site requeues jobs, an end that another run may follow waits for `scheduler.lost_after`.
    """
    if live.job_ended is None:
        return None
    end = live.job_end
    requeues = isinstance(settings, ClusterSettings) and settings.requeue
    may_run_again = requeues and (end is None or end.reason in _MAY_BE_REQUEUED)
    lag = settings.lost_after if may_run_again else min(_FILE_LAG, settings.lost_after)
    return live.job_ended + lag - monotonic()


def end_reason(
    live: LiveAttempt, job_end: JobEnd | None, settings: SchedulerSettings, logs: Iterable[Path]
) -> tuple[EndReason, str]:
    """Reason and message of the end of an attempt whose job left no end line.

    Args:
        live: The attempt.
        job_end: What the queue knows of the end of its job; None where it knows nothing.
        settings: Settings of the scheduler.
        logs: Files with the output of the job, the most informative first.
    """
    order, unseen = live.attempt.cancelling, _vanished_unseen(live, job_end, logs)
    placed = bool(agents_in(live.attempt.job))
    log = end_from_log(tail(*logs)) if order is None and live.attempt.job is not None else None
    if log is not None and log.hosts:  # it names the node that failed
        live.job_end = JobEnd(job_end.reason if job_end else None, job_end.detail if job_end else "", log.hosts)
    reason = reason_without_end_line(order, _known_reason(job_end, log), unseen=unseen)
    match order:
        case EndReason.HUNG:
            return reason, f"did not begin within {format_duration(settings.begin_within)} (scheduler.begin_within)"
        case EndReason.HELD:
            return reason, live.note or "the scheduler held its job"
        case EndReason.PREEMPTED:
            return reason, "a node was drained"
        case None if unseen:
            return reason, "left the queue before it began, and is unknown: a user or an administrator cancelled it"
        case None:
            gone = "left no end line" if placed else "left the queue without an end line"
            detail = job_end.detail if job_end else ""
            explanation = last_line(*logs) or ("" if placed else missing_output_reason(settings, job_end, [*logs]))
            return reason, ", ".join(filter(None, [gone, detail, explanation]))
        case _:
            return reason, f"its {'process' if placed else 'job'} was ended"


def _known_reason(queue: JobEnd | None, log: JobEnd | None) -> EndReason | None:
    """Why a job ended: by the queue, unless the log of the job is more specific."""
    known = queue.reason if queue else None
    if log is None or log.reason is None:
        return known
    return log.reason if known in (None, EndReason.TRIAL_ERROR, EndReason.CANCELLED) else known


def _vanished_unseen(live: LiveAttempt, job_end: JobEnd | None, logs: Iterable[Path]) -> bool:
    """Whether it is an array element that never began: Slurm forgets a pending one as soon as it is cancelled."""
    return (
        array_element(live.name) is not None
        and job_end is None
        and live.attempt.job is not None
        and not live.runs
        and not any(map(file_exists, logs))
    )


def attempt_id(live: LiveAttempt) -> AttemptId:
    """The journal's name of an attempt."""
    return AttemptId(trial=live.attempt.trial, attempt=live.attempt.attempt)


def job_record(attempt: AttemptState, job: str) -> JobRecord:
    """The journal's record of an attempt's job id."""
    return JobRecord(trial=attempt.trial, attempt=attempt.attempt, job=job)
