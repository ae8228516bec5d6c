"""Recording of ends: the journal entry, and what follows for the search, the weights, the nodes and the campaign."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aiperf_orch.campaign.failure_policy import EXCLUDING_FAILURES, pause_reason
from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.controller.live_attempts import LiveAttempts
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.controller.weight_retention import WeightRetention, with_lowest_error
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import AttemptEnd, Ended, Finished, Paused
from aiperf_orch.schedulers.base import Scheduler


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """A live attempt that has ended.

    Attributes:
        live: The attempt.
        reason: Why it ended.
        message: What is known of that.
        hosts: Nodes of its job, where the queue or the log of the job knows them.
    """

    live: LiveAttempt
    reason: EndReason
    message: str
    hosts: Sequence[str] = ()


class EndRecorder:
    """Records ends of attempts and of the campaign.

    Attributes:
        live_attempts: The attempts that have not ended; those whose end is recorded are removed.
    """

    def __init__(self, campaign: HeldCampaign, scheduler: Scheduler, warn: Callable[[str], None]) -> None:
        """Begin with the ends that the journal contains.

        Args:
            campaign: The campaign.
            scheduler: Scheduler of its jobs.
            warn: Receives messages for the user.
        """
        self._campaign, self._scheduler, self._warn = campaign, scheduler, warn
        trials = campaign.state.trials.values()
        self._weights = WeightRetention(campaign.directory, (trial.trial for trial in trials if trial.end))
        self._lowest = with_lowest_error(trial.end for trial in trials if trial.end)
        self._search: SearchAdapter | None = None
        self.live_attempts = LiveAttempts()

    def use(self, scheduler: Scheduler) -> None:
        """Go on with another scheduler, and with the settings that the campaign's directory now has."""
        self._scheduler = scheduler
        if self._search is not None:
            self._search.settings = self._campaign.directory.settings

    @property
    def proven(self) -> bool:
        """Whether any trial has completed an epoch: the site is then known to work."""
        return self._campaign.state.any_epoch or any(live.epochs for live in self.live_attempts.values())

    @property
    def site_works(self) -> bool:
        """Whether many trials may be submitted: one has completed an epoch, or has begun on an agent as others will."""
        begun = self._campaign.state.first_begin is not None
        return self.proven or (begun and self._scheduler.free_places() is not None)

    def get_search(self) -> SearchAdapter:
        """The search, replayed from the journal at the first call."""
        if self._search is None:
            self._search = SearchAdapter(self._campaign.directory, self._campaign.entries)
        return self._search

    def record(self, outcomes: Iterable[AttemptOutcome]) -> bool:
        """Record ends, and draw the consequences; returns whether there was any end to record.

        An attempt whose files cannot be read for now is left out, and stays live.
        """
        settings, state = self._campaign.directory.settings, self._campaign.state
        readable = [outcome for outcome in outcomes if outcome.live.read_error is None]
        if not readable:
            return False
        deadline = state.deadline(settings.campaign.duration)
        records = [
            outcome.live.end_record(outcome.reason, outcome.message, outcome.hosts, settings, deadline)
            for outcome in readable
        ]
        entry = self._campaign.append(Ended, attempts=records)
        if self._search:
            self._search.feed(entry)
        self._scheduler.release_resources([outcome.live.name for outcome in readable])
        for outcome in readable:
            del self.live_attempts[outcome.live.key]
        if self._scheduler.avoids_nodes:
            for node in state.node_failures.newly_excluded(records):
                self._warn(f"node {node}: {EXCLUDING_FAILURES} trials failed on it: no further trial gets it")
        self._weights.end_trials(record.trial for record in records if record.final)
        unfinished = [*state.retries.values(), *(live.trial for live in self.live_attempts.values())]
        parents = self.get_search().parents | {trial.proposal.parent for trial in unfinished}
        self._lowest = with_lowest_error([*self._lowest, *(record for record in records if record.final)])
        self._weights.keep_only(parents | {end.trial for end in self._lowest})
        self._pause_after(records)
        return True

    def finish(self, reason: str, *, by_deadline: bool = False) -> None:
        """Finish the campaign; trials whose next attempt was due get none.

        Args:
            reason: Why it is over.
            by_deadline: Whether its duration has passed.
        """
        self._weights.end_trials(self._campaign.state.retries)
        self._campaign.append(Finished, reason=reason, by_deadline=by_deadline)

    def _pause_after(self, records: Sequence[AttemptEnd]) -> None:
        """Pause the campaign where the failure policy demands it."""
        state = self._campaign.state
        if state.phase is Phase.RUNNING:
            limit = self._campaign.directory.settings.campaign.pause_after_failures
            reason = pause_reason(records, state.trials, state.failure_streak, limit, proven=self.proven)
            if reason is not None:
                self._campaign.append(Paused, reason=reason)
