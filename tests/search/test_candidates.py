"""Decisions of the generators of networks: annealing, random descendants, exhaustive search."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from aiperf_orch.network import morphisms, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.search.candidates import (
    RANDOM_ATTEMPTS,
    Candidate,
    GraphSet,
    anneal,
    breadth_first,
    random_descendant,
)
from aiperf_orch.search.surrogate import Surrogate
from aiperf_orch.util.errors import NetworkError

pytestmark = pytest.mark.unit

SEED_NETWORK = seeds.small_residual(width=4)
START = Candidate(None, SEED_NETWORK, 3)
FIRST_RELU = next(layer.id for layer in SEED_NETWORK.layers if layer.kind == "relu")
DEEPER = Edit("deeper", FIRST_RELU, kernel=3)


def fitted(beta: float = 0.5) -> tuple[Surrogate, dict[int, Graph]]:
    """A surrogate of a chain of eight networks in which each edit halves the error."""
    generator, graphs = np.random.default_rng(7), {0: SEED_NETWORK}
    for trial in range(1, 8):
        edit = morphisms.random_edit(graphs[trial - 1], 3, generator)
        assert edit is not None
        graphs[trial] = morphisms.apply(graphs[trial - 1], edit)
    surrogate = Surrogate(beta)
    surrogate.fit({trial: 0.8 * 0.5**trial for trial in graphs}, graphs.__getitem__)
    return surrogate, graphs


def single(beta: float = 0.5) -> Surrogate:
    """A surrogate of the seed network alone."""
    surrogate = Surrogate(beta)
    surrogate.fit({0: 0.5}, lambda _: SEED_NETWORK)
    return surrogate


def always(start: Candidate) -> Callable[[], Candidate]:
    return lambda: start


@dataclass
class Recorder:
    """What annealing does with each child: `evaluated` has all that are within the limits, `accepted` those that pass.

    Annealing asks `admits` about every child, and `is_new` only about children that pass the acceptance test.
    """

    surrogate: Surrogate
    refused: Callable[[Graph], bool] = lambda _: False
    known: Callable[[Graph], bool] = lambda _: False
    edited: int = 0
    evaluated: list[Graph] = field(default_factory=list)
    accepted: set[int] = field(default_factory=set)

    def admits(self, graph: Graph) -> bool:
        self.edited += 1
        if self.refused(graph):
            return False
        self.evaluated.append(graph)
        return True

    def is_new(self, graph: Graph) -> bool:
        self.accepted.add(len(self.evaluated) - 1)
        return not self.known(graph)

    def bounds(self) -> list[float]:
        return [self.surrogate.bound(self.surrogate.embed(graph)) for graph in self.evaluated]

    def anneal(
        self, starts: list[tuple[float, Candidate]], seed: int = 0, neighbours: int = 8, max_children: int = 32
    ) -> Candidate | None:
        return anneal(
            [(error, always(start)) for error, start in starts],
            self.surrogate,
            is_new=self.is_new,
            admits=self.admits,
            neighbours=neighbours,
            max_children=max_children,
            generator=np.random.default_rng(seed),
        )


@pytest.mark.parametrize("seed", range(8))
def test_annealing_returns_the_child_with_the_lowest_bound(seed):
    recorder = Recorder(fitted()[0])
    found = recorder.anneal([(0.8, START)], seed)
    bounds = recorder.bounds()
    assert bounds.index(min(bounds)) > 0, "the first child is the best: this seed shows nothing"
    assert found is not None
    assert found.graph == recorder.evaluated[bounds.index(min(bounds))]
    assert morphisms.apply_all(SEED_NETWORK, found.edits) == found.graph


def test_annealing_returns_the_lowest_bound_of_the_new_networks():
    surrogate, _ = fitted()
    first = Recorder(surrogate).anneal([(0.8, START)])
    assert first is not None
    recorder = Recorder(surrogate, known=lambda graph: graph.hash == first.graph.hash)
    second = recorder.anneal([(0.8, START)])
    assert second is not None
    assert second.graph.hash != first.graph.hash
    assert surrogate.bound(surrogate.embed(second.graph)) >= surrogate.bound(surrogate.embed(first.graph))


def test_annealing_continues_from_the_most_promising_network():
    """With one child of each network, the edits lead down the chain of bounds: a better child is expanded next."""
    recorder = Recorder(fitted()[0])
    recorder.anneal([(10.0, START)], neighbours=1, max_children=2)
    first, second = recorder.evaluated
    assert len(second.layers) + second.parameters > len(first.layers) + first.parameters
    assert all(layer.id in second.by_id for layer in first.layers), "the second child is not a child of the first"


def test_annealing_takes_the_parent_with_the_lowest_error_first():
    _, graphs = fitted()
    made = []

    def start(trial):
        return lambda: made.append(trial) or Candidate(trial, graphs[trial], 3)

    surrogate, _ = fitted()
    found = anneal(
        [(0.4, start(1)), (0.1, start(3)), (0.2, start(2))],
        surrogate,
        is_new=lambda _: True,
        admits=lambda _: True,
        neighbours=4,
        max_children=4,
        generator=np.random.default_rng(0),
    )
    assert made == [3]
    assert found is not None
    assert found.parent == 3


@pytest.mark.parametrize(("neighbours", "max_children"), [(8, 32), (5, 12), (100, 7), (1, 1)])
def test_annealing_evaluates_at_most_max_children(neighbours, max_children):
    recorder = Recorder(fitted()[0])
    recorder.anneal([(0.8, START)], neighbours=neighbours, max_children=max_children)
    assert len(recorder.evaluated) == max_children


def test_children_beyond_the_limits_are_not_returned_and_end_the_annealing():
    recorder = Recorder(fitted()[0], refused=lambda _: True)
    starts = [(0.1 * number, START) for number in range(50)]
    assert recorder.anneal(starts, neighbours=8, max_children=10) is None
    assert recorder.edited == 40  # four edits per child that might have been evaluated


def test_all_neighbours_of_a_network_are_evaluated_before_the_next_one(monkeypatch):
    """Neither a rejected child, nor a known one, nor one beyond the limits ends the loop over the neighbours."""
    surrogate, random_edit, expanded = fitted()[0], morphisms.random_edit, []

    def record(graph, kernel, generator):
        expanded.append(graph.hash)
        return random_edit(graph, kernel, generator)

    monkeypatch.setattr(morphisms, "random_edit", record)
    recorder = Recorder(surrogate, known=lambda graph: graph.depth % 2 == 0)
    recorder.refused = lambda _: len(expanded) % 3 == 0
    recorder.anneal([(0.8, START)], seed=1, neighbours=20, max_children=20)
    assert expanded[:20] == [SEED_NETWORK.hash] * 20
    assert len(recorder.accepted) < len(recorder.evaluated), "no child was rejected: this seed shows nothing"


def test_annealing_without_new_children_returns_none():
    assert Recorder(fitted()[0], known=lambda _: True).anneal([(0.8, START)]) is None


def test_an_equal_child_is_expanded_once(monkeypatch):
    """Each random edit is the same one, and only the first generation is within the limits."""
    monkeypatch.setattr(morphisms, "random_edit", lambda *_: DEEPER)
    child = morphisms.apply(SEED_NETWORK, DEEPER)
    recorder = Recorder(fitted()[0], refused=lambda graph: graph.hash != child.hash)
    found = recorder.anneal([(0.8, START)], neighbours=2, max_children=8)
    assert found is not None
    assert found.edits == (DEEPER,)
    assert recorder.edited == 4, "two children of the start, two of its child"


def test_annealing_returns_the_first_of_equal_bounds():
    recorder = Recorder(single(beta=1e-9))
    found = recorder.anneal([(0.5, START)])
    assert len(set(recorder.bounds())) == 1
    assert found is not None
    assert found.graph == recorder.evaluated[0]


def test_annealing_continues_after_a_child_beyond_the_limits():
    refused = []
    recorder = Recorder(fitted()[0], refused=lambda graph: len(refused) < 3 and not refused.append(graph))
    found = recorder.anneal([(0.8, START)], neighbours=8, max_children=32)
    assert found is not None
    assert len(refused) == 3
    assert recorder.edited > 8, "the start has more children than the refused ones"


@pytest.fixture
def no_edits(monkeypatch):
    """No random edit is possible."""
    monkeypatch.setattr(morphisms, "random_edit", lambda *_: None)


def test_networks_without_a_random_edit_give_no_candidate(no_edits):
    assert START.random_child(np.random.default_rng(0)) is None
    assert Recorder(single()).anneal([(0.8, START)]) is None
    found = random_descendant(
        [START], is_new=lambda _: True, admits=lambda _: True, max_edits=3, generator=np.random.default_rng(0)
    )
    assert found is None


def test_the_exhaustive_search_skips_edits_without_a_valid_network(monkeypatch):
    def refuse(_graph, _edit):
        raise NetworkError("too many channels")

    monkeypatch.setattr(morphisms, "apply", refuse)
    generator = np.random.default_rng(0)
    assert breadth_first([START], [3], is_new=lambda _: True, admits=lambda _: True, generator=generator) is None


def acceptance(seed: int, children: int = 100) -> tuple[list[float], list[bool]]:
    """How much worse than the lowest bound so far, in prior standard deviations, each child is; whether it passed."""
    recorder = Recorder(fitted()[0])
    recorder.anneal([(0.8, START)], seed, neighbours=children, max_children=children)
    bounds, worse, passed = recorder.bounds(), [], []
    for index, bound in enumerate(bounds):
        lowest = min(bounds[:index], default=math.inf)
        worse.append((bound - lowest) / recorder.surrogate.scale)
        passed.append(index in recorder.accepted)
    return worse, passed


def test_a_better_child_always_passes_the_acceptance_test():
    for seed in range(3):
        worse, passed = acceptance(seed)
        assert all(p for w, p in zip(worse, passed, strict=True) if w < 0)


def test_the_temperature_falls_from_1_to_a_hundredth():
    """The share of worse children that pass is that of exp(-worse / temperature), early and late."""
    early, late = [], []
    for seed in range(4):
        worse, passed = acceptance(seed)
        for index, (by, did) in enumerate(zip(worse, passed, strict=True)):
            share = index / len(worse)
            if by > 0.05 and (share < 0.3 or share > 0.7):
                expected = math.exp(-by / 0.01**share)
                (early if share < 0.3 else late).append((did, expected))
    for name, group in (("early", early), ("late", late)):
        did, expected = (float(np.mean([each[number] for each in group])) for number in (0, 1))
        assert len(group) > 50
        assert did == pytest.approx(expected, abs=0.08), f"{name} children pass by another rule than the temperature's"
    assert np.mean([did for did, _ in early]) > 0.3, "early, no bad children pass: the search is greedy"
    assert np.mean([did for did, _ in late]) < 0.02, "late, bad children pass: the temperature does not fall"


def test_a_child_carries_its_edits_and_the_last_kernel_size():
    child = START.child(Edit("deeper", FIRST_RELU, kernel=5))
    assert child is not None
    assert (child.parent, child.edits, child.kernel_size) == (None, (Edit("deeper", FIRST_RELU, kernel=5),), 5)
    wider = child.child(Edit("wider", SEED_NETWORK.layers[4].id))
    assert wider is not None
    assert wider.kernel_size == 5
    assert len(wider.edits) == 2


def test_an_edit_without_a_valid_network_gives_no_child():
    candidate, edit = START, Edit("wider", SEED_NETWORK.layers[4].id)
    for _ in range(100):
        child = candidate.child(edit)
        if child is None:
            return
        candidate = child
    pytest.fail("the width has no limit")


def test_a_graph_set_refuses_an_equal_network_and_keeps_others():
    graphs = GraphSet()
    assert graphs.add(SEED_NETWORK)
    assert graphs.add(Graph(SEED_NETWORK.input_shape, list(SEED_NETWORK.layers))) is False
    assert graphs.add(morphisms.apply(SEED_NETWORK, DEEPER))
    assert not graphs.add(morphisms.apply(SEED_NETWORK, DEEPER))


@pytest.mark.parametrize("max_edits", [1, 2, 3])
def test_a_random_descendant_has_one_to_max_edits(max_edits):
    numbers = set()
    for seed in range(40):
        generator = np.random.default_rng(seed)
        found = random_descendant(
            [START], is_new=lambda _: True, admits=lambda _: True, max_edits=max_edits, generator=generator
        )
        assert found is not None
        numbers.add(len(found.edits))
    assert numbers == set(range(1, max_edits + 1))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_random_descendant_may_come_from_any_start(number):
    starts = [Candidate(each, SEED_NETWORK, 3) for each in range(number)]
    generator = np.random.default_rng(0)
    found = [
        random_descendant(starts, is_new=lambda _: True, admits=lambda _: True, max_edits=1, generator=generator)
        for _ in range(20)
    ]
    assert {each.parent for each in found if each is not None} == set(range(number))


@pytest.mark.parametrize("test", ["is_new", "admits"])
def test_a_random_descendant_is_given_up_after_64_attempts(test):
    attempts = 0

    def refuse(_graph):
        nonlocal attempts
        attempts += 1
        return False

    tests = {"is_new": lambda _: True, "admits": lambda _: True, test: refuse}
    assert random_descendant([START], max_edits=1, generator=np.random.default_rng(0), **tests) is None
    assert attempts == RANDOM_ATTEMPTS == 64


def test_the_exhaustive_search_tries_all_children_before_grandchildren():
    children = {
        morphisms.apply(SEED_NETWORK, edit).hash
        for kind in morphisms.KINDS
        for edit in morphisms.candidates(SEED_NETWORK, kind, 3)
    }
    tried: list[str] = []

    def is_new(graph):
        tried.append(graph.hash)
        return len(tried) > len(children)

    found = breadth_first([START], [3], is_new=is_new, admits=lambda _: True, generator=np.random.default_rng(0))
    assert found is not None
    assert set(tried[:-1]) == children, "a grandchild was tried before all children"
    assert len(found.edits) == 2
    assert found.graph.hash == tried[-1]
    assert len(set(tried)) == len(tried), "a network was tried twice"


def test_the_exhaustive_search_deepens_with_every_kernel_size():
    asked, kernels = [], []

    def admits(graph):
        asked.append(graph)
        kernels.extend(layer.kernel for layer in graph.touched if layer.kind == "conv" and layer.id not in start_ids)
        return False

    start_ids = SEED_NETWORK.by_id.keys()
    breadth_first([START], [3, 5, 7], is_new=lambda _: True, admits=admits, generator=np.random.default_rng(0))
    deeper = len(morphisms.candidates(SEED_NETWORK, "deeper", 3))
    assert [kernels.count(kernel) for kernel in (5, 7)] == [deeper, deeper]
    assert kernels.count(3) >= deeper
    others = sum(len(morphisms.candidates(SEED_NETWORK, kind, 3)) for kind in morphisms.KINDS if kind != "deeper")
    assert len(asked) == 3 * deeper + others, "edits without a kernel size are tried once"


def test_the_exhaustive_search_does_not_expand_networks_beyond_the_limits():
    asked = []

    def admits(graph):
        asked.append(graph)
        return False

    found = breadth_first([START], [3], is_new=lambda _: True, admits=admits, generator=np.random.default_rng(0))
    assert found is None
    number = sum(len(morphisms.candidates(SEED_NETWORK, kind, 3)) for kind in morphisms.KINDS)
    assert len(asked) == number
