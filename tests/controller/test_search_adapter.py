"""The journal in the search's terms: what an entry means for the search, and the specification of a proposal."""

from types import SimpleNamespace

import pytest

from aiperf_orch.campaign.network_limits import network_limits, seed_network
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.training_rules import trial_seed
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.network import counts
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.journal import AttemptRecord, Ended, Finished, Submitting
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.search import Proposal, journal_search, make_search
from aiperf_orch.settings.models import SiteSettings
from controller.builders import NOW, PROPOSAL, end_of, trial_state

pytestmark = pytest.mark.unit

SETTINGS = SiteSettings.model_validate(
    {
        "scheduler": {},
        "campaign": {"duration": "1h", "seed": 7, "concurrency": 3, "keep_weights": 5},
        "training": {"trainer": "simulated", "warmup_epochs": [2, 4], "epochs": 9, "patience": 3, "max_patience": 99},
    }
)
EDIT = Edit("deeper", 3, kernel=3)
HYPERPARAMETERS = PROPOSAL.hyperparameters


class Search:
    """Keeps the calls of its methods, and proposes the seed network."""

    def __init__(self):
        self.calls, self.parents = [], [3, 1]
        self.parent, self.round, self.edits = None, 0, ()

    def __getattr__(self, name):
        return lambda *values: self.calls.append((name, *values))

    def propose(self, trial, *, bound_offset):
        return Proposal(trial, self.round, self.parent, self.edits, seed_network(SETTINGS), HYPERPARAMETERS)


@pytest.fixture
def search(monkeypatch):
    search = Search()
    monkeypatch.setattr(journal_search, "make_search", lambda settings: search)
    return search


def adapter_of(*entries):
    directory = SimpleNamespace(config=SimpleNamespace(tag="qk3f9", settings=SETTINGS), settings=SETTINGS)
    return SearchAdapter(directory, entries)


def entry(kind, **fields):
    return kind(seq=1, time=NOW, generation=1, prev="0" * 64, **fields)


def attempt(trial, number=1, proposal=None):
    return AttemptRecord(
        trial=trial, attempt=number, name=f"t{trial}-{number}", spec_sha256="0" * 64, proposal=proposal
    )


def test_the_journal_is_replayed_before_the_first_proposal(search):
    proposal = PROPOSAL.model_copy(update={"parent": 4, "edits": [EDIT.to_json()]})
    submitting = entry(
        Submitting, attempts=[attempt(0, 2), attempt(5, proposal=proposal), attempt(6, proposal=PROPOSAL)]
    )
    ended = entry(
        Ended,
        attempts=[
            end_of("LOST", 0, final=False),
            end_of("COMPLETED", 5, best_error=0.5, best_epoch=3, predicted_error=0.25),
            end_of("OUT_OF_MEMORY", 6),
            end_of("STOPPED", 7),
        ],
    )
    adapter_of(submitting, entry(Finished, reason="over", by_deadline=False), ended)
    assert search.calls == [
        ("started", 5, 4, [EDIT], HYPERPARAMETERS, "0" * 64, 30),
        ("started", 6, None, [], HYPERPARAMETERS, "0" * 64, 30),
        ("ended", 5, 0.5, 0.25),
        ("ended", 6, None, None),
        ("ran_out_of_memory", 6),
        ("ended", 7, None, None),
        ("prepare",),
    ]


def test_a_later_entry_is_fed_alone(search):
    adapter = adapter_of()
    adapter.feed(entry(Ended, attempts=[end_of("STOPPED", 7)]))
    assert search.calls == [("prepare",), ("ended", 7, None, None)]


def test_a_proposal_becomes_a_specification_and_a_record(search):
    graph = seed_network(SETTINGS)
    specification, record = adapter_of().propose(8, CampaignState())
    operations = OperationsPerImage.of(counts.count(graph))
    assert search.calls == [
        ("prepare",),
        ("started", 8, None, [], HYPERPARAMETERS, graph.hash, operations.train),  # it counts as running
    ]
    for found in (specification, record):
        assert (found.round, found.parent, found.edits) == (0, None, [])
        assert (found.network_hash, found.operations) == (graph.hash, operations)
        assert found.hyperparameters == HYPERPARAMETERS
    assert (specification.campaign, specification.trial, specification.parent_error) == ("qk3f9", 8, None)
    assert (specification.epochs, specification.patience) == (2, SETTINGS.training.patience_of_round(0))
    assert specification.network == graph.to_json()
    assert specification.training.epochs == 9


@pytest.mark.parametrize(
    ("ended", "error"), [pytest.param(True, 0.5, id="the parent is over"), pytest.param(False, None, id="it is not")]
)
def test_a_child_has_the_error_of_its_parent(search, ended, error):
    parent = trial_state(4)
    parent.end = end_of("COMPLETED", 4, best_error=0.5, best_epoch=1) if ended else None
    search.parent, search.round, search.edits = 4, 1, (EDIT,)
    specification, record = adapter_of().propose(8, CampaignState(trials={4: parent}))
    assert (specification.parent, record.parent, specification.parent_error) == (4, 4, error)
    assert specification.edits == record.edits == [EDIT.to_json()]
    assert (specification.round, specification.epochs) == (1, 4)
    assert specification.patience == SETTINGS.training.patience_of_round(1)


def test_seeds_of_trials_are_fixed_distinct_and_below_2_to_31(search):
    """Frozen: the same campaign seed gives the same trials in every version."""
    seeds = [trial_seed(7, trial) for trial in range(200)]
    assert seeds[:2] == [150693778, 1978685297]
    assert len(set(seeds)) == 200
    assert 2**29 < max(seeds) < 2**31
    assert trial_seed(8, 0) != seeds[0]
    assert adapter_of().propose(1, CampaignState())[0].seed == seeds[1]


def test_inheritable_weights_are_those_of_the_search(search):
    assert adapter_of().parents == frozenset({1, 3})


def test_the_search_of_a_campaign_has_its_settings(monkeypatch):
    made = []
    monkeypatch.setattr(journal_search, "Search", lambda *values, **options: made.append((values, options)) or "search")
    assert make_search(SETTINGS) == "search"
    values = (seed_network(SETTINGS), SETTINGS.search, network_limits(SETTINGS))
    assert made == [(values, {"seed": 7, "concurrency": 3, "keep": 5})]
