"""Planning of submissions: which attempts are submitted next, and the names of their jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.failure_policy import excluded_nodes
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import AttemptState, TrialState
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.records.journal import SEARCH_EXHAUSTED, AttemptRecord
from aiperf_orch.util.errors import NetworkError


@dataclass(frozen=True, slots=True)
class FreeSlots:
    """Number of attempts that may be submitted now.

    The queue of a cluster starts a job that waits for its leader as soon as the leader's job has ended, without the
    controller, and without a second trial at work in the meantime.

    Attributes:
        at_once: Number of attempts whose jobs may start at once.
        leaders: Attempts for each of which one more may be submitted whose job waits until the leader's has ended.
    """

    at_once: int
    leaders: Sequence[AttemptState]

    @property
    def total(self) -> int:
        """Number of attempts of both kinds."""
        return self.at_once + len(self.leaders)


def free_slots(
    state: CampaignState, concurrency: int, lookahead: int, *, proven: bool, places: int | None = None
) -> FreeSlots:
    """The free slots of a campaign: trials at work never exceed its concurrency.

    Args:
        state: State of the campaign.
        concurrency: Number of slots.
        lookahead: Number of further jobs that may wait in the queue, each for the end of another one.
        proven: Whether any trial has completed an epoch. Before that the first trial runs alone, so that a site that
            is not set up correctly costs one job.
        places: Number of attempts that a scheduler takes that starts waiting attempts by itself, and never more than
            `concurrency`; None for one that does not.
    """
    if places is not None:
        return FreeSlots(max(places if proven else min(places, 1 - len(state.live)), 0), ())
    live = {attempt.name: attempt for attempt in state.live.values()}
    waiting = [attempt for attempt in live.values() if attempt.after in live]
    at_once = max((concurrency if proven else 1) - (len(live) - len(waiting)), 0)
    if not proven or at_once:
        return FreeSlots(at_once, ())
    followed = {attempt.after for attempt in waiting}
    leaders = [attempt for attempt in live.values() if attempt.job is not None and attempt.name not in followed]
    if len(live) - len(waiting) > concurrency:  # it was lowered: those at work end without a successor
        leaders = []
    leaders.sort(key=lambda attempt: attempt.after in live)  # those at work end before those that wait for them
    return FreeSlots(at_once, leaders[: max(lookahead - len(waiting), 0)])


class SubmissionPlanner:
    """Chooses the attempts that fill the free slots of a campaign."""

    def __init__(self, directory: CampaignDirectory, lookahead: int, get_search: Callable[[], SearchAdapter]) -> None:
        """Begin without any plan.

        Args:
            directory: The campaign.
            lookahead: Number of jobs that may wait in the queue beyond those at work.
            get_search: Returns the search, which may first have to be rebuilt; called when a new trial is needed.
        """
        self._directory, self._lookahead, self._get_search = directory, lookahead, get_search
        self._exhausted_at = -1  # number of ends at which the search had nothing to propose

    def free_slots(self, state: CampaignState, *, proven: bool, places: int | None = None) -> FreeSlots:
        """The free slots of the campaign; arguments as of the function of this name."""
        concurrency = self._directory.settings.campaign.concurrency
        return free_slots(state, concurrency, self._lookahead, proven=proven, places=places)

    def plan(self, state: CampaignState, slots: FreeSlots, array_limit: int) -> tuple[list[AttemptRecord], str | None]:
        """The attempts to submit into free slots, whose specifications are written.

        Args:
            state: State of the campaign.
            slots: Its free slots.
            array_limit: Maximum number of jobs in an array; below 2 there are no arrays.

        Returns:
            The attempts, and why the campaign is over, None while it is not.
        """
        settings = self._directory.settings.campaign
        retries = sorted(state.retries.values(), key=lambda trial: trial.trial)[: slots.total]
        next_trial = len(state.trials)
        wanted = slots.total - len(retries)
        if settings.max_trials is not None:
            wanted = min(wanted, settings.max_trials - next_trial)
            if next_trial >= settings.max_trials and not state.live and not state.retries:
                return [], f"its {settings.max_trials} trials have ended"
        if len(state.ends) == self._exhausted_at:
            wanted = 0  # only another end could give the search something to propose
        names = self._retry_names(state, retries[: slots.at_once], array_limit)
        names += self._first_names(next_trial, max(min(slots.at_once - len(names), wanted), 0), array_limit)
        leaders = iter(slots.leaders)
        records: list[AttemptRecord] = []
        try:
            for trial in [*retries, *range(next_trial, next_trial + wanted)]:
                name = names[len(records)] if len(records) < len(names) else None
                after = None if len(records) < slots.at_once else next(leaders).name
                records.append(self._record(state, trial, name, after))
        except NetworkError as error:
            self._exhausted_at = len(state.ends)
            if not records and not state.live:
                return [], f"{SEARCH_EXHAUSTED}: {error}"
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
        spec, record = self._get_search().propose(trial, state)
        return AttemptRecord(
            trial=trial,
            attempt=1,
            name=name or self._directory.attempt_name(trial, 1),
            spec_sha256=self._directory.write_spec(spec),
            proposal=record,
            after=after,
        )

    def _retry_names(self, state: CampaignState, retries: Sequence[TrialState], array_limit: int) -> list[str]:
        """Job names of retries: elements of one array where several exclude the same nodes."""
        names: dict[int, str] = {}
        for group in _by_excluded_nodes(state, retries):
            alone = [self._directory.attempt_name(trial.trial, len(trial.attempts) + 1) for trial in group]
            names |= zip((trial.trial for trial in group), array_names(alone, array_limit, alone), strict=True)
        return [names[trial.trial] for trial in retries]

    def _first_names(self, first: int, number: int, array_limit: int) -> list[str]:
        """Job names of the first attempts of new trials, from the trial with this number on."""
        trials = range(first, first + number)
        alone = [self._directory.attempt_name(trial, 1) for trial in trials]
        return array_names(alone, array_limit, [self._directory.array_name(trial) for trial in trials])


def array_names(alone: Sequence[str], array_limit: int, arrays: Sequence[str]) -> list[str]:
    """Names of jobs that are submitted together, as elements of arrays where there are several.

    Args:
        alone: Their names as separate jobs.
        array_limit: Maximum number of jobs in an array; below 2 there are no arrays.
        arrays: For each job, the name of an array that begins with it.
    """
    if array_limit < 2:
        return list(alone)
    names: list[str] = []
    for start in range(0, len(alone), array_limit):
        size = min(array_limit, len(alone) - start)
        names += [f"{arrays[start]}[{index}]" for index in range(size)] if size > 1 else [alone[start]]
    return names


def _by_excluded_nodes(state: CampaignState, retries: Sequence[TrialState]) -> Iterator[list[TrialState]]:
    """Groups of trials whose next attempts must not get the same nodes."""
    excluded = sorted(
        ((excluded_nodes(state.node_failures, trial), trial.trial, trial) for trial in retries),
        key=lambda each: each[:2],
    )
    for _, group in groupby(excluded, key=lambda each: each[0]):
        yield [trial for _, _, trial in group]
