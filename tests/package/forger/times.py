"""Times in the records of a package."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from package.forger.records import Records

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


def is_time(value: Any) -> bool:
    """Whether a value of a record is a time."""
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def shifted(time: str, seconds: float) -> str:
    """A later time, or an earlier one where the seconds are negative."""
    return (datetime.fromisoformat(time) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def difference(later: str, earlier: str) -> float:
    """Seconds between two times."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def holders(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each dictionary or list in a value that holds a time, with the key of the time."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        if is_time(inner):
            yield value, key
        else:
            yield from holders(inner)


def change_times(records: Records, change: Callable[[str], str], *parts: Any) -> None:
    """Change all times in parts of the records; by default all but the time at which the campaign was created."""
    for part in parts or (records.journal, records.events, records.accounting):
        for holder, key in holders(part):
            holder[key] = change(holder[key])
