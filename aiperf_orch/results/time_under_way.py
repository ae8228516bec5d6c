"""Time of a campaign in which at least one epoch was under way, which the rule `duration` requires since `aiperf-1.1`.

A counted epoch is under way from its start to its end. An epoch that the deadline interrupted has no record of its own:
it counts from where its trial had come, for at most the mean duration of the trial's counted epochs, and not at all
where there are fewer than two of them. One long epoch, real or invented, then shows nothing of another one: with m
seconds of epochs, an interrupted one adds at most m / 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Final

from aiperf_orch.records.base import EndReason
from aiperf_orch.results.collected_trials import Collected, TrialRecords

_LEAST_EPOCHS: Final = 2

_Interval = tuple[datetime, datetime]


def seconds_under_way(collected: Collected, deadline: datetime | None) -> float:
    """Seconds in which at least one epoch was under way; times in which several were count once.

    Args:
        collected: The trials with their counted epochs.
        deadline: The time at which the campaign ended by its time limit; None for a campaign that did not.
    """
    intervals = [(epoch.start, epoch.end) for epoch in collected.epochs]
    if deadline is not None:
        found = (_interrupted_epoch(records, deadline) for records in collected.trials)
        intervals += [interval for interval in found if interval]
    return _union(intervals).total_seconds()


def _interrupted_epoch(records: TrialRecords, deadline: datetime) -> _Interval | None:
    """When the epoch that the deadline interrupted was under way, as far as it counts; None without one.

    It began no earlier than the last run did and the epoch before it ended; the trial's end line ends it.
    """
    begins = [begin for begin in records.begins if begin.time < deadline]
    if not begins or len(records.epochs) < _LEAST_EPOCHS:
        return None
    last = begins[-1]
    if not (_was_ended(records, last.attempt) or any(each.start < deadline < each.end for each in records.uncounted)):
        return None
    durations = [epoch.end - epoch.start for epoch in records.epochs]
    start = max(last.time, *(epoch.end for epoch in records.epochs))
    lines = [end.time for end in records.ends if end.attempt == last.attempt]
    return start, min(deadline, start + sum(durations, timedelta()) / len(durations), *lines)


def _was_ended(records: TrialRecords, attempt: int) -> bool:
    """Whether the controller ended an attempt because the campaign's deadline had passed."""
    ends = (each.end for each in records.trial.attempts if each.attempt == attempt)
    return any(end is not None and end.reason is EndReason.CAMPAIGN_ENDED for end in ends)


def _union(intervals: Iterable[_Interval]) -> timedelta:
    """Time that any of the intervals covers."""
    covered, earliest = timedelta(), None
    for start, end in sorted(intervals, key=itemgetter(1), reverse=True):
        if earliest is not None and end > earliest:
            end = earliest  # what is later has been counted
        if start < end:
            covered += end - start
            earliest = start
    return covered
