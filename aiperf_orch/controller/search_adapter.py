"""Adapter between journal and search: replays the journal into the search, and turns proposals into specifications."""

from __future__ import annotations

from collections.abc import Iterable

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.network_limits import network_limits, seed_network
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.training_rules import trial_seed
from aiperf_orch.network import counts
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import Ended, Entry, ProposalRecord, Submitting
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import DataRecord, TrainingRecord, TrialSpec
from aiperf_orch.search import Proposal, Search
from aiperf_orch.settings.models import SiteSettings


class SearchAdapter:
    """The search of a campaign, replayed from its journal: the same journal gives the same proposals."""

    def __init__(self, directory: CampaignDirectory, entries: Iterable[Entry]) -> None:
        self._tag = directory.config.tag
        self._settings = directory.settings
        self._search = make_search(directory.settings)
        for entry in entries:
            self.feed(entry)
        self._search.prepare()

    def feed(self, entry: Entry) -> None:
        """Pass one more journal entry to the search."""
        match entry:
            case Submitting():
                for attempt in entry.attempts:
                    if attempt.proposal is not None:
                        self._started(attempt.trial, attempt.proposal)
            case Ended():
                for end in entry.attempts:
                    if end.final:
                        self._search.ended(end.trial, end.best_error, end.predicted_error)
                        if end.reason is EndReason.OUT_OF_MEMORY:
                            self._search.ran_out_of_memory(end.trial)

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
        proposal = self._search.propose(trial)
        per_image = OperationsPerImage.of(counts.count(proposal.graph))
        record = ProposalRecord(
            round=proposal.round,
            parent=proposal.parent,
            edits=[edit.to_json() for edit in proposal.edits],
            network_hash=proposal.graph.hash,
            operations=per_image,
            hyperparameters=proposal.hyperparameters,
        )
        self._started(trial, record)
        return self._specification(proposal, record, state), record

    @property
    def parents(self) -> frozenset[int]:
        """Trials whose weights a child may still inherit."""
        return frozenset(self._search.parents)

    def _started(self, trial: int, record: ProposalRecord) -> None:
        edits = [Edit.from_json(edit) for edit in record.edits]
        self._search.started(
            trial, record.parent, edits, record.hyperparameters, record.network_hash, record.operations.train
        )

    def _specification(self, proposal: Proposal, record: ProposalRecord, state: CampaignState) -> TrialSpec:
        settings = self._settings
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


def make_search(settings: SiteSettings) -> Search:
    """The search of a new campaign.

    Raises:
        NetworkError: When the seed network exceeds the limits.
    """
    return Search(
        seed_network(settings),
        settings.search,
        network_limits(settings),
        seed=settings.campaign.seed,
        concurrency=settings.campaign.concurrency,
        keep=settings.campaign.keep_weights,
    )
