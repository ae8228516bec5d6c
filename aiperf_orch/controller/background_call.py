"""Scheduler calls beside the controller's loop: each kind in a thread of its own, one of a kind at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class BackgroundCall(Generic[T]):
    """One kind of call, which blocks until a scheduler's command has ended; the loop starts it and takes its result."""

    def __init__(self, wake: threading.Event, *, nonblocking: bool) -> None:
        """Nothing is called yet.

        Args:
            wake: set when a call has ended, so that the loop need not wait for its next turn.
            nonblocking: run calls in the caller's thread, for a scheduler that never keeps anybody waiting.
        """
        self._wake, self._at_once = wake, nonblocking
        self._thread: threading.Thread | None = None
        self._result: T | None = None
        self._error: Exception | None = None
        self._done = False  # set before the loop is woken, which must find the result then
        self.running = False

    @property
    def ended(self) -> bool:
        """Whether a call has ended whose result has not been taken."""
        return self.running and self._done

    def start(self, call: Callable[[], T]) -> None:
        """Begin a call.

        Raises:
            AssertionError: while another one runs, or its result has not been taken.
        """
        if self.running:
            raise AssertionError("a call of this kind runs already")
        self.running, self._done, self._result, self._error = True, False, None, None

        def run() -> None:
            try:
                self._result = call()
            except Exception as error:
                self._error = error
            self._done = True

        if self._at_once:
            self._thread = None
            run()
            return

        def run_and_wake() -> None:
            run()
            self._wake.set()

        # a daemon: a command that hangs must not keep this process from leaving
        self._thread = threading.Thread(target=run_and_wake, name="aiperf-orch scheduler call", daemon=True)
        self._thread.start()

    def take(self) -> T:
        """The result of the call that has ended; raises what the call raised."""
        self.running, error, result = False, self._error, self._result
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # there is no error, so that the call has returned

    def join(self, seconds: float) -> None:
        """Wait for the end of the call, but not longer than this."""
        if self._thread is not None:
            self._thread.join(seconds)
