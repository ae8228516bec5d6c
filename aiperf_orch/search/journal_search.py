"""Search of a campaign, fed by the entries of its journal: the same entries give the same proposals.

The controller proposes new trials by it, and `verify --replay` proposes those of a package again.
"""

from __future__ import annotations

from aiperf_orch.campaign.network_limits import network_limits, seed_network
from aiperf_orch.network import counts
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import Ended, Entry, ProposalRecord, Submitting
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.search.search import Proposal, Search
from aiperf_orch.settings.models import SiteSettings


class JournalSearch:
    """The search of a campaign after some entries of its journal."""

    def __init__(self, settings: SiteSettings) -> None:
        """Begin before the first entry.

        Raises:
            NetworkError: When the seed network exceeds the limits of the settings.
        """
        self._search = make_search(settings)

    def feed(self, entry: Entry) -> None:
        """Pass one more journal entry to the search.

        Raises:
            ValueError: When the entry does not follow from those before it.
        """
        match entry:
            case Submitting():
                for attempt in entry.attempts:
                    if attempt.proposal is not None:
                        self.started(attempt.trial, attempt.proposal)
            case Ended():
                for end in entry.attempts:
                    if end.final:
                        self._search.ended(end.trial, end.best_error, end.predicted_error)
                        if end.reason is EndReason.OUT_OF_MEMORY:
                            self._search.ran_out_of_memory(end.trial)

    def prepare(self) -> None:
        """Fit the surrogate before the next proposal, which otherwise takes longer; changes no proposal."""
        self._search.prepare()

    def started(self, trial: int, record: ProposalRecord) -> None:
        """Count a trial as running from now on; an entry that contains its proposal must not be fed too."""
        edits = [Edit.from_json(edit) for edit in record.edits]
        self._search.started(
            trial, record.parent, edits, record.hyperparameters, record.network_hash, record.operations.train
        )

    def propose(self, trial: int, *, bound_offset: float = 0.0) -> tuple[Proposal, ProposalRecord]:
        """The proposal of a trial, and its record in the journal; it does not count as running yet.

        Args:
            trial: Number of the trial.
            bound_offset: As of `Search.propose`.

        Raises:
            NetworkError: When the limits leave no network that was not tried.
        """
        proposal = self._search.propose(trial, bound_offset=bound_offset)
        return proposal, ProposalRecord(
            round=proposal.round,
            parent=proposal.parent,
            edits=[edit.to_json() for edit in proposal.edits],
            network_hash=proposal.graph.hash,
            operations=OperationsPerImage.of(counts.count(proposal.graph)),
            hyperparameters=proposal.hyperparameters,
            layers=proposal.graph.depth,
            parameters=proposal.graph.parameters,
            tensor_operations=OperationsPerImage.of(counts.count_tensor(proposal.graph)),
        )

    @property
    def parents(self) -> frozenset[int]:
        """Trials whose weights a child may still inherit."""
        return frozenset(self._search.parents)


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
