"""Ends jobs: tells them to, ends those that do not, and takes attempts from jobs that are gone. Who must end is decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from time import monotonic

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import revoke
from aiperf_orch.campaign.histories import reason_by_line
from aiperf_orch.campaign.state import Attempt
from aiperf_orch.controller.verdicts import how_it_went
from aiperf_orch.controller.watch import Watched
from aiperf_orch.errors import SchedulerUnreachable
from aiperf_orch.records import EndReason
from aiperf_orch.schedulers.base import JobEnd, Scheduler
from aiperf_orch.units import format_duration, now


class Ender:
    """Tells one scheduler's jobs to end, also after a restart. While it cannot be reached, `warn` tells a person."""

    def __init__(self, scheduler: Scheduler, grace: float, pause: float, warn: Callable[[str], None]) -> None:
        """Begin with no job told.

        Args:
            scheduler: of the jobs.
            grace: seconds that a job has to end by itself, and between two tries to end it by force.
            pause: seconds until the next try after one that did not reach the scheduler.
            warn: gets messages for a person.
        """
        self._scheduler, self._grace, self._pause, self._warn = scheduler, grace, pause, warn
        self._told: dict[tuple[int, int], float] = {}
        self._not_before = 0.0

    def tell(self, attempts: Iterable[Attempt]) -> list[str]:
        """Tell the jobs of attempts that are to end, and end those that did not within the grace.

        Returns:
            Names of jobs that had not begun and now never will.
        """
        never: list[str] = []
        if monotonic() < self._not_before:
            return never
        attempts = list(attempts)
        untold = [attempt for attempt in attempts if attempt.key not in self._told]
        stubborn = [attempt for attempt in attempts if self._is_stubborn(attempt)]
        for chosen, force in ((untold, False), (stubborn, True)):
            if not chosen:
                continue
            chosen = chosen[: self._scheduler.most_cancels]
            try:
                done = self._scheduler.cancel([attempt.name for attempt in chosen], force=force)
            except SchedulerUnreachable as error:
                self._not_before = monotonic() + self._pause
                self._warn(f"{error}; telling them again in {format_duration(self._pause)}")
                break
            self._told.update(dict.fromkeys([attempt.key for attempt in chosen], monotonic()))
            never += done.never
            if done.refused:
                name, why = next(iter(done.refused.items()))
                self._warn(f"{len(done.refused)} job(s) not told to end, as {name}: {why}")
        return never

    def more_to_tell(self, attempts: Iterable[Attempt]) -> bool:
        """Whether `tell` would tell any of these now that it has not told yet."""
        untold = any(attempt.cancelling and attempt.key not in self._told for attempt in attempts)
        return untold and monotonic() >= self._not_before

    def begun(self, key: tuple[int, int]) -> None:
        """An attempt has begun: what it was told before that, nobody heard."""
        self._told.pop(key, None)

    def _is_stubborn(self, attempt: Attempt) -> bool:
        since, grace = attempt.cancelling_since, self._grace
        late = since is not None and now() - since > timedelta(seconds=grace)
        return late and monotonic() >= self._told.get(attempt.key, 0.0) + grace


def take_from_job(
    directory: CampaignDirectory, scheduler: Scheduler, watched: Watched, end: JobEnd | None
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
        reason = reason_by_line(watched.end.reason, None, end.reason)
        return reason, ", ".join(filter(None, [watched.end.message, end.detail]))
    return watched.reason()
