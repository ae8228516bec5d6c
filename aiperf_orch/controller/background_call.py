"""Scheduler calls beside the controller's loop: one thread for each kind of call, one call of a kind at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class BackgroundCall(Generic[T]):
    """One kind of call that blocks until a scheduler command has ended. The loop starts it and takes its result."""

    def __init__(self, wake: threading.Event, *, nonblocking: bool) -> None:
        """Begin without any call.

        Args:
            wake: Set when a call has ended, so that the loop takes its next step at once.
            nonblocking: Run calls in the caller's thread, for a scheduler whose methods never block.
        """
        self._wake, self._nonblocking = wake, nonblocking
        self._thread: threading.Thread | None = None
        self._result: T | None = None
        self._error: Exception | None = None
        self._done = False  # set before `wake`: the loop must find the result when it is woken
        self.running = False

    @property
    def ended(self) -> bool:
        """Whether a call has ended whose result has not been taken."""
        return self.running and self._done

    def start(self, call: Callable[[], T]) -> None:
        """Begin a call.

        Raises:
            AssertionError: While another call runs, or its result has not been taken.
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

        if self._nonblocking:
            self._thread = None
            run()
            return

        def run_and_wake() -> None:
            run()
            self._wake.set()

        # a daemon: a command that hangs must not keep this process from exiting
        self._thread = threading.Thread(target=run_and_wake, name="aiperf-orch scheduler call", daemon=True)
        self._thread.start()

    def take(self) -> T:
        """The result of the call that has ended; raises what the call raised."""
        self.running, error, result = False, self._error, self._result
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # without an error the call has returned

    def join(self, seconds: float) -> None:
        """Wait until the call ends, at most for this time."""
        if self._thread is not None:
            self._thread.join(seconds)
