"""What is submitted next: attempts that are due again, then trials that the search proposes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import AttemptState, CampaignState, TrialState
from aiperf_orch.controller.job_requests import nodes_to_avoid
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.records.journal import AttemptRecord
from aiperf_orch.util.errors import NetworkError


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be submitted now: `free` attempts that start at once, and one that waits for each of `leaders` to end.

    A cluster's queue starts the job of an attempt that waits as soon as its leader's has ended, without the controller
    and without a second trial at work meanwhile.
    """

    free: int
    leaders: Sequence[AttemptState]

    @property
    def total(self) -> int:
        """Attempts of both kinds."""
        return self.free + len(self.leaders)


def room_of(state: CampaignState, concurrency: int, lookahead: int, *, proven: bool) -> Room:
    """The room that a campaign has now: trials at work never exceed its concurrency.

    Args:
        state: the campaign's.
        concurrency: how many trials may be at work.
        lookahead: how many more may wait in the queue, each for the end of another.
        proven: whether any trial has ended an epoch; before that a canary runs alone, since a broken site costs one job.
    """
    live = {attempt.name: attempt for attempt in state.live.values()}
    waiting = [attempt for attempt in live.values() if attempt.after in live]
    free = max((concurrency if proven else 1) - (len(live) - len(waiting)), 0)
    if not proven or free:
        return Room(free, ())
    followed = {attempt.after for attempt in waiting}
    leaders = [attempt for attempt in live.values() if attempt.job is not None and attempt.name not in followed]
    leaders.sort(key=lambda attempt: attempt.after in live)  # those at work end before those that wait for them
    return Room(free, leaders[: max(lookahead - len(waiting), 0)])


class Chooser:
    """Fills the room that a campaign has."""

    def __init__(self, directory: CampaignDirectory, lookahead: int, search: Callable[[], SearchAdapter]) -> None:
        """Nothing is chosen yet.

        Args:
            directory: the campaign.
            lookahead: how many attempts may wait in the queue beyond those at work.
            search: gives the search when a new trial is wanted, as it may have to be rebuilt.
        """
        self._directory, self._lookahead, self._search = directory, lookahead, search
        self._exhausted_at = -1  # how many attempts had ended when the search had nothing to propose

    def room(self, state: CampaignState, *, proven: bool) -> Room:
        """How much may be submitted now."""
        return room_of(state, self._directory.settings.campaign.concurrency, self._lookahead, proven=proven)

    def choose(self, state: CampaignState, room: Room, array_limit: int) -> tuple[list[AttemptRecord], str | None]:
        """What to submit into the room, specifications written; or why the campaign is over, None while it is not.

        Args:
            state: the campaign's.
            room: that it has now.
            array_limit: how many jobs an array may have; below 2 there are none.
        """
        campaign = self._directory.settings.campaign
        retries = sorted(state.retries.values(), key=lambda trial: trial.trial)[: room.total]
        next_trial = len(state.trials)
        wanted = room.total - len(retries)
        if campaign.max_trials is not None:
            wanted = min(wanted, campaign.max_trials - next_trial)
            if next_trial >= campaign.max_trials and not state.live and not state.retries:
                return [], f"its {campaign.max_trials} trials have ended"
        if len(state.ends) == self._exhausted_at:
            wanted = 0  # only another end could give the search something to propose
        names = self._retry_names(state, retries[: room.free], array_limit)
        names += self._first_names(next_trial, max(min(room.free - len(names), wanted), 0), array_limit)
        leaders = iter(room.leaders)
        records: list[AttemptRecord] = []
        try:
            for trial in [*retries, *range(next_trial, next_trial + wanted)]:
                name = names[len(records)] if len(records) < len(names) else None
                after = None if len(records) < room.free else next(leaders).name
                records.append(self._record(state, trial, name, after))
        except NetworkError as error:
            self._exhausted_at = len(state.ends)
            if not records and not state.live:
                return [], f"the search proposes nothing more: {error}"
        return records, None

    def _record(
        self, state: CampaignState, trial: TrialState | int, name: str | None, after: str | None
    ) -> AttemptRecord:
        """The next attempt of a trial, or the first one of a trial with a new number."""
        if isinstance(trial, TrialState):
            attempt = len(trial.attempts) + 1
            name = name or self._directory.attempt_name(trial.trial, attempt)
            return AttemptRecord(
                trial=trial.trial, attempt=attempt, name=name, spec_sha256=trial.spec_sha256, after=after
            )
        spec, record = self._search().propose(trial, state)
        return AttemptRecord(
            trial=trial,
            attempt=1,
            name=name or self._directory.attempt_name(trial, 1),
            spec_sha256=self._directory.write_spec(spec),
            proposal=record,
            after=after,
        )

    def _retry_names(self, state: CampaignState, retries: Sequence[TrialState], array_limit: int) -> list[str]:
        """Names of jobs of further attempts: elements of an array where several must keep off the same nodes."""
        names: dict[int, str] = {}
        for group in _alike(state, retries):
            alone = [self._directory.attempt_name(trial.trial, len(trial.attempts) + 1) for trial in group]
            together = in_arrays(alone, array_limit, lambda start, alone=alone: alone[start])  # type: ignore[misc]
            names |= zip((trial.trial for trial in group), together, strict=True)
        return [names[trial.trial] for trial in retries]

    def _first_names(self, first: int, number: int, array_limit: int) -> list[str]:
        """Names of jobs of the first attempts of trials from this one on."""
        alone = [self._directory.attempt_name(trial, 1) for trial in range(first, first + number)]
        return in_arrays(alone, array_limit, lambda start: self._directory.array_name(first + start))


def in_arrays(alone: Sequence[str], array_limit: int, array_name: Callable[[int], str]) -> list[str]:
    """Names of jobs that are submitted together, as elements of arrays where there are several.

    Args:
        alone: their names as jobs of their own.
        array_limit: how many jobs an array may have; below 2 there are none.
        array_name: gives the name of the array that begins with the job at this index.
    """
    if array_limit < 2:
        return list(alone)
    names: list[str] = []
    for start in range(0, len(alone), array_limit):
        size = min(array_limit, len(alone) - start)
        names += [f"{array_name(start)}[{index}]" for index in range(size)] if size > 1 else [alone[start]]
    return names


def _alike(state: CampaignState, retries: Sequence[TrialState]) -> Iterator[list[TrialState]]:
    """Groups of trials whose next attempts must keep off the same nodes."""
    avoided = sorted(
        ((nodes_to_avoid(state, trial), trial.trial, trial) for trial in retries), key=lambda each: each[:2]
    )
    for _, group in groupby(avoided, key=lambda each: each[0]):
        yield [trial for _, _, trial in group]
