"""The distance between networks is a metric on their structure, and equals its definition."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.network import morphisms, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.search.edit_distance import Features, KnownNetworks, Networks, features

ROUNDING = 0.01  # each of some hundred costs is rounded to a multiple of 2^-16
some_seed = st.integers(0, 10_000)
some_edits = st.integers(0, 6)


def distance(first: Graph, second: Graph) -> float:
    return float(Networks([features(second)]).distances(features(first))[0])


def reference(first: Features, second: Features) -> float:
    """The definition, pair by pair."""

    def layer_cost(one: list[int], other: list[int]) -> float:
        if one[0] != other[0]:
            return 1.0
        return max(abs(a - b) / max(a, b, 1) for a, b in zip(one[1:], other[1:], strict=True))

    def skip_cost(one: list[int], other: list[int]) -> float:
        if one[0] != other[0]:
            return 1.0
        largest = sum(max(a, b) for a, b in zip(one[1:], other[1:], strict=True))
        return sum(abs(a - b) for a, b in zip(one[1:], other[1:], strict=True)) / max(largest, 1)

    ours, theirs = first.layers.tolist(), second.layers.tolist()
    table = {(i, j): float(max(i, j)) for i in range(len(ours) + 1) for j in range(len(theirs) + 1) if not (i and j)}
    for i, j in itertools.product(range(1, len(ours) + 1), range(1, len(theirs) + 1)):
        pair = table[i - 1, j - 1] + layer_cost(ours[i - 1], theirs[j - 1])
        table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, pair)
    few, many = sorted([first.skips.tolist(), second.skips.tolist()], key=len)
    matched = min(
        sum(skip_cost(one, other) for one, other in zip(few, chosen, strict=True))
        for chosen in itertools.permutations(many, len(few))
    )
    return table[len(ours), len(theirs)] + matched + len(many) - len(few)


def shuffled(graph: Graph, seed: int) -> Graph:
    """The same structure with other numbers and in another topological order."""
    choose = random.Random(seed)
    numbers = choose.sample(range(1000), len(graph.layers))
    new_id = {layer.id: number for layer, number in zip(graph.layers, numbers, strict=True)}
    waiting, layers = list(graph.layers), []
    done: set[int] = set()
    while waiting:
        layer = choose.choice([each for each in waiting if done.issuperset(each.inputs)])
        waiting.remove(layer)
        done.add(layer.id)
        layers.append(replace(layer, id=new_id[layer.id], inputs=tuple(new_id[source] for source in layer.inputs)))
    return Graph(graph.input_shape, layers)


@settings(deadline=None, max_examples=50)
@given(some_seed, some_edits)
def test_equal_structures_are_at_distance_zero(descendant, seed, edits):
    graph = descendant(seed, edits)
    other = shuffled(graph, seed)
    assert other.hash == graph.hash
    assert distance(graph, other) == 0


@settings(deadline=None, max_examples=50)
@given(some_seed, some_edits, some_seed, some_edits)
def test_equals_its_definition_and_is_symmetric(descendant, seed, edits, other_seed, other_edits):
    first, second = descendant(seed, edits), descendant(other_seed, other_edits)
    assert distance(first, second) == distance(second, first)
    assert distance(first, second) == pytest.approx(reference(features(first), features(second)), abs=ROUNDING)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(some_seed, some_edits), min_size=3, max_size=3))
def test_no_detour_is_shorter(descendant, three):
    first, between, last = (descendant(*each) for each in three)
    assert distance(first, last) <= distance(first, between) + distance(between, last) + ROUNDING


def test_many_at_once_equal_one_by_one(descendant):
    graphs = [descendant(seed, seed % 7) for seed in range(12)]
    networks = Networks([features(graph) for graph in graphs])
    for graph in graphs:
        assert networks.distances(features(graph)).tolist() == [distance(graph, other) for other in graphs]


def test_a_layer_more_costs_one_and_a_doubled_layer_half():
    graph = seeds.small_residual()
    last_relu = [layer.id for layer in graph.layers if layer.kind == "relu"][-1]
    deeper = morphisms.apply(graph, Edit("deeper", last_relu, kernel=3))
    assert distance(graph, deeper) == 1
    inner = graph.layers[4]
    assert inner.kind == "conv"  # the first of the block: no other layer is tied to it
    assert distance(graph, morphisms.apply(graph, Edit("wider", inner.id))) == 0.5


def test_a_skip_more_costs_more_than_its_layers():
    graph = seeds.small_residual()
    first = next(layer.id for layer in graph.layers if layer.kind == "relu")
    target = next(layer.id for layer in graph.layers[::-1] if layer.kind == "batch_norm")
    added = morphisms.apply(graph, Edit("skip_add", first, to=target))
    assert distance(graph, added) >= 2  # the projection and the skip
    same_place = morphisms.apply(graph, Edit("skip_concat", first, to=target))
    assert distance(added, same_place) >= 1  # another kind of skip


def test_grows_with_the_number_of_edits(descendant):
    start = descendant(0, 0)
    means = [np.mean([distance(start, descendant(seed, edits)) for seed in range(20)]) for edits in (0, 1, 3, 9)]
    assert means == sorted(means)
    assert means[0] == 0
    assert means[-1] > 3 * means[1]


def test_known_networks_are_the_same_however_they_came_to_be_known(descendant):
    made = {trial: features(descendant(trial, trial % 5 + 1)) for trial in range(10)}
    grown = KnownNetworks()
    for trials in ([0], [0, 1, 2], [1, 2, 5, 7], [0, 2, 3, 7, 8, 9]):
        grown.update(trials, made.__getitem__)
    fresh = KnownNetworks()
    fresh.update([0, 2, 3, 7, 8, 9], made.__getitem__)
    assert np.array_equal(grown.matrix, fresh.matrix)
    assert np.array_equal(grown.matrix, grown.matrix.T)
    assert np.array_equal(grown.distances(made[4]), fresh.distances(made[4]))
    assert grown.distances(made[3])[2] == 0


def test_known_networks_before_the_first_are_refused(descendant):
    with pytest.raises(ValueError, match="no networks yet"):
        KnownNetworks().distances(features(descendant(0, 0)))
