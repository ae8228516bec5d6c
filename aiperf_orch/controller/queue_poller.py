"""Polls of the scheduler's queue beside the controller's loop: which attempts need one, and when it is due."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import Final

from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.controller.background_call import BackgroundCall
from aiperf_orch.schedulers.base import JobEnd, JobState, JobStatus, Scheduler
from aiperf_orch.settings.schedulers import SchedulerSettings
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.units import format_duration

_LONGEST_BACK_OFF: Final = 300.0  # seconds
_ANNOUNCED_SILENCE: Final = 1800.0
"""Seconds without an event after which the state of an attempt is queried although its end would be announced."""
_UNNEEDED: Final = 5.0
"""Seconds until it is looked again which jobs need a poll, where none does."""
_SOON: Final = 2.0
"""Seconds until the first poll for a job that is expected to end; the interval doubles with each further poll."""


def may_be_in_queue(live: LiveAttempt, submitting: Collection[str]) -> bool:
    """Whether an answer of the queue can mean anything for an attempt.

    Args:
        live: The attempt.
        submitting: Names of the jobs that are being submitted.
    """
    return not (live.unsubmitted or live.name in submitting or live.abandoned)


def may_end_soon(live: LiveAttempt, *, proven: bool) -> bool:
    """Whether its job may end at any moment: it is being cancelled, seems to be gone, or is the campaign's first one.

    Args:
        live: The attempt.
        proven: Whether any trial of the campaign has completed an epoch.
    """
    first_of_campaign = live.begin is None and not proven
    return live.attempt.is_uncertain or live.ended_by_others or live.job_ended is not None or first_of_campaign


def needs_query(live: LiveAttempt, settings: SchedulerSettings, query_interval: float, *, proven: bool) -> bool:
    """Whether only the queue knows the state of an attempt: it is silent, has not begun, or may end soon.

    Args:
        live: The attempt.
        settings: Settings of the scheduler.
        query_interval: Seconds between two polls of the queue.
        proven: Whether any trial of the campaign has completed an epoch.
    """
    silence = settings.silent_after
    if live.is_announced and (live.begin is not None or live.announced is None):
        silence = max(silence, _ANNOUNCED_SILENCE)
    elif live.begin is None:
        silence = min(silence, max(query_interval, settings.poll_interval))
    return may_end_soon(live, proven=proven) or monotonic() - live.last_sign >= silence


def jobs_to_query(
    attempts: Sequence[LiveAttempt],
    gone: Collection[str],
    settings: SchedulerSettings,
    query_interval: float,
    *,
    proven: bool,
) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """Job ids by name: of the jobs that a poll is about, and of others whose end it may notice.

    Args:
        attempts: Attempts of whose jobs an answer of the queue can mean something.
        gone: Names of jobs that seem to be gone.
        settings: Settings of the scheduler.
        query_interval: Seconds between two polls of the queue.
        proven: Whether any trial of the campaign has completed an epoch.
    """
    jobs = {
        live.name: live.attempt.job
        for live in attempts
        if live.name in gone or needs_query(live, settings, query_interval, proven=proven)
    }
    others = {live.name: live.attempt.job for live in attempts if not (live.is_announced or live.name in jobs)}
    return jobs, others


@dataclass(frozen=True, slots=True)
class QueueAnswer:
    """Answer to one poll of the queue.

    Attributes:
        jobs: Job ids by name, of the jobs that were polled for and of others that the queue lists as ended. None where
            the id is not known.
        statuses: What the queue lists, by name.
        known: What accounting and the scheduler know of jobs that the queue does not list, or lists as ended. None
            where they did not answer, so that nothing may be concluded about these jobs.
    """

    jobs: Mapping[str, str | None]
    statuses: Mapping[str, JobStatus]
    known: Mapping[str, JobStatus | JobEnd] | None


class QueuePoller:
    """Polls the queue of one scheduler. While it cannot be reached nothing is concluded, and the user is warned."""

    def __init__(self, scheduler: Scheduler, back_off: float, warn: Callable[[str], None], wake: Event) -> None:
        """Begin without any poll.

        Args:
            scheduler: Scheduler to poll.
            back_off: Seconds between a poll without an answer and the next one, at least.
            warn: Receives messages for the user.
            wake: Set when a poll has ended.
        """
        self._scheduler, self._back_off, self._warn = scheduler, back_off, warn
        self._call: BackgroundCall[QueueAnswer] = BackgroundCall(wake, nonblocking=scheduler.nonblocking)
        self._unanswered = 0
        self._not_before = self._next = 0.0
        self._next_soon, self._gap = math.inf, _SOON
        self._expected: frozenset[str] = frozenset()

    @property
    def running(self) -> bool:
        """Whether a poll runs, or its answer has not been taken."""
        return self._call.running

    def expect(self, names: Collection[str]) -> bool:
        """Note which jobs may end soon, which are polled for more often; returns whether a poll may begin now."""
        time, interval = monotonic(), self._scheduler.query_interval
        if set(names) - self._expected:
            self._gap, self._next_soon = _SOON, min(self._next_soon, time + min(_SOON, interval))
        self._expected = frozenset(names)
        due = min(self._next, self._next_soon) if names else self._next
        return not self._call.running and time >= max(self._not_before, due)

    def poll(
        self, jobs: Mapping[str, str | None], expected: Collection[str], others: Mapping[str, str | None] | None = None
    ) -> None:
        """Begin a poll, unless it is too early or the last one has not been answered.

        Args:
            jobs: Job ids by name, None where the id is not known.
            expected: Names of those that may end soon, which are polled for more often.
            others: Job ids by name of jobs that are no reason to poll, but whose end is noticed.
        """
        if not self.expect(expected):
            return
        if not jobs:
            self._next = monotonic() + min(_UNNEEDED, self._scheduler.query_interval)
        else:
            polled, besides = dict(jobs), dict(others or {})
            self._call.start(lambda: _query(self._scheduler, polled, besides))

    def take_answer(self) -> QueueAnswer | None:
        """The answer to the last poll, once; None where there is none."""
        if not self._call.ended:
            return None
        try:
            answer = self._call.take()
        except SchedulerUnreachableError as error:
            self._unanswered += 1
            wait = _jittered(min(self._back_off * 2**self._unanswered, _LONGEST_BACK_OFF))
            self._not_before = monotonic() + wait
            self._warn(f"{error}; polling again in {format_duration(wait)}")
            return None
        self._unanswered = 0
        time, interval = monotonic(), self._scheduler.query_interval
        self._next = time + _jittered(interval)
        self._next_soon = time + min(self._gap, interval) if self._expected else math.inf
        self._gap *= 2
        if answer.known is None:
            self._warn("the scheduler lists its queue, but not what happened to jobs that have left it")
        return answer


def _query(scheduler: Scheduler, jobs: Mapping[str, str | None], others: Mapping[str, str | None]) -> QueueAnswer:
    """Query the queue once, and once what the scheduler knows of jobs that are not in it."""
    statuses = scheduler.query(jobs.keys() | others.keys())
    ended = {name for name, status in statuses.items() if status.state is JobState.ENDED}
    jobs = {**jobs, **{name: job for name, job in others.items() if name in ended}}
    listed = statuses.keys() - ended
    gone = {
        name: job or statuses[name].job
        for name, job in jobs.items()
        if name not in listed and (job or name in statuses)
    }
    try:
        known = scheduler.query_unlisted(gone) if gone else {}
    except SchedulerUnreachableError:
        known = None
    return QueueAnswer(jobs, statuses, known)


def _jittered(seconds: float) -> float:
    """Up to a fifth more, so that campaigns that began together do not poll together."""
    return seconds * random.uniform(1.0, 1.2)
