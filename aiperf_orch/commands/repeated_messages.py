"""Filter for repeated messages: shown once, then at growing intervals with their count."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aiperf_orch.util.units import format_second, now

_FIRST_INTERVAL: Final = timedelta(minutes=5)
"""From the first time that a message is shown to the second; each further interval is twice as long."""

_LONGEST_INTERVAL: Final = timedelta(hours=4)
_FORGET_AFTER: Final = timedelta(hours=1)
"""A message that did not occur for this long counts as a new one."""

_MAX_REMEMBERED: Final = 1000

# what differs between two occurrences of the same message: durations, counts, names of jobs
_VARIES: Final = re.compile(
    r"(?<![\w.])\d+(?:\.\d+)?(?:ms|[smhd])(?:\d\d[smh])?\b"
    r"|^\d[\d,]*(?= )|(?<![\w.])\d[\d,]*(?= (?:job|trial)\(s\))"
    r"|\b[a-z][a-z0-9]{4}-w?\d{5}(?:-\d)?(?:\[\d+\])?"
)


@dataclass(slots=True)
class _Occurrences:
    first: datetime
    last: datetime
    shown: datetime
    interval: timedelta
    count: int = 1


class RepeatFilter:
    """Chooses which messages of a long run are shown, so that one that occurs each minute does not hide the others."""

    def __init__(self, clock: Callable[[], datetime] = now) -> None:
        """Start with no message seen; `clock` returns the time in UTC."""
        self._clock = clock
        self._seen: dict[str, _Occurrences] = {}

    def filtered(self, message: str) -> str | None:
        """The message to show now, with its count if it occurred before; None if it is not due."""
        time, key = self._clock(), _VARIES.sub("#", message)
        seen = self._seen.pop(key, None)
        if seen is None or time - seen.last > _FORGET_AFTER:
            self._remember(key, _Occurrences(time, time, time, _FIRST_INTERVAL))
            return message
        seen.last, seen.count = time, seen.count + 1
        self._remember(key, seen)
        if time - seen.shown < seen.interval:
            return None
        seen.shown, seen.interval = time, min(2 * seen.interval, _LONGEST_INTERVAL)
        return f"{message} ({seen.count} times since {format_second(seen.first)})"

    def _remember(self, key: str, seen: _Occurrences) -> None:
        """Store as the latest message; beyond the maximum the one that has not occurred for longest is dropped."""
        self._seen[key] = seen
        if len(self._seen) > _MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
