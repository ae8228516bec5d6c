"""Cancellation of jobs: sends it, repeats it by force, and reclaims attempts from jobs that are gone.

Which attempts are cancelled is decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from threading import Event
from time import monotonic

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.end_reasons import reason_with_end_line
from aiperf_orch.campaign.events import revoke
from aiperf_orch.controller.attempt_monitor import LiveAttempt, Unsubmitted
from aiperf_orch.controller.background_call import BackgroundCall
from aiperf_orch.controller.job_triage import end_reason
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import CancelResult, JobEnd, Scheduler
from aiperf_orch.util.errors import SchedulerUnreachableError, TransientError
from aiperf_orch.util.units import format_duration, now


@dataclass(frozen=True, slots=True)
class CancelOutcome:
    """Outcome of one cancellation.

    Attributes:
        sent: Attempts whose jobs were cancelled.
        never_started: Those of them whose jobs had not started, and now never will.
    """

    sent: Sequence[LiveAttempt]
    never_started: Sequence[LiveAttempt]


class Canceller:
    """Cancels the jobs of one scheduler, one call at a time, also those of an earlier controller."""

    def __init__(
        self,
        scheduler: Scheduler,
        grace: float,
        pause: float,
        warn: Callable[[str], None],
        wake: Event,
    ) -> None:
        """Begin without any cancellation.

        Args:
            scheduler: Scheduler of the jobs.
            grace: Seconds that a job has to end by itself, and between two calls that end it by force.
            pause: Seconds until the next call after one that did not reach the scheduler.
            warn: Receives messages for the user.
            wake: Set when a call has ended.
        """
        self._scheduler, self._grace, self._pause, self._warn = scheduler, grace, pause, warn
        self._call: BackgroundCall[CancelResult] = BackgroundCall(wake, nonblocking=scheduler.nonblocking)
        self._in_flight: dict[str, LiveAttempt] = {}
        self._by_force = False
        self._not_before = 0.0

    @property
    def running(self) -> bool:
        """Whether a call runs, or its outcome has not been taken."""
        return self._call.running

    def take_outcome(self) -> CancelOutcome | None:
        """The outcome of the last call, once; None where there is none."""
        if not self._call.ended:
            return None
        attempts, self._in_flight = self._in_flight, {}
        try:
            result = self._call.take()
        except SchedulerUnreachableError as error:
            self._not_before = monotonic() + self._pause
            self._warn(f"{error}; cancelling {len(attempts)} job(s) again in {format_duration(self._pause)}")
            return None
        time = monotonic()
        for name, live in attempts.items():
            live.cancel_sent, live.cancel_refused = time, name in result.refused
            if self._by_force:
                live.kill_sent = time
        if result.refused:
            name, why = next(iter(result.refused.items()))
            self._warn(f"{len(result.refused)} job(s) not cancelled, the first is {name}: {why}")
        never_started = [attempts[name] for name in result.never_started if name in attempts]
        return CancelOutcome(list(attempts.values()), never_started)

    def cancel(self, attempts: Iterable[LiveAttempt], abandoned: Iterable[LiveAttempt]) -> None:
        """Begin the next call: cancel jobs for the first time, else end by force those that outlived the grace.

        Args:
            attempts: Attempts to cancel.
            abandoned: Attempts whose jobs, if they are alive at all, are to end by force at once.
        """
        if self._call.running or monotonic() < self._not_before:
            return
        attempts = sorted(attempts, key=lambda live: live.attempt.began is not None)  # before those that they wait for
        first = [live for live in attempts if live.cancel_sent is None]
        if first:
            self._start(first, by_force=False)
            return
        again = [live for live in abandoned if monotonic() >= _time(live.kill_sent) + self._pause]
        forced = [*again, *(live for live in attempts if self._outlived_grace(live))]
        if forced:
            self._start(forced, by_force=True)

    def has_more(self, attempts: Iterable[LiveAttempt]) -> bool:
        """Whether `cancel` would now cancel any of these jobs for the first time."""
        first = any(live.attempt.cancelling and live.cancel_sent is None for live in attempts)
        return first and not self._call.running and monotonic() >= self._not_before

    def forget(self, live: LiveAttempt) -> None:
        """Cancel a job again whose attempt has begun: before that, its trial did not receive the signal."""
        live.cancel_sent = None
        self._in_flight = {name: each for name, each in self._in_flight.items() if each is not live}

    def _start(self, chosen: Sequence[LiveAttempt], *, by_force: bool) -> None:
        chosen = chosen[: self._scheduler.max_cancels_per_call]
        self._in_flight, self._by_force = {live.name: live for live in chosen}, by_force
        jobs = {live.name: live.attempt.job for live in chosen}
        self._call.start(partial(self._scheduler.cancel, jobs, force=by_force))

    def _outlived_grace(self, live: LiveAttempt) -> bool:
        """Whether the grace has passed since the journal's entry, and since the last call."""
        since = live.attempt.cancelling_since
        late = since is not None and now() - since > timedelta(seconds=self._grace)
        return late and live.cancel_sent is not None and monotonic() >= live.cancel_sent + self._grace


def _time(sent: float | None) -> float:
    return -math.inf if sent is None else sent


def revoke_refused(directory: CampaignDirectory, live: LiveAttempt, why: str) -> bool:
    """Write the end line of an attempt whose job was refused; returns whether that succeeded.

    Args:
        directory: The campaign.
        live: The attempt.
        why: The scheduler's message.
    """
    try:
        revoke(directory, *live.key, EndReason.SUBMIT_REFUSED, why)
        live.poll_now(directory)  # the journal records its files as they are on disk
    except TransientError as error:  # its end line, if it is written, is read at a later poll
        live.defer(error)
        live.unsubmitted = Unsubmitted.POSTPONED
        return False
    return True


def reclaim_attempt(
    directory: CampaignDirectory, scheduler: Scheduler, live: LiveAttempt, job_end: JobEnd | None
) -> tuple[EndReason, str]:
    """Take an attempt back from its job, which is gone, after a last poll of its events.

    Args:
        directory: The campaign.
        scheduler: Scheduler of the job.
        live: The attempt.
        job_end: What the queue knows of the end of its job; None where it knows nothing.

    Returns:
        Reason and message of its end.

    Raises:
        TransientError: When a file cannot be read or written for now.
    """
    live.poll_now(directory)
    if live.end is None:
        logs = [directory.log(*live.key), directory.job_folder(*live.key) / scheduler.early_log]
        reason, message = end_reason(live, job_end, directory.settings.scheduler, logs)
        revoke(directory, *live.key, reason, message)
        live.poll_now(directory)
    elif live.ended_by_others and job_end is not None and job_end.reason is not None:
        reason = reason_with_end_line(live.end.reason, None, job_end.reason)
        return reason, ", ".join(filter(None, [live.end.message, job_end.detail]))
    return live.end_reason()
