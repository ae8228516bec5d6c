"""Temporary signal handlers, and a time limit by a signal."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handle_signals(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle signals within a context, and restore their handlers afterwards. For the main thread only."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


@contextmanager
def time_limit(seconds: float, error: type[Exception]) -> Iterator[None]:
    """Raise an error in the context after a time, wherever it is then. For the main thread only.

    Args:
        seconds: the time, more than 0.
        error: class of the error, which nothing within the context may handle.
    """

    def on_alarm(_number: int, _frame: object) -> None:
        raise error

    with handle_signals([signal.SIGALRM], on_alarm):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
