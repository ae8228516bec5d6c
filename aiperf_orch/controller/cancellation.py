"""Ends jobs: tells them to end, ends those that do not, takes attempts from jobs that are gone. Which, is decided elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from threading import Event
from time import monotonic

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.end_reasons import reason_with_end_line
from aiperf_orch.campaign.events import revoke
from aiperf_orch.campaign.state import AttemptState
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.controller.background_call import BackgroundCall
from aiperf_orch.controller.job_triage import how_it_went
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import CancelResult, JobEnd, Scheduler
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.units import format_duration, now

AttemptKey = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Attempts, by trial and attempt, whose jobs were `told` to end; the jobs of `never` had not begun and now never will."""

    told: frozenset[AttemptKey]
    never: frozenset[AttemptKey]


class Ender:
    """Tells one scheduler's jobs to end, also after a restart. While it cannot be reached, `warn` says so."""

    def __init__(
        self,
        scheduler: Scheduler,
        grace: float,
        pause: float,
        warn: Callable[[str], None],
        wake: Event,
    ) -> None:
        """Begin with no job told.

        Args:
            scheduler: of the jobs.
            grace: seconds that a job has to end by itself, and between two tries to end it by force.
            pause: seconds until the next try after one that did not reach the scheduler.
            warn: gets messages for the user.
            wake: set when a command of the scheduler has ended.
        """
        self._scheduler, self._grace, self._pause, self._warn = scheduler, grace, pause, warn
        self._call: BackgroundCall[CancelResult] = BackgroundCall(wake, nonblocking=scheduler.nonblocking)
        self._telling: dict[str, AttemptKey] = {}
        self._told: dict[AttemptKey, float] = {}
        self._forced: dict[AttemptKey, float] = {}
        self._forcing = False
        self._refused: set[AttemptKey] = set()
        self._not_before = 0.0

    @property
    def running(self) -> bool:
        """Whether the outcome of a cancellation is still to come, or to be taken."""
        return self._call.running

    def heard(self) -> Cancelled | None:
        """The outcome of the last cancellation, once; None while there is none."""
        if not self._call.ended:
            return None
        telling, self._telling = self._telling, {}
        try:
            done = self._call.take()
        except SchedulerUnreachableError as error:
            self._not_before = monotonic() + self._pause
            self._warn(f"{error}; telling {len(telling)} job(s) to end again in {format_duration(self._pause)}")
            return None
        told = dict.fromkeys(telling.values(), monotonic())
        self._told.update(told)
        self._forced.update(told if self._forcing else {})
        self._refused -= set(telling.values())
        self._refused |= {telling[name] for name in done.refused if name in telling}
        if done.refused:
            name, why = next(iter(done.refused.items()))
            self._warn(f"{len(done.refused)} job(s) not told to end, as {name}: {why}")
        return Cancelled(
            frozenset(telling.values()), frozenset(telling[name] for name in done.never_started if name in telling)
        )

    def tell(self, attempts: Iterable[AttemptState], given_up: Iterable[AttemptState]) -> None:
        """Begin to tell the jobs of attempts that are to end, and to end those that did not within the grace.

        Args:
            attempts: those that are to end.
            given_up: those whose jobs, if they live at all, are to end at once.
        """
        if self._call.running or monotonic() < self._not_before:
            return
        attempts = sorted(attempts, key=lambda attempt: attempt.began is not None)  # before those that they wait for
        untold = [attempt for attempt in attempts if attempt.key not in self._told]
        time = monotonic()
        again = [each for each in given_up if time >= self._forced.get(each.key, -math.inf) + self._pause]
        forced = [*again, *(attempt for attempt in attempts if self._is_stubborn(attempt))]
        for chosen, force in ((untold, False), (forced, True)):
            if chosen:
                chosen = chosen[: self._scheduler.max_cancels_per_call]
                self._telling, self._forcing = {attempt.name: attempt.key for attempt in chosen}, force
                jobs = {attempt.name: attempt.job for attempt in chosen}
                self._call.start(partial(self._scheduler.cancel, jobs, force=force))
                return

    def is_told(self, attempt: AttemptState) -> bool:
        """Whether its job was told to end, and the scheduler did not refuse that."""
        return attempt.key in self._told and attempt.key not in self._refused

    def more_to_tell(self, attempts: Iterable[AttemptState]) -> bool:
        """Whether `tell` would tell any of these now that it has not told yet."""
        untold = any(attempt.cancelling and attempt.key not in self._told for attempt in attempts)
        return untold and not self._call.running and monotonic() >= self._not_before

    def begun(self, key: AttemptKey) -> None:
        """An attempt has begun: its job did not hear what it was told before."""
        self._told.pop(key, None)
        self._telling = {name: telling for name, telling in self._telling.items() if telling != key}

    def _is_stubborn(self, attempt: AttemptState) -> bool:
        since, grace = attempt.cancelling_since, self._grace
        late = since is not None and now() - since > timedelta(seconds=grace)
        return late and attempt.key in self._told and monotonic() >= self._told[attempt.key] + grace


def take_from_job(
    directory: CampaignDirectory, scheduler: Scheduler, watched: LiveAttempt, end: JobEnd | None
) -> tuple[EndReason, str]:
    """Take an attempt from its job, which is gone, after one more look at its events; returns reason and message.

    `end` is what the queue knows of the job's end.
    """
    key = watched.attempt.key
    watched.look_again(directory)
    if watched.end is None:
        logs = [directory.log(*key), directory.job_folder(*key) / scheduler.early_log]
        reason, message = how_it_went(watched, end, directory.settings.scheduler, logs)
        revoke(directory, *key, reason, message)
        watched.look_again(directory)
    elif watched.ended_by_others and end is not None and end.reason is not None:
        reason = reason_with_end_line(watched.end.reason, None, end.reason)
        return reason, ", ".join(filter(None, [watched.end.message, end.detail]))
    return watched.reason()
