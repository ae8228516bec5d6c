"""Times of schedulers as clock digits: `1-12:30:00`, `36:30:00`, `5:07`. Imports no other package: jobs load it.

Durations in settings are read and written by `units`.
"""

from __future__ import annotations

import re
from typing import Final

_CLOCK: Final = re.compile(r"(?:(\d{1,9})-)?(\d{1,18}(?::\d{1,18}){0,2})", re.ASCII)


def parse_clock_time(text: str) -> float | None:
    """Seconds of `D-HH:MM:SS`, `HH:MM:SS`, `MM:SS` or a number of seconds; None for any other text."""
    match = _CLOCK.fullmatch(text.strip())
    parts = match[2].split(":") if match else []
    if match is None or (match[1] and len(parts) != 3):
        return None
    seconds = 0.0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return seconds + int(match[1] or 0) * 86400


def format_clock_time(seconds: float, *, days: bool) -> str:
    """A time limit, rounded up to whole seconds, of at least a minute.

    Args:
        seconds: the time limit.
        days: whether to write `D-HH:MM:SS`, as sbatch reads it, and not `HH:MM:SS`, as qsub does.
    """
    minutes, rest = divmod(max(int(-(-seconds // 1)), 60), 60)
    hours, minutes = divmod(minutes, 60)
    if not days:
        return f"{hours:02d}:{minutes:02d}:{rest:02d}"
    return f"{hours // 24}-{hours % 24:02d}:{minutes:02d}:{rest:02d}"
