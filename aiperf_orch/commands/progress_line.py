"""Line on a terminal that shows how far a task is which takes longer than two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aiperf_orch.commands.escaped_output import unwrapped

_SILENT: Final = 2.0  # seconds; a shorter task shows nothing
_INTERVAL: Final = 0.5  # seconds between two changes of the line
_CLEAR: Final = "\r\x1b[K"


@contextmanager
def progress_line(
    task: str, unit: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """Show how far a task is, in a line of standard error that is cleared at the end; nothing without a terminal.

    Args:
        task: What is done, for example `plan`.
        unit: What is counted, in the plural.
        clock: Seconds from any time on.

    Yields:
        Function of the number that is done, and the number of all.
    """
    terminal = unwrapped(sys.stderr)
    is_shown = terminal.isatty()
    due, has_shown = clock() + _SILENT, False

    def show(done: int, number: int) -> None:
        nonlocal due, has_shown
        if is_shown and clock() >= due:
            due, has_shown = clock() + _INTERVAL, True
            terminal.write(f"{_CLEAR}{task}: {done} of {number} {unit}")
            terminal.flush()

    try:
        yield show
    finally:
        if has_shown:
            terminal.write(_CLEAR)
            terminal.flush()
