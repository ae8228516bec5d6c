"""Line on a terminal that shows what a task is doing which takes longer than two seconds."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

from aiperf_orch.commands.escaped_output import unwrapped
from aiperf_orch.util.progress import Progress, followed
from aiperf_orch.util.units import format_duration

_SILENT: Final = 2.0  # seconds; a shorter task shows nothing
_INTERVAL: Final = 0.5  # seconds between two changes of the line
_CLEAR: Final = "\r\x1b[K"
_MESSAGES: Final = logging.getLogger("aiperf_orch")


@contextmanager
def progress_line(task: str, *, silent: float = _SILENT) -> Iterator[None]:
    """Show what is done within the context, in a line of standard error that is cleared at the end.

    Nothing is shown without a terminal, nor beside debug messages.

    Args:
        task: Name of the task, for example `verify`.
        silent: Seconds before the line is shown.
    """
    terminal = unwrapped(sys.stderr)
    if not terminal.isatty() or any(handler.level == logging.DEBUG for handler in _MESSAGES.handlers):
        yield
        return
    with followed() as progress:
        line = _Line(terminal, task, progress, silent)
        thread = threading.Thread(target=line.show, name="progress", daemon=True)
        handlers = list(_MESSAGES.handlers)
        for handler in handlers:
            handler.addFilter(line.give_way)
        thread.start()
        try:
            yield
        finally:
            line.ended.set()
            thread.join()
            for handler in handlers:
                handler.removeFilter(line.give_way)


class _Line:
    """The line, which another thread writes."""

    def __init__(self, terminal: TextIO, task: str, progress: Progress, silent: float) -> None:
        self.ended = threading.Event()
        self._terminal, self._task, self._progress, self._silent = terminal, task, progress, silent
        self._lock, self._is_shown = threading.Lock(), False

    def show(self) -> None:
        """Write the line until the task has ended."""
        begun, seconds = time.monotonic(), self._silent
        while not self.ended.wait(seconds):
            seconds = _INTERVAL
            part = f"{self._progress}, " if self._progress.part else ""
            self._write(f"{_CLEAR}{self._task}: {part}{format_duration(time.monotonic() - begun)}")
        self.give_way()

    def give_way(self, _record: logging.LogRecord | None = None) -> bool:
        """Clear the line, for a message in its place; a filter of log records that lets each one pass."""
        if self._is_shown:
            self._write(_CLEAR, stays=False)
        return True

    def _write(self, text: str, *, stays: bool = True) -> None:
        with self._lock, suppress(OSError, ValueError):  # a closed terminal ends no task
            self._terminal.write(text)
            self._terminal.flush()
            self._is_shown = stays
