"""Adapter between journal and search: replays the journal into the search, and turns proposals into specifications."""

from __future__ import annotations

from collections.abc import Iterable

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.training_rules import trial_seed
from aiperf_orch.records.journal import Entry, ProposalRecord
from aiperf_orch.records.trial import DataRecord, TrainingRecord, TrialSpec
from aiperf_orch.search import JournalSearch, Proposal


class SearchAdapter:
    """The search of a campaign, replayed from its journal: the same journal gives the same proposals.

    Attributes:
        settings: The settings in force, of which specifications state some. The search has those of the beginning.
    """

    def __init__(self, directory: CampaignDirectory, entries: Iterable[Entry]) -> None:
        self._tag = directory.config.tag
        self.settings = directory.settings
        self._search = JournalSearch(directory.config.settings)
        for entry in entries:
            self.feed(entry)
        self._search.prepare()

    def feed(self, entry: Entry) -> None:
        """Pass one more journal entry to the search."""
        self._search.feed(entry)

    def propose(self, trial: int, state: CampaignState) -> tuple[TrialSpec, ProposalRecord]:
        """The specification of a new trial, and its proposal as the journal keeps it.

        The search counts the trial as running from now on. The journal entry that contains the proposal must not be fed
        again.

        Args:
            trial: Number of the new trial.
            state: State of the campaign, which contains the parent.

        Raises:
            NetworkError: When the limits leave no network that was not tried.
        """
        proposal, record = self._search.propose(trial)
        self._search.started(trial, record)
        return self._specification(proposal, record, state), record

    @property
    def parents(self) -> frozenset[int]:
        """Trials whose weights a child may still inherit."""
        return self._search.parents

    def _specification(self, proposal: Proposal, record: ProposalRecord, state: CampaignState) -> TrialSpec:
        settings = self.settings
        parent_end = None if proposal.parent is None else state.trials[proposal.parent].end
        return TrialSpec(
            campaign=self._tag,
            trial=proposal.trial,
            round=proposal.round,
            seed=trial_seed(settings.campaign.seed, proposal.trial),
            parent=proposal.parent,
            parent_error=parent_end.best_error if parent_end else None,
            edits=record.edits,
            network_hash=record.network_hash,
            operations=record.operations,
            hyperparameters=proposal.hyperparameters,
            epochs=settings.training.epochs_of_round(proposal.round),
            patience=settings.training.patience_of_round(proposal.round),
            data=DataRecord.model_validate(settings.data.without_paths()),
            training=TrainingRecord.model_validate(settings.training),
            network=proposal.graph.to_json(),
        )
