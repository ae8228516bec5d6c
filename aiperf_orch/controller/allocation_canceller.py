"""Cancellation of allocations' jobs beside the controller's loop: once gently, and by force after the grace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Event
from time import monotonic

from aiperf_orch.controller.allocation_triage import LiveAllocation
from aiperf_orch.controller.background_call import BackgroundCall
from aiperf_orch.schedulers.base import CancelResult, Scheduler
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.units import format_duration


class AllocationCanceller:
    """Cancels the jobs of allocations, one call at a time."""

    def __init__(self, batch: Scheduler, grace: float, pause: float, warn: Callable[[str], None], wake: Event) -> None:
        """Begin without any cancellation.

        Args:
            batch: Scheduler of the jobs.
            grace: Seconds that a job has to end by itself, and between two calls that end it by force.
            pause: Seconds until the next call after one that did not reach the scheduler.
            warn: Receives messages for the user.
            wake: Set when a call has ended.
        """
        self._batch, self._grace, self._pause, self._warn = batch, grace, pause, warn
        self._call: BackgroundCall[CancelResult] = BackgroundCall(wake, nonblocking=batch.nonblocking)
        self._in_flight: Sequence[LiveAllocation] = ()
        self._not_before = 0.0

    @property
    def running(self) -> bool:
        """Whether a call runs, or its outcome has not been taken."""
        return self._call.running

    def cancel(self, wanted: Sequence[LiveAllocation], *, at_once: bool) -> None:
        """Begin the next call, unless one runs: cancel jobs for the first time, else by force those that outlive it.

        Args:
            wanted: Allocations whose jobs are to end.
            at_once: Whether the time to end by themselves is over for all of them.
        """
        if self._call.running or monotonic() < self._not_before:
            return
        first = [each for each in wanted if each.cancel_sent is None]
        force = not first
        late = [each for each in wanted if (at_once and not each.is_killed) or self._outlived_grace(each)]
        chosen = (late if force else first)[: self._batch.max_cancels_per_call]
        if chosen:
            self._in_flight = chosen
            for each in chosen:
                each.cancel_sent, each.is_killed = monotonic(), force
            self._call.start(partial(self._batch.cancel, {each.name: each.state.job for each in chosen}, force=force))

    def take_never_started(self) -> list[str]:
        """Names of the jobs that the last call removed before they started; empty while it runs."""
        if not self._call.ended:
            return []
        cancelled, self._in_flight = self._in_flight, ()
        try:
            result = self._call.take()
        except SchedulerUnreachableError as error:
            self._not_before = monotonic() + self._pause
            self._warn(f"{error}; cancelling {len(cancelled)} allocation(s) again in {format_duration(self._pause)}")
            for each in cancelled:
                each.cancel_sent, each.is_killed = None, False
            return []
        for name, why in result.refused.items():
            self._warn(f"allocation {name} was not cancelled: {why}")
        return result.never_started

    def _outlived_grace(self, allocation: LiveAllocation) -> bool:
        return allocation.cancel_sent is not None and monotonic() - allocation.cancel_sent >= self._grace
