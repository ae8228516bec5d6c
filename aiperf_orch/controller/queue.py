"""Asks the scheduler's queue, not too often, and less often while it does not answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from time import monotonic
from typing import Final

from aiperf_orch.errors import SchedulerUnreachable
from aiperf_orch.schedulers.base import JobStatus, Scheduler
from aiperf_orch.units import format_duration

_LONGEST_BACK_OFF: Final = 300.0  # seconds


class Queue:
    """Questions to one scheduler. While it cannot be reached nothing is concluded, and `warn` tells a person."""

    def __init__(self, scheduler: Scheduler, back_off: float, warn: Callable[[str], None]) -> None:
        """Args: the scheduler, the least seconds between an unanswered question and the next, and `warn`."""
        self._scheduler, self._back_off, self._warn = scheduler, back_off, warn
        self._unanswered = 0
        self._not_before = 0.0

    def ask(self, names: Collection[str]) -> Mapping[str, JobStatus] | None:
        """What the queue says of jobs with these names; None while it is not to be asked, or does not answer."""
        if monotonic() < self._not_before:
            return None
        try:
            statuses = self._scheduler.query(names)
        except SchedulerUnreachable as error:
            self._unanswered += 1
            wait = _jittered(min(self._back_off * 2**self._unanswered, _LONGEST_BACK_OFF))
            self._not_before = monotonic() + wait
            self._warn(f"{error}; asking again in {format_duration(wait)}")
            return None
        self._unanswered = 0
        self._not_before = monotonic() + _jittered(self._scheduler.query_interval)
        return statuses


def _jittered(seconds: float) -> float:
    """Somewhat more: campaigns that began together need not ask together."""
    return seconds * random.uniform(1.0, 1.2)
