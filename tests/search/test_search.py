"""The search as the controller uses it: proposals, starts and ends in any order, and restarts."""

import subprocess
import sys
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pytest

from aiperf_orch.network import counts, morphisms, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.memory import estimate
from aiperf_orch.network.morphisms import MorphismLimits
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search import Proposal, Search
from aiperf_orch.settings.models import SearchSettings
from aiperf_orch.util.errors import NetworkError

QUICK = SearchSettings(candidates=6, neighbours=3)
SEED_NETWORK = seeds.small_residual(width=4)
WIDE = MorphismLimits()


def begin(settings=QUICK, limits=WIDE, *, seed=0, concurrency=4, keep=64) -> Search:
    return Search(SEED_NETWORK, settings, limits, seed=seed, concurrency=concurrency, keep=keep)


def error_of(graph: Graph) -> float:
    """Synthetic error: lower with each doubling of the parameters, slightly higher with each layer."""
    return float(np.clip(0.9 - 0.05 * np.log2(graph.parameters) + 0.004 * graph.depth, 0, 1))


def identity(graph: Graph) -> tuple[str, int]:
    return graph.hash, counts.count(graph).train


@dataclass
class Campaign:
    """Drives a search as a controller does; records the calls, so that they can be repeated after a restart."""

    search: Search
    calls: list = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)

    def start(self) -> None:
        made = self.search.propose(len(self.proposals))
        self.proposals.append(made)
        self.call("started", made.trial, made.parent, made.edits, made.hyperparameters, *identity(made.graph))

    def end(self, trial: int, error: float | None, predicted: float | None = None) -> None:
        self.call("ended", trial, error, predicted)

    def call(self, name: str, *arguments) -> None:
        getattr(self.search, name)(*arguments)
        self.calls.append((name, arguments))

    def run(self, trials: int, concurrency: int = 4, failing: float = 0.0, too_large: float = 0.0) -> "Campaign":
        """Trials end in a random order, some without an error, some out of memory, some with a forecast."""
        generator = np.random.default_rng(99)
        running: list[int] = []
        while len(self.proposals) < trials:
            while len(running) < concurrency and len(self.proposals) < trials:
                running.append(len(self.proposals))
                self.start()
            ending = running.pop(int(generator.integers(len(running))))
            error = error_of(self.proposals[ending].graph)
            failed = generator.random() < failing
            predicted = error / 2 if generator.random() < 0.2 and not failed else None
            self.end(ending, None if failed else error, predicted)
            if failed and generator.random() < too_large:
                self.call("ran_out_of_memory", ending)
        return self


def replayed(calls) -> Search:
    search = begin()
    for name, arguments in calls:
        getattr(search, name)(*arguments)
    search.prepare()
    return search


def test_trial_0_is_the_seed_network_at_the_first_point():
    made = begin().propose(0)
    first = Hyperparameters(kernel_size=3, dropout=0, batch_size=128)
    assert made == Proposal(0, 0, None, (), SEED_NETWORK, first)


def test_the_first_wave_differs_and_has_no_parents():
    campaign = Campaign(begin(concurrency=30))
    for _ in range(30):
        campaign.start()
    assert len({made.graph.hash for made in campaign.proposals}) == 30
    assert all(made.parent is None for made in campaign.proposals)
    assert {len(made.edits) for made in campaign.proposals[1:]} == {1, 2, 3}
    points = {tuple(made.hyperparameters.model_dump().values()) for made in campaign.proposals}
    assert points == {(3, 0, 128)}  # the first point: TPE has not started


def test_a_proposal_is_consistent_with_its_parent_and_edits():
    campaign = Campaign(begin()).run(40)
    graphs = {made.trial: made.graph for made in campaign.proposals}
    for made in campaign.proposals:
        parent = SEED_NETWORK if made.parent is None else graphs[made.parent]
        assert morphisms.apply_all(parent, made.edits) == made.graph
        assert {edit.kernel for edit in made.edits if edit.kernel} <= {made.hyperparameters.kernel_size}
        assert made.round == made.trial // 4
    assert sum(made.parent is not None for made in campaign.proposals) > 30


def test_proposals_are_distinct_and_within_the_limits():
    limits = MorphismLimits(max_layers=60, max_parameters=60_000, max_operations=4_000_000)
    campaign = Campaign(begin(SearchSettings(candidates=4, neighbours=2), limits)).run(200, failing=0.1)
    assert len({made.graph.hash for made in campaign.proposals}) == 200
    assert all(limits.admit(made.graph) for made in campaign.proposals)


def test_the_same_history_gives_the_same_proposals():
    first, second = Campaign(begin()).run(20), Campaign(begin()).run(20)
    assert first.proposals == second.proposals
    other = Campaign(begin(seed=1)).run(20)
    assert first.proposals != other.proposals


def test_a_restart_at_any_point_gives_the_same_proposals():
    campaign = Campaign(begin()).run(60, failing=0.3, too_large=0.5)
    names = [name for name, _ in campaign.calls]
    assert names.count("ran_out_of_memory") > 3
    assert any(name == "ended" and call[2] is not None for name, call in campaign.calls)  # a forecast
    starts = [index for index, name in enumerate(names) if name == "started"]
    for trial in (1, 3, 5, 11, 12, 13, *range(20, 60, 3)):  # before and after TPE starts with trial 12
        assert replayed(campaign.calls[: starts[trial]]).propose(trial) == campaign.proposals[trial]


def test_a_restart_within_a_wave_proposes_the_rest_of_it():
    campaign = Campaign(begin()).run(30, concurrency=6, failing=0.3, too_large=0.5)
    calls = len(campaign.calls)
    for _ in range(9):  # a wave, while others run and wait
        campaign.start()
    for after in (0, 4, 8):
        assert replayed(campaign.calls[: calls + after]).propose(30 + after) == campaign.proposals[30 + after]


def test_propose_does_not_change_the_state():
    campaign = Campaign(begin()).run(18)
    for trial in (30, 18, 19, 18):
        assert campaign.search.propose(trial) == replayed(campaign.calls).propose(trial)


def test_a_search_without_concurrency_is_repeatable():
    def run() -> list[Proposal]:
        campaign = Campaign(begin(concurrency=1))
        return campaign.run(12, concurrency=1).proposals

    made = run()
    assert made == run()
    assert [each.round for each in made] == list(range(12))


def test_tpe_starts_in_its_round():
    campaign = Campaign(begin()).run(40)
    points = [made.hyperparameters for made in campaign.proposals]
    assert all((point.dropout, point.batch_size) == (0, 128) for point in points[:12])
    later = points[12:]
    assert sum(point.dropout > 0 for point in later) > 20
    assert all(0 <= point.dropout <= 0.2 and 32 <= point.batch_size <= 128 for point in later)
    assert len({point.kernel_size for point in later}) > 1


def test_before_tpe_a_child_has_the_point_of_its_parent():
    campaign = Campaign(begin()).run(12)
    children = [made for made in campaign.proposals if made.parent is not None]
    assert children
    for made in children:
        assert made.hyperparameters == campaign.proposals[made.parent].hyperparameters


def test_failed_trials_are_not_parents_and_do_not_end_the_search():
    campaign = Campaign(begin())
    for trial in range(20):
        campaign.start()
        campaign.end(trial, None)
    assert campaign.search.parents == []
    assert all(made.parent is None for made in campaign.proposals)
    campaign.start()
    campaign.end(20, 0.5)
    campaign.start()
    assert campaign.proposals[-1].parent == 20


def test_parents_are_the_best_by_measured_or_predicted_error():
    campaign = Campaign(begin(keep=3))
    for error, predicted in [(0.5, None), (0.4, None), (0.45, 0.1), (None, None), (0.3, None), (0.4, None)]:
        campaign.start()
        campaign.end(len(campaign.proposals) - 1, error, predicted)
    assert campaign.search.parents == [2, 4, 1]
    for _ in range(5):
        campaign.start()
        assert campaign.proposals[-1].parent in (2, 4, 1)


def reachable(limits: MorphismLimits, kernel_sizes: list[int]) -> set[str]:
    """Hashes of all networks within the limits, by every edit of every network."""
    found, waiting = {SEED_NETWORK.hash}, deque([SEED_NETWORK])
    while waiting:
        graph = waiting.popleft()
        for kind in morphisms.KINDS:
            for kernel in kernel_sizes:
                for edit in morphisms.candidates(graph, kind, kernel):
                    child = morphisms.apply(graph, edit)
                    if limits.admit(child) and child.hash not in found:
                        found.add(child.hash)
                        waiting.append(child)
    return found


@pytest.mark.parametrize("ending", [0.5, None], ids=["ended", "failed"])
@pytest.mark.parametrize(
    "limits",
    [
        MorphismLimits(max_layers=SEED_NETWORK.depth, max_parameters=4146),
        MorphismLimits(max_layers=SEED_NETWORK.depth + 3, max_parameters=1532),
    ],
    ids=["wider only", "one layer more"],
)
def test_all_networks_within_the_limits_are_proposed_then_it_raises(limits, ending):
    settings = SearchSettings(candidates=6, neighbours=3, kernel_sizes=[3, 5])
    expected = reachable(limits, settings.kernel_sizes)
    assert len(expected) > 10
    campaign = Campaign(begin(settings, limits))
    for trial in range(len(expected)):
        campaign.start()
        campaign.end(trial, ending)
    assert {made.graph.hash for made in campaign.proposals} == expected
    with pytest.raises(NetworkError, match="max_layers"):
        campaign.search.propose(len(expected))


def test_a_seed_network_beyond_the_limits_is_rejected():
    with pytest.raises(NetworkError, match="seed network"):
        begin(limits=MorphismLimits(max_layers=3))


def test_calls_in_an_impossible_order_are_rejected():
    search, first = begin(), begin().propose(0)
    with pytest.raises(ValueError, match="not running"):
        search.ended(0, 0.5, None)
    with pytest.raises(ValueError, match="parent 7"):
        search.started(8, 7, (), first.hyperparameters, *identity(first.graph))
    search.started(0, None, (), first.hyperparameters, *identity(first.graph))
    with pytest.raises(ValueError, match="started before"):
        search.started(0, None, (), first.hyperparameters, *identity(first.graph))


def test_the_search_finds_better_networks_than_random_edits():
    limits = MorphismLimits(max_layers=60, max_parameters=200_000)

    def random_best(seed: int) -> float:
        generator = np.random.default_rng(seed)
        graphs = [SEED_NETWORK]
        while len(graphs) < 20:
            graph = graphs[generator.integers(len(graphs))]
            for _ in range(generator.integers(1, 4)):
                edit = morphisms.random_edit(graph, 3, generator)
                assert edit is not None
                graph = morphisms.apply(graph, edit)
            if limits.admit(graph):
                graphs.append(graph)
        return min(map(error_of, graphs))

    def search_best(seed: int) -> float:
        campaign = Campaign(begin(SearchSettings(candidates=16), limits, seed=seed)).run(20)
        return min(error_of(made.graph) for made in campaign.proposals)

    assert np.mean([search_best(seed) for seed in range(3)]) < np.mean([random_best(seed) for seed in range(3)]) - 0.02


def test_a_memory_limit_bounds_networks_and_batch_sizes():
    smallest = 32
    room = estimate(SEED_NETWORK, "fp32").at(smallest)
    limits = MorphismLimits(max_memory=2 * room, batch=smallest)
    campaign = Campaign(begin(limits=limits)).run(30)
    for made in campaign.proposals:
        needed = estimate(made.graph, "fp32").at(made.hyperparameters.batch_size)
        assert needed <= 2 * room
        assert made.hyperparameters.batch_size >= smallest
    assert any(made.hyperparameters.batch_size < 128 for made in campaign.proposals)
    with pytest.raises(NetworkError, match=r"max_memory: .* GiB, the estimate for a batch of 32"):
        begin(limits=MorphismLimits(max_memory=room - 1, batch=smallest))


def test_networks_as_large_as_one_out_of_memory_are_not_proposed():
    campaign = Campaign(begin()).run(12)
    largest = max(campaign.proposals, key=lambda made: estimate(made.graph, "fp32").at(2))
    failed = estimate(largest.graph, "fp32").at(2)
    small = [made for made in campaign.proposals if estimate(made.graph, "fp32").at(2) < 0.8 * failed]
    assert small
    again = Campaign(begin())
    for made in campaign.proposals:
        again.start()
        fits = made in small
        again.end(made.trial, 0.5 if fits else None)
    again.call("ran_out_of_memory", largest.trial)
    for _ in range(10):
        again.start()
        assert estimate(again.proposals[-1].graph, "fp32").at(2) <= 0.9 * failed
    assert replayed(again.calls).propose(99) == again.search.propose(99)


def test_running_out_of_memory_does_not_end_a_search():
    campaign = Campaign(begin())
    campaign.start()
    campaign.end(0, None)
    campaign.call("ran_out_of_memory", 0)
    campaign.start()
    assert campaign.proposals[-1].graph != SEED_NETWORK


def test_a_large_wave_has_distinct_networks():
    campaign = Campaign(begin(concurrency=300)).run(20, concurrency=5)
    for _ in range(280):
        campaign.start()
    assert len({made.graph.hash for made in campaign.proposals}) == 300


def test_the_search_imports_no_slow_packages():
    slow = ("optuna", "torch", "pandas", "sklearn")
    code = f"import sys, aiperf_orch.search; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
