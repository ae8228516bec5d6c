"""Submission of jobs beside the controller's loop, repeated where it was refused for a reason that may pass."""

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
"""Seconds before a submission that was postponed is repeated: the first pause, doubled up to the longest."""


class Submitter:
    """Submits to one scheduler, one call at a time, and decides when to repeat what met a limit or was refused."""

    def __init__(
        self,
        scheduler: Scheduler,
        retry_for: float,
        pause: float,
        warn: Callable[[str], None],
        wake: Event,
        *,
        accepted: bool,
        what: str = "trial(s)",
    ) -> None:
        """Begin without any submission.

        Args:
            scheduler: Scheduler of the jobs.
            retry_for: Seconds for which a submission is repeated that was refused for a reason that may pass.
            pause: Seconds until the next submission after one that met a limit or got no answer.
            warn: Receives messages for the user.
            wake: Set when a call has ended.
            accepted: Whether the scheduler has accepted a job of the campaign before.
            what: What is submitted, for messages.
        """
        self._scheduler, self._retry_for, self._pause, self._warn = scheduler, retry_for, pause, warn
        self._call: BackgroundCall[SubmitResult] = BackgroundCall(wake, nonblocking=scheduler.nonblocking)
        self._limit_call: BackgroundCall[int] = BackgroundCall(wake, nonblocking=scheduler.nonblocking)
        self._array_limit: int | None = None
        self._accepted, self._what = accepted, what
        self._not_before, self._full = 0.0, False
        self._refused_since: float | None = None
        self._refusals = 0
        self.names: frozenset[str] = frozenset()
        """Names of the jobs that are being submitted: their state is unknown until the scheduler has answered."""

    @property
    def is_free(self) -> bool:
        """Whether a submission may begin now."""
        return not self._call.running and monotonic() >= self._not_before

    @property
    def running(self) -> bool:
        """Whether any call runs, or its result has not been taken."""
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
        """The result of the last submission, once; None where there is none.

        Postponed jobs are `waiting` until `retry_for` has passed, and `refused` from then on. A final refusal counts as
        postponed where the scheduler has accepted an earlier job.
        """
        if not self._call.ended:
            return None
        self.names = frozenset()
        result = self._call.take()
        if result.unsure:  # they may have been accepted: the queue will list them
            self._warn(f"{len(result.unsure)} job(s) perhaps not submitted: {next(iter(result.unsure.values()))}")
        if self._accepted and result.refused:  # the settings were right before: a database may be away
            result = replace(result, postponed=result.postponed | result.refused, refused={})
        if result.jobs:
            self._accepted, self._refused_since, self._refusals = True, None, 0
        if result.postponed:
            return self._postponed(result)
        limit = next(filter(None, result.waiting.values()), "")
        if limit and not result.unsure and not result.refused:
            self._warn(f"{len(result.waiting)} {self._what} wait to be submitted: {limit}")
        if result.unsure or limit:
            self._not_before, self._full = monotonic() + self._pause, not result.unsure
        return result

    def _postponed(self, result: SubmitResult) -> SubmitResult:
        """Repeat postponed jobs after ever longer pauses, and refuse them once `retry_for` has passed."""
        time, why = monotonic(), next(iter(result.postponed.values()))
        since = self._refused_since = time if self._refused_since is None else self._refused_since
        left = since + self._retry_for - time
        if left <= 0:
            self._refused_since, self._refusals = None, 0
            message = f"{why} (refused for {format_duration(self._retry_for)}: scheduler.retry_submit_for)"
            return replace(result, refused=result.refused | dict.fromkeys(result.postponed, message), postponed={})
        wait = min(_FIRST_PAUSE * 2**self._refusals, _LONGEST_PAUSE, left)
        self._not_before, self._full = time + wait, False
        self._refusals += 1
        number = len(result.postponed) + len(result.waiting)
        self._warn(
            f"{number} {self._what} not submitted: {why}; submitting again in {format_duration(wait)}, "
            f"and for {format_duration(left)} before the campaign pauses (scheduler.retry_submit_for)"
        )
        return replace(result, waiting=result.waiting | result.postponed, postponed={})

    def job_has_ended(self) -> None:
        """Submit at once what met a limit: the end of a job may have made room."""
        if self._full:
            self._not_before, self._full = 0.0, False

    def array_limit(self) -> int | None:
        """Maximum number of jobs in an array, queried once; None while the scheduler has not answered."""
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
        """Wait until the submission that was begun ends, at most for this time."""
        self._call.join(seconds)
