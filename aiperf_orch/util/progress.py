"""What a long task is doing at present: stated where the work is done, shown by the command that runs, if at all.

Without a command that shows it, stating it costs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, TypeVar

_Item = TypeVar("_Item")


@dataclass
class Progress:
    """The present part of a task.

    Attributes:
        part: What is done, for example `reading events`; empty before the first part.
        done: Number of items that are done.
        number: Number of all items; None where nothing is counted.
    """

    part: str = ""
    done: int = 0
    number: int | None = None

    def begin(self, part: str, number: int | None = None) -> None:
        """Begin a part of the task."""
        self.part, self.done, self.number = part, 0, number

    def __str__(self) -> str:
        """The part as text: `reading events: 1,200 of 10,000`."""
        return self.part if self.number is None else f"{self.part}: {self.done:,} of {self.number:,}"


_followed: Final[ContextVar[Progress | None]] = ContextVar("progress", default=None)


@contextmanager
def followed() -> Iterator[Progress]:
    """Follow what is done within the context, by the thread that enters it."""
    progress = Progress()
    token = _followed.set(progress)
    try:
        yield progress
    finally:
        _followed.reset(token)


def begin_part(part: str) -> None:
    """State what is done from now on."""
    progress = _followed.get()
    if progress is not None:
        progress.begin(part)


def tracked(items: Collection[_Item], part: str) -> Iterator[_Item]:
    """Iterate over items, and state how many are done.

    Args:
        items: The items.
        part: What is done with them, for example `reading events`.
    """
    progress = _followed.get()
    if progress is None:
        yield from items
        return
    progress.begin(part, len(items))
    for progress.done, item in enumerate(items):
        yield item
    progress.done = len(items)
