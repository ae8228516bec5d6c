"""What is submitted next: attempts that are due again, then trials that the search proposes."""

from __future__ import annotations

from collections.abc import Callable

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.proposals import Proposer
from aiperf_orch.controller.requests import wave_names
from aiperf_orch.errors import NetworkError, SchedulerUnreachable
from aiperf_orch.records import AttemptRecord
from aiperf_orch.schedulers.base import Scheduler


class Chooser:
    """Fills the free places of a campaign."""

    def __init__(
        self,
        directory: CampaignDirectory,
        scheduler: Scheduler,
        search: Callable[[], Proposer],
        warn: Callable[[str], None],
    ) -> None:
        """Keep what to choose by; `search` is asked for when a new trial is wanted, as it may have to be rebuilt."""
        self._directory, self._scheduler, self._search, self._warn = directory, scheduler, search, warn
        self._exhausted_at = -1  # how many attempts had ended when the search had nothing to propose

    def choose(self, state: CampaignState, *, proven: bool) -> tuple[list[AttemptRecord], str | None]:
        """What to submit into the free places, specifications written; or why the campaign is over, None while it is not.

        Args:
            state: the campaign's.
            proven: whether any trial has ended an epoch: then the site works.
        """
        campaign = self._directory.settings.campaign
        # a canary first: a broken site costs one job
        places = campaign.concurrency + self._scheduler.lookahead if proven else 1
        places -= len(state.live)
        records = [
            AttemptRecord(
                trial=trial.trial,
                attempt=len(trial.attempts) + 1,
                name=self._directory.attempt_name(trial.trial, len(trial.attempts) + 1),
                spec_sha256=trial.spec_sha256,
            )
            for trial in sorted(state.retries.values(), key=lambda trial: trial.trial)[: max(places, 0)]
        ]
        next_trial = len(state.trials)
        wanted = places - len(records)
        if campaign.max_trials is not None:
            wanted = min(wanted, campaign.max_trials - next_trial)
            if next_trial >= campaign.max_trials and not state.live and not state.retries:
                return [], f"its {campaign.max_trials} trials have ended"
        if len(state.ends) == self._exhausted_at:
            wanted = 0  # only another end could give the search something to propose
        first_wave = next_trial <= 1 and wanted > 1
        names = self._wave_names(next_trial, wanted) if first_wave else {}
        try:
            records.extend(
                self._propose(state, trial, names.get(trial)) for trial in range(next_trial, next_trial + wanted)
            )
        except NetworkError as error:
            self._exhausted_at = len(state.ends)
            if not records and not state.live:
                return [], f"the search proposes nothing more: {error}"
        return records, None

    def _wave_names(self, first: int, number: int) -> dict[int, str]:
        """Names for the first wave, whose jobs are elements of arrays where the scheduler has them."""
        try:
            return wave_names(self._directory, first, number, self._scheduler.array_limit())
        except SchedulerUnreachable as error:
            self._warn(str(error))
            return {}

    def _propose(self, state: CampaignState, trial: int, name: str | None) -> AttemptRecord:
        spec, record = self._search().propose(trial, state)
        return AttemptRecord(
            trial=trial,
            attempt=1,
            name=name or self._directory.attempt_name(trial, 1),
            spec_sha256=self._directory.write_spec(spec),
            proposal=record,
        )
