"""Submits jobs beside the loop, and tries again what was refused for a reason that may pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from threading import Event
from time import monotonic
from typing import Final

from aiperf_orch.controller.background_call import BackgroundCall
from aiperf_orch.schedulers.base import JobRequest, Scheduler, SubmitResult
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.units import format_duration

_FIRST_PAUSE: Final = 2.0
_LONGEST_PAUSE: Final = 60.0
"""Seconds between two tries of a submission that was postponed: the first pause, doubled up to the longest."""


class Submitter:
    """One scheduler's submissions, one at a time; it decides what limits, refusals and silence mean for the next one."""

    def __init__(
        self,
        scheduler: Scheduler,
        retry_for: float,
        pause: float,
        warn: Callable[[str], None],
        wake: Event,
        *,
        accepted: bool,
    ) -> None:
        """Nothing is submitted yet.

        Args:
            scheduler: of the jobs.
            retry_for: seconds for which a submission is tried again that is refused, but not known to be for good.
            pause: seconds until the next try after one that met a limit or had no answer.
            warn: gets messages for the user.
            wake: set when a command of the scheduler has ended.
            accepted: the scheduler has taken a job of the campaign before.
        """
        self._scheduler, self._retry_for, self._pause, self._warn = scheduler, retry_for, pause, warn
        self._call: BackgroundCall[SubmitResult] = BackgroundCall(wake, nonblocking=scheduler.nonblocking)
        self._limit_call: BackgroundCall[int] = BackgroundCall(wake, nonblocking=scheduler.nonblocking)
        self._array_limit: int | None = None
        self._accepted = accepted
        self._not_before, self._full = 0.0, False
        self._refused_since: float | None = None
        self._refusals = 0
        self.names: frozenset[str] = frozenset()
        """Of the jobs that are being submitted: nothing else is known of them until the scheduler has answered."""

    @property
    def is_free(self) -> bool:
        """Whether a submission may begin now."""
        return not self._call.running and monotonic() >= self._not_before

    @property
    def running(self) -> bool:
        """Whether the result of a command is still to come, or to be taken."""
        return self._call.running or self._limit_call.running

    @property
    def in_flight(self) -> bool:
        """Whether jobs are being submitted."""
        return self._call.running

    def start(self, requests: Sequence[JobRequest]) -> None:
        """Begin to submit jobs."""
        self.names = frozenset(request.name for request in requests)
        self._call.start(partial(self._scheduler.submit, requests))

    def take(self) -> SubmitResult | None:
        """The outcome of the last submission, once; None while there is none.

        Postponed jobs are `waiting`, until they have been tried for so long that they count as `refused`. A refusal for
        good counts as postponed where an earlier job was taken.
        """
        if not self._call.ended:
            return None
        self.names = frozenset()
        done = self._call.take()
        if done.unsure:  # perhaps accepted all the same: the queue will tell
            self._warn(f"{len(done.unsure)} job(s) perhaps not submitted: {next(iter(done.unsure.values()))}")
        if self._accepted and done.refused:  # what was right once may be so again: a database may be away
            done = replace(done, postponed=done.postponed | done.refused, refused={})
        if done.jobs:
            self._accepted, self._refused_since, self._refusals = True, None, 0
        if done.postponed:
            return self._postponed(done)
        limit = next(filter(None, done.waiting.values()), "")
        if limit and not done.unsure and not done.refused:
            self._warn(f"{len(done.waiting)} trial(s) wait to be submitted: {limit}")
        if done.unsure or limit:
            self._not_before, self._full = monotonic() + self._pause, not done.unsure
        return done

    def _postponed(self, done: SubmitResult) -> SubmitResult:
        """Try refused jobs again, less and less often, until that has lasted too long."""
        time, why = monotonic(), next(iter(done.postponed.values()))
        since = self._refused_since = time if self._refused_since is None else self._refused_since
        left = since + self._retry_for - time
        if left <= 0:
            self._refused_since, self._refusals = None, 0
            message = f"{why} (refused for {format_duration(self._retry_for)}: scheduler.retry_submit_for)"
            return replace(done, refused=done.refused | dict.fromkeys(done.postponed, message), postponed={})
        wait = min(_FIRST_PAUSE * 2**self._refusals, _LONGEST_PAUSE, left)
        self._not_before, self._full = time + wait, False
        self._refusals += 1
        number = len(done.postponed) + len(done.waiting)
        self._warn(
            f"{number} trial(s) not submitted: {why}; trying again in {format_duration(wait)}, "
            f"and for {format_duration(left)} before the campaign pauses (scheduler.retry_submit_for)"
        )
        return replace(done, waiting=done.waiting | done.postponed, postponed={})

    def place_is_free(self) -> None:
        """A job has ended: what met a limit may be submitted at once."""
        if self._full:
            self._not_before, self._full = 0.0, False

    def array_limit(self) -> int | None:
        """How many jobs an array may have, asked once; None while the scheduler has not answered."""
        if self._array_limit is None and not self._limit_call.running:
            self._limit_call.start(self._scheduler.array_limit)
        if self._array_limit is None and self._limit_call.ended:
            try:
                self._array_limit = self._limit_call.take()
            except SchedulerUnreachableError as error:
                self._warn(str(error))
                return 1
        return self._array_limit

    def join(self, seconds: float) -> None:
        """Wait for the end of a submission that has begun, but not longer than this."""
        self._call.join(seconds)
