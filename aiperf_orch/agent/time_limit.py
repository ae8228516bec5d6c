"""End of an agent's allocation: what is due when. Decides only; reads no clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class TimeStage(IntEnum):
    """What is due of an allocation's end; each stage includes those before it."""

    OPEN = 0
    """Attempts may start."""
    CLOSED = 1
    """No attempt starts any more."""
    WARNED = 2
    """Trials are warned, and save their state."""
    TERMINATED = 3
    """Attempts that still run are terminated."""
    KILLED = 4
    """Attempts that still run are killed."""


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """When the allocation ends, in seconds on any clock.

    Attributes:
        ends_at: The end; None where it is not known.
        warn_before: Seconds before it at which trials are warned.
        stop_grace: Seconds that a trial has to end after SIGTERM.
    """

    ends_at: float | None
    warn_before: float
    stop_grace: float

    def stage(self, now: float) -> TimeStage:
        """The stage at a time.

        What ignores the warning is ended before the batch system ends it, so that its end is still recorded.
        """
        if self.ends_at is None:
            return TimeStage.OPEN
        left = self.ends_at - now
        grace = min(self.stop_grace, self.warn_before / 2)
        if left <= (grace / 4 if grace else -self.stop_grace):
            return TimeStage.KILLED
        if left <= grace:
            return TimeStage.TERMINATED
        if left <= self.warn_before:
            return TimeStage.WARNED
        return TimeStage.CLOSED if left <= 2 * self.warn_before else TimeStage.OPEN
