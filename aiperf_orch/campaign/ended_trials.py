"""Trials that are over as columns of numbers: what `status` needs of each trial that its table does not show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Final

from aiperf_orch.campaign.trial_state import TrialState
from aiperf_orch.records.journal import AttemptEnd

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_UNIT: Final = timedelta(microseconds=1)


@dataclass
class EndedTrials:
    """Trials that are over, a place for each in every column. Times are whole microseconds.

    Attributes:
        trials: Their numbers.
        attempts: Numbers of their attempts.
        ended: When they ended, since 1970 (`end_time`).
        spans: Time from the begin of the last attempt to the last epoch; None where it is not known.
        reasons: End reason -> number of trials.
    """

    trials: list[int] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    spans: list[int | None] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of trials."""
        return len(self.trials)

    def add(self, trial: TrialState, end: AttemptEnd) -> None:
        """Add a trial that is over.

        Args:
            trial: The trial.
            end: The end of its last attempt.
        """
        span = span_of(end)
        self.trials.append(trial.trial)
        self.attempts.append(len(trial.attempts))
        self.ended.append((end_time(trial) - _EPOCH) // _UNIT)
        self.spans.append(None if span is None else span // _UNIT)
        self.reasons[end.reason.value] = self.reasons.get(end.reason.value, 0) + 1

    def copy(self) -> EndedTrials:
        """A copy with columns of its own."""
        return EndedTrials([*self.trials], [*self.attempts], [*self.ended], [*self.spans], {**self.reasons})

    def spans_since(self, time: datetime) -> Iterator[timedelta | None]:
        """The `spans` of the trials that ended at this time or later."""
        earliest = (time - _EPOCH) // _UNIT
        for ended, span in zip(self.ended, self.spans, strict=True):
            if ended >= earliest:
                yield None if span is None else span * _UNIT


def end_time(trial: TrialState) -> datetime:
    """When a trial that is over ended; where it completed no epoch, when its last attempt was submitted."""
    last = trial.attempts[-1]
    return (last.end.last_end if last.end else None) or last.submitted


def span_of(end: AttemptEnd) -> timedelta | None:
    """Time from the begin of the last attempt of a trial to its last epoch; None where it is not known."""
    return end.last_end - end.first_begin if end.last_end and end.first_begin else None
