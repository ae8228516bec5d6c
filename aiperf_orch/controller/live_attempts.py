"""The live attempts of a campaign, and those of them that a step has to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping, ValuesView
from time import monotonic
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.trial_state import AttemptKey
from aiperf_orch.controller.attempt_monitor import LiveAttempt, Unsubmitted
from aiperf_orch.schedulers.base import Scheduler, SubmitResult

_POLLS_A_SECOND: Final = 50
"""Number of events files read a second, at most, to follow attempts that are announced or wait in the queue."""


class LiveAttempts(MutableMapping[AttemptKey, LiveAttempt]):
    """The attempts that have not ended, by key, in the order in which they were added.

    Nearly all of them train, and need nothing before their events are worth the next poll. A step looks only at the
    others, which are awake, so that it takes about as long for 10,000 attempts as for a few.

    Attributes:
        gone: Names of those whose jobs have ended or seem to be lost, as the scheduler knew when the step began.
    """

    def __init__(self) -> None:
        """Begin without any attempt."""
        self._attempts: dict[AttemptKey, LiveAttempt] = {}
        self._by_name: dict[str, LiveAttempt] = {}
        self._awake: dict[AttemptKey, LiveAttempt] = {}
        self.gone: frozenset[str] = frozenset()

    def __getitem__(self, key: AttemptKey) -> LiveAttempt:
        return self._attempts[key]

    def __setitem__(self, key: AttemptKey, live: LiveAttempt) -> None:
        self._attempts[key] = self._by_name[live.name] = self._awake[key] = live

    def __delitem__(self, key: AttemptKey) -> None:
        live = self._attempts.pop(key)
        self._by_name.pop(live.name, None)
        self._awake.pop(key, None)

    def __iter__(self) -> Iterator[AttemptKey]:
        return iter(self._attempts)

    def __len__(self) -> int:
        return len(self._attempts)

    def values(self) -> ValuesView[LiveAttempt]:
        """All attempts."""
        return self._attempts.values()

    @property
    def by_name(self) -> dict[str, LiveAttempt]:
        """All attempts, by the names of their jobs."""
        return self._by_name

    @property
    def awake(self) -> list[LiveAttempt]:
        """Those that the present step has to look at."""
        return list(self._awake.values())

    @property
    def unsubmitted(self) -> list[LiveAttempt]:
        """Those whose jobs the scheduler certainly does not have."""
        return [live for live in self._awake.values() if live.unsubmitted is not None]

    def begin_step(self, scheduler: Scheduler) -> None:
        """Find the attempts that a new step has to look at: by what the scheduler announces, and by the time."""
        known = self._by_name
        for name in known.keys() & scheduler.take_news():
            known[name].announce()
        named = set(scheduler.gone_jobs())
        self.gone = frozenset(known.keys() & named)
        if len(self.gone) < len(named):  # the others have ended under earlier controllers
            scheduler.release_resources(named - self.gone)
        time = monotonic()
        self._awake = {key: live for key, live in self._attempts.items() if not live.rests(time)}
        self.wake(known[name] for name in self.gone)

    def poll(self, directory: CampaignDirectory) -> list[LiveAttempt]:
        """Read on in the events of attempts that are awake, as far as they are due; returns these attempts."""
        awake, pace = self.awake, len(self._attempts) / _POLLS_A_SECOND
        for live in awake:
            live.poll(directory, pace)
        return awake

    def postpone(self, attempts: Iterable[LiveAttempt]) -> None:
        """Note that attempts could not be submitted for now."""
        for live in attempts:
            live.unsubmitted = Unsubmitted.POSTPONED

    def note_submission(self, result: SubmitResult) -> dict[str, LiveAttempt]:
        """Note which attempts were submitted, and which are to be submitted again; returns all, by their names."""
        known = self._by_name  # without those that have ended already
        for name in (result.jobs.keys() | result.refused.keys() | result.unsure.keys()) & known.keys():
            known[name].unsubmitted = None
        for name in result.unsure.keys() & known.keys():
            known[name].attempt.missing_since = None  # that was about the job of an earlier submission
        for name in result.waiting.keys() & known.keys():
            known[name].unsubmitted = Unsubmitted.POSTPONED if result.waiting[name] else Unsubmitted.DUE
        return known

    def wake(self, attempts: Iterable[LiveAttempt]) -> None:
        """Let the present step look at attempts that have not ended."""
        self._awake.update((live.key, live) for live in attempts if live.key in self._attempts)
