"""Messages that come again and again: shown once, and then at growing intervals with their count."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aiperf_orch.util.units import now

_FIRST: Final = timedelta(
    minutes=5
)  # from the first time that a message is shown to the second; then twice as long, ...
_LONGEST: Final = timedelta(hours=4)
_FORGET: Final = timedelta(hours=1)  # a message that did not come for so long is a new one
_MOST: Final = 1000  # different messages that are remembered

# what differs between two times of the same message: durations, counts, names of jobs
_VARIES: Final = re.compile(
    r"(?<![\w.])\d+(?:\.\d+)?(?:ms|[smhd])(?:\d\d[smh])?\b"
    r"|^\d[\d,]*(?= )|(?<![\w.])\d[\d,]*(?= (?:job|trial)\(s\))"
    r"|\b[a-z][a-z0-9]{4}-w?\d{5}(?:-\d)?(?:\[\d+\])?"
)


@dataclass(slots=True)
class _Seen:
    first: datetime
    last: datetime
    shown: datetime
    interval: timedelta
    times: int = 1


class Repeats:
    """Chooses which messages of a long run are shown, so that one that comes each minute does not hide the others."""

    def __init__(self, clock: Callable[[], datetime] = now) -> None:
        """Begin with no message seen; `clock` tells the time in UTC."""
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def shown(self, message: str) -> str | None:
        """The message as it is to be shown now, with its count where it came before; None when it is not."""
        time, key = self._clock(), _VARIES.sub("#", message)
        seen = self._seen.pop(key, None)
        if seen is None or time - seen.last > _FORGET:
            self._remember(key, _Seen(time, time, time, _FIRST))
            return message
        seen.last, seen.times = time, seen.times + 1
        self._remember(key, seen)
        if time - seen.shown < seen.interval:
            return None
        seen.shown, seen.interval = time, min(2 * seen.interval, _LONGEST)
        form = "%H:%M" if seen.first.date() == time.date() else "%Y-%m-%d %H:%M"
        return f"{message} ({seen.times} times since {seen.first:{form}})"

    def _remember(self, key: str, seen: _Seen) -> None:
        """Keep it as the latest; of very many the one that came least lately is forgotten."""
        self._seen[key] = seen
        if len(self._seen) > _MOST:
            del self._seen[next(iter(self._seen))]
