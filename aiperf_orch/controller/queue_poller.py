"""Asks the scheduler's queue beside the loop: not too often, sooner where an answer is expected, less often without one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import Final

from aiperf_orch.controller.background_call import BackgroundCall
from aiperf_orch.schedulers.base import JobEnd, JobState, JobStatus, Scheduler
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.units import format_duration

_LONGEST_BACK_OFF: Final = 300.0  # seconds
_SOON: Final = 2.0
"""Seconds to the first question about a job that is expected to end; each further one comes after twice as long."""


@dataclass(frozen=True, slots=True)
class QueueAnswer:
    """What is known of the jobs that were asked for, by name, and of others that the queue lists as ended.

    `statuses` is what the queue lists. `known` is what accounting and the scheduler say of jobs that the queue does not
    list, or lists as ended; None where they could not be asked, so that nothing may be concluded of these jobs.
    """

    jobs: Mapping[str, str | None]
    statuses: Mapping[str, JobStatus]
    known: Mapping[str, JobStatus | JobEnd] | None


class Queue:
    """Questions to one scheduler. While it cannot be reached nothing is concluded, and `warn` says so."""

    def __init__(self, scheduler: Scheduler, back_off: float, warn: Callable[[str], None], wake: Event) -> None:
        """Nothing is asked yet.

        Args:
            scheduler: the one to ask.
            back_off: the least seconds between an unanswered question and the next.
            warn: gets messages for the user.
            wake: set when a command of the scheduler has ended.
        """
        self._scheduler, self._back_off, self._warn = scheduler, back_off, warn
        self._call: BackgroundCall[QueueAnswer] = BackgroundCall(wake, nonblocking=scheduler.nonblocking)
        self._unanswered = 0
        self._not_before = self._next = 0.0
        self._next_soon, self._gap = math.inf, _SOON
        self._expected: frozenset[str] = frozenset()

    @property
    def running(self) -> bool:
        """Whether an answer is still to come, or to be taken."""
        return self._call.running

    def ask(
        self, jobs: Mapping[str, str | None], expected: Collection[str], others: Mapping[str, str | None] = {}
    ) -> None:
        """Begin a question about these jobs, unless it is too early or the one before has not been answered.

        Args:
            jobs: ids by name, None where the id is not known.
            expected: names of those that are about to end, which are asked for sooner.
            others: ids by name of jobs that are no reason to ask; that one of them has ended is heard all the same.
        """
        time, interval = monotonic(), self._scheduler.query_interval
        if set(expected) - self._expected:
            self._gap, self._next_soon = _SOON, min(self._next_soon, time + min(_SOON, interval))
        self._expected = frozenset(expected)
        due = min(self._next, self._next_soon) if expected else self._next
        if jobs and not self._call.running and time >= max(self._not_before, due):
            asked, besides = dict(jobs), dict(others)
            self._call.start(lambda: _ask(self._scheduler, asked, besides))

    def answer(self) -> QueueAnswer | None:
        """The answer to the last question, once; None while there is none."""
        if not self._call.ended:
            return None
        try:
            answer = self._call.take()
        except SchedulerUnreachableError as error:
            self._unanswered += 1
            wait = _jittered(min(self._back_off * 2**self._unanswered, _LONGEST_BACK_OFF))
            self._not_before = monotonic() + wait
            self._warn(f"{error}; asking again in {format_duration(wait)}")
            return None
        self._unanswered = 0
        time, interval = monotonic(), self._scheduler.query_interval
        self._next = time + _jittered(interval)
        self._next_soon = time + min(self._gap, interval) if self._expected else math.inf
        self._gap *= 2
        if answer.known is None:
            self._warn("the scheduler lists its queue, but does not say what happened to jobs that have left it")
        return answer


def _ask(scheduler: Scheduler, asked: Mapping[str, str | None], others: Mapping[str, str | None]) -> QueueAnswer:
    """One look at the queue, and one at what knows better of jobs that are not in it."""
    statuses = scheduler.query(asked.keys() | others.keys())
    ended = {name for name, status in statuses.items() if status.state is JobState.ENDED}
    jobs = {**asked, **{name: job for name, job in others.items() if name in ended}}
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
    """Somewhat more: campaigns that began together need not ask together."""
    return seconds * random.uniform(1.0, 1.2)
