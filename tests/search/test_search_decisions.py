"""Decisions of the search: rounds, ranking, memory limits, batch sizes, and the order of its generators."""

from __future__ import annotations

import pytest

from aiperf_orch.network import counts, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.memory import estimate
from aiperf_orch.network.morphisms import MorphismLimits
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search import Proposal, Search
from aiperf_orch.settings.models import SearchSettings
from aiperf_orch.util.errors import NetworkError

pytestmark = pytest.mark.unit

QUICK = SearchSettings(candidates=4, neighbours=2)
SEED_NETWORK = seeds.small_residual(width=4)


def memory(graph: Graph, batch: int = 2) -> int:
    return estimate(graph, "fp32").at(batch)


def begin(settings=QUICK, limits=MorphismLimits(), *, seed=0, concurrency=2, keep=64) -> Search:  # noqa: B008
    return Search(SEED_NETWORK, settings, limits, seed=seed, concurrency=concurrency, keep=keep)


def run(search: Search, *ends: tuple[float | None, float | None]) -> list[Proposal]:
    """Propose, start and end trials 0, 1, ... with these errors and forecasts."""
    made = []
    for trial, (error, predicted) in enumerate(ends):
        made.append(start(search, trial))
        search.ended(trial, error, predicted)
    return made


def start(search: Search, trial: int) -> Proposal:
    proposal = search.propose(trial)
    train = counts.count(proposal.graph).train
    search.started(trial, proposal.parent, proposal.edits, proposal.hyperparameters, proposal.graph.hash, train)
    return proposal


@pytest.mark.parametrize(
    ("ends", "keep", "parents"),
    [
        ([(0.5, None), (0.3, None), (0.4, None)], 64, [1, 2, 0]),
        ([(0.5, None), (0.3, None), (0.4, None)], 2, [1, 2]),
        ([(0.5, 0.1), (0.3, None), (0.4, None)], 64, [0, 1, 2]),
        ([(0.5, 0.6), (0.3, None), (0.4, None)], 64, [1, 2, 0]),
        ([(None, None), (0.3, None), (None, 0.1)], 64, [1]),
        ([], 64, []),
    ],
    ids=["by error", "at most keep", "by forecast", "forecast above error", "failed", "none ended"],
)
def test_parents_are_ranked_by_the_smaller_of_error_and_forecast(ends, keep, parents):
    search = begin(keep=keep)
    run(search, *ends)
    assert search.parents == parents


@pytest.mark.parametrize(("concurrency", "rounds"), [(1, [0, 1, 2, 3]), (2, [0, 0, 1, 1]), (3, [0, 0, 0, 1])])
def test_a_round_has_as_many_trials_as_run_at_the_same_time(concurrency, rounds):
    made = run(begin(concurrency=concurrency), *[(0.5, None)] * 4)
    assert [each.round for each in made] == rounds
    assert [each.trial for each in made] == [0, 1, 2, 3]


@pytest.mark.parametrize("first", [0, 1, 2, 4])
def test_tpe_starts_in_its_round(first):
    """Before, all trials inherit the first point; after, points are random until ten trials are known."""
    made = run(begin(SearchSettings(candidates=2, neighbours=1, tpe_from_round=first)), *[(0.5, None)] * 8)
    is_first = [each.hyperparameters.dropout == 0 for each in made]
    assert is_first == [trial == 0 or trial // 2 < first for trial in range(8)]


def test_a_child_inherits_the_hyperparameters_of_its_parent():
    search = begin()
    point = Hyperparameters(kernel_size=5, dropout=0.1, batch_size=77)
    search.started(0, None, (), point, SEED_NETWORK.hash, counts.count(SEED_NETWORK).train)
    search.ended(0, 0.5, None)
    made = search.propose(1)
    assert made.parent == 0
    assert made.hyperparameters == point


def test_a_child_deepens_with_the_kernel_size_of_its_point():
    """The point is sampled before the network, so that added convolutions have its kernel size."""
    for seed in range(6):
        search = begin(SearchSettings(candidates=4, neighbours=2, tpe_from_round=0), seed=seed)
        for made in run(search, *[(0.5, None)] * 4)[1:]:
            assert {edit.kernel for edit in made.edits if edit.kernel} <= {made.hyperparameters.kernel_size}


def test_the_kernel_size_of_a_child_is_sampled_and_not_its_parents():
    kernels = set()
    for seed in range(12):
        search = begin(SearchSettings(candidates=4, neighbours=2, tpe_from_round=0), seed=seed)
        run(search, (0.5, None))  # trial 0 has the smallest kernel
        kernels.add(search.propose(1).hyperparameters.kernel_size)
    assert kernels == {3, 5, 7}


def test_without_parents_the_kernel_size_is_sampled_as_well():
    settings = SearchSettings(candidates=4, neighbours=2, tpe_from_round=0)
    made = [begin(settings, seed=seed).propose(1) for seed in range(12)]
    assert {each.parent for each in made} == {None}
    assert {each.hyperparameters.kernel_size for each in made} == {3, 5, 7}


def test_without_parents_a_proposal_has_up_to_max_edits_from_the_seed_network():
    search = begin(SearchSettings(candidates=4, neighbours=2, max_edits=2))
    made = [start(search, trial) for trial in range(14)]
    assert {each.parent for each in made} == {None}
    assert {len(each.edits) for each in made} == {0, 1, 2}


def test_different_trials_and_seeds_draw_different_networks():
    def hashes(seed: int) -> list[str]:
        return [begin(seed=seed).propose(trial).graph.hash for trial in range(1, 9)]

    assert len(set(hashes(0))) > 4
    assert hashes(0) == hashes(0)
    assert hashes(0) != hashes(1)


@pytest.mark.parametrize(
    ("limit", "wanted", "smallest", "batch"),
    [
        (None, 128, 32, 128),
        (64, 128, 32, 64),
        (200, 128, 32, 128),
        (16, 128, 32, 32),
        (16, 24, 32, 24),
        (64, 48, 32, 48),
    ],
    ids=["no limit", "fits", "more than wanted", "the smallest of the settings", "less was wanted", "wanted fits"],
)
def test_the_batch_is_the_largest_that_fits(limit, wanted, smallest, batch):
    """`limit` is the batch for which the memory of the seed network suffices."""
    bound = None if limit is None else memory(SEED_NETWORK, limit)
    settings = SearchSettings(candidates=4, neighbours=2, batch_size=[smallest, 128])
    search = begin(settings, MorphismLimits(max_memory=bound))
    assert search._fitting_batch(SEED_NETWORK, wanted) == batch


def out_of_memory(search: Search, trial: int, graph: Graph, error: float | None = None) -> None:
    """A trial with this network ends out of memory."""
    add(search, trial, graph, error)
    search.ran_out_of_memory(trial)


def add(search: Search, trial: int, graph: Graph, error: float | None) -> None:
    """A trial that was proposed as this network, in fact the seed network with other weights of the estimate."""
    search.started(trial, None, (), Hyperparameters(kernel_size=3, dropout=0, batch_size=64), graph.hash, 1)
    search._history._graphs[trial] = graph
    search.ended(trial, error, None)


SMALL, MIDDLE, LARGE = (seeds.small_residual(width=width) for width in (4, 8, 16))


def test_nine_tenths_of_the_memory_of_a_failed_network_are_the_limit():
    search = begin()
    out_of_memory(search, 0, MIDDLE)
    assert search._learnt_memory == int(0.9 * memory(MIDDLE))
    assert search._fits_memory(SMALL)
    assert not search._fits_memory(MIDDLE)


def test_only_a_smaller_failed_network_lowers_the_limit():
    search = begin()
    out_of_memory(search, 0, MIDDLE)
    out_of_memory(search, 1, LARGE)
    assert search._learnt_memory == int(0.9 * memory(MIDDLE))
    out_of_memory(search, 2, SMALL)
    assert search._learnt_memory == int(0.9 * memory(SMALL))


def test_a_network_that_was_trained_raises_the_limit():
    """MIDDLE was trained, so the failure of SMALL is no reason to exclude networks of its size."""
    search = begin()
    add(search, 0, MIDDLE, 0.5)
    add(search, 1, seeds.small_residual(width=2), 0.4)
    out_of_memory(search, 2, SMALL)
    assert search._learnt_memory == memory(MIDDLE)
    assert search._fits_memory(MIDDLE)
    assert not search._fits_memory(LARGE)


def test_the_learnt_limit_bounds_the_batch():
    search = begin(SearchSettings(batch_size=[2, 128]))
    out_of_memory(search, 0, LARGE)
    assert search._fitting_batch(SMALL, 10_000) == estimate(SMALL, "fp32").largest_batch(search._learnt_memory)


@pytest.mark.parametrize("learnt", [16, 256])
def test_the_smaller_of_two_memory_limits_bounds_the_batch(learnt):
    search = begin(SearchSettings(batch_size=[2, 128]), MorphismLimits(max_memory=memory(SEED_NETWORK, 64)))
    search._learnt_memory = memory(SEED_NETWORK, learnt)
    assert search._fitting_batch(SEED_NETWORK, 128) == min(learnt, 64)


def test_proposals_after_a_failure_are_within_the_learnt_limit():
    """The limit is a little above the seed network: without it most proposals are larger."""
    unlimited, limited = begin(), begin()
    limit = limited._learnt_memory = int(1.2 * memory(SEED_NETWORK))
    assert any(memory(unlimited.propose(trial).graph) > limit for trial in range(1, 8))
    for trial in range(1, 8):
        assert memory(start(limited, trial).graph) <= limit


def test_the_learnt_limit_is_ignored_if_it_leaves_no_network():
    search = begin()
    out_of_memory(search, 0, SMALL)
    assert memory(search.propose(1).graph) >= memory(SMALL)


def test_limits_also_hold_for_networks_that_fit_the_memory():
    search = begin(limits=MorphismLimits(max_layers=SEED_NETWORK.depth))
    out_of_memory(search, 0, LARGE)
    for trial in range(1, 5):
        made = start(search, trial)
        assert made.graph.depth == SEED_NETWORK.depth


def test_the_exhaustive_search_ends_in_an_error_that_names_the_limits():
    limits = MorphismLimits(max_layers=SEED_NETWORK.depth, max_parameters=SEED_NETWORK.parameters)
    search = begin(limits=limits)
    run(search, (0.5, None))
    with pytest.raises(NetworkError, match=r"no new network, 1 were tried: raise network\.max_layers"):
        search.propose(1)


def test_a_seed_network_beyond_the_limits_raises():
    with pytest.raises(NetworkError, match=r"network.max_layers: .*, in the seed network already"):
        begin(limits=MorphismLimits(max_layers=3))


def test_preparing_fits_the_surrogate_before_the_proposal():
    search = begin()
    search.prepare()  # nothing to fit
    run(search, (0.5, None), (0.4, None), (0.3, None))
    search.prepare()
    assert list(search._surrogate._errors) == [0, 1, 2]
    assert search._surrogate.scale == pytest.approx(0.0816, abs=1e-3)


def test_a_proposal_has_the_batch_that_fits():
    limits = MorphismLimits(max_memory=memory(SEED_NETWORK, 64))
    made = begin(limits=limits).propose(0)
    assert made.hyperparameters == Hyperparameters(kernel_size=3, dropout=0, batch_size=64)
