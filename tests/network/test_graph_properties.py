"""Generated networks: JSON round trips, damaged input, and the canonical hash."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.network import morphisms
from aiperf_orch.network.counts import count, count_by_layer
from aiperf_orch.network.graph import FORMAT, Graph
from aiperf_orch.network.seeds import resnet50, small_residual
from aiperf_orch.util.errors import NetworkError
from network_fixtures import SEED_NUMBERS, Grow, network_json


@settings(max_examples=20, deadline=None)
@given(seed=SEED_NUMBERS, steps=st.integers(1, 12))
def test_morphed_network_round_trips_through_json(grow: Grow, seed: int, steps: int) -> None:
    graph = grow(small_residual(width=4), seed, steps)
    again = Graph.from_json(json.loads(json.dumps(graph.to_json())))
    assert again == graph
    assert again.shapes == graph.shapes
    assert again.hash == graph.hash


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_network_is_refused_or_read_exactly(
    damage: Callable[[Any, st.DataObject], Any], data: st.DataObject
) -> None:
    value = network_json()
    for _ in range(data.draw(st.integers(1, 3))):
        value = damage(value, data)
    try:
        graph = Graph.from_json(value)
    except NetworkError as error:
        message = str(error)
    else:
        message = ""
        known = {key: value[key] for key in ("format", "input_shape", "layers")}
        assert json.dumps(graph.to_json(), sort_keys=True) == json.dumps(known, sort_keys=True)
    assert len(message) < 600


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_other_value_is_refused(json_values: st.SearchStrategy[Any], data: st.DataObject) -> None:
    value = data.draw(json_values)
    for wrong in (value, {"format": FORMAT, "input_shape": [8, 8, 3], "layers": value}):
        with pytest.raises(NetworkError):
            Graph.from_json(wrong)


def renumbered(graph: Graph, seed: int) -> Graph:
    """The same structure with other ids, in another topological order, with the inputs of adds permuted."""
    generator = np.random.default_rng(seed)
    ids = dict(zip(graph.by_id, generator.permutation(10 * len(graph.layers)).tolist(), strict=False))
    missing = {layer.id: len(set(layer.inputs)) for layer in graph.layers}
    ready, order = [graph.layers[0].id], []
    while ready:
        chosen = ready.pop(generator.integers(len(ready)))
        order.append(graph.by_id[chosen])
        for reader in set(graph.consumers[chosen]):
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    layers = []
    for layer in order:
        inputs = [ids[source] for source in layer.inputs]
        if layer.kind == "add":
            generator.shuffle(inputs)
        layers.append(replace(layer, id=ids[layer.id], inputs=tuple(inputs)))
    return Graph(graph.input_shape, layers)


@settings(max_examples=50, deadline=None)
@given(seed=SEED_NUMBERS, steps=st.integers(0, 15))
def test_hash_is_independent_of_numbering_and_order(grow: Grow, seed: int, steps: int) -> None:
    graph = grow(small_residual(width=4), seed, steps)
    other = renumbered(graph, seed)
    assert other != graph
    assert other.hash == graph.hash


def test_hash_of_resnet50_is_independent_of_numbering_and_order() -> None:
    graph = resnet50()
    assert {renumbered(graph, seed).hash for seed in range(3)} == {graph.hash}


@settings(max_examples=15, deadline=None)
@given(seed=SEED_NUMBERS)
def test_no_edit_returns_to_an_earlier_hash(seed: int) -> None:
    graph, generator = small_residual(width=4), np.random.default_rng(seed)
    seen = {graph.hash}
    for _ in range(25):
        edit = morphisms.random_edit(graph, 3, generator)
        assert edit is not None
        graph = morphisms.apply(graph, edit)
        assert graph.hash not in seen
        seen.add(graph.hash)


def isomorphic(one: Graph, other: Graph) -> bool:
    """Whether two networks have the same structure, by backtracking from the outputs to the inputs."""

    def match(todo: list[tuple[int, int]], pairs: dict[int, int]) -> bool:
        while todo:
            left, right = todo.pop()
            if left in pairs or right in pairs.values():
                if pairs.get(left) != right:
                    return False
                continue
            here, there = one.by_id[left], other.by_id[right]
            if replace(here, id=0, inputs=()) != replace(there, id=0, inputs=()) or len(here.inputs) != len(
                there.inputs
            ):
                return False
            pairs = {**pairs, left: right}
            if here.kind == "add":
                return any(
                    match(todo + list(zip(here.inputs, inputs, strict=True)), pairs)
                    for inputs in itertools.permutations(there.inputs)
                )
            todo = todo + list(zip(here.inputs, there.inputs, strict=True))
        return True

    return one.depth == other.depth and match([(one.output.id, other.output.id)], {})


def every_child(graph: Graph) -> list[Graph]:
    edits = [edit for kind in morphisms.KINDS for edit in morphisms.candidates(graph, kind, 3)]
    return [morphisms.apply(graph, edit) for edit in edits]


def test_hashes_are_equal_exactly_for_equal_structures() -> None:
    """Compare with an exhaustive match of networks that are one or two edits away from the seed."""
    seed, generator = small_residual(width=4), np.random.default_rng(1)
    children = every_child(seed)
    grandchildren = [grandchild for child in children for grandchild in every_child(child)]
    chosen = generator.choice(len(grandchildren), 800, replace=False)
    graphs = [seed, *children, *(grandchildren[index] for index in chosen)]
    alike: dict[tuple[Any, ...], list[Graph]] = {}
    for graph in graphs:
        multiset = tuple(sorted((layer.kind, *layer.attributes().values()) for layer in graph.layers))
        alike.setdefault(multiset, []).append(graph)
    equal = 0
    for group in alike.values():
        for one, other in itertools.combinations(group, 2):
            same = isomorphic(one, other)
            assert (one.hash == other.hash) == same, (one.to_json(), other.to_json())
            equal += same
    assert equal > 30  # otherwise the test compares nothing
    assert len({graph.hash for graph in graphs}) > 500


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(0, 12))
def test_counts_of_layers_add_up_to_the_count_of_the_network(
    grow: Callable[[Graph, int, int], Graph], seed: int, steps: int
) -> None:
    graph = grow(small_residual(width=4), seed, steps)
    rows = count_by_layer(graph)
    assert [row.id for row in rows if row.kind != "softmax"] == [layer.id for layer in graph.layers[1:]]
    assert sum(row.operations.forward for row in rows) == count(graph).forward
    assert sum(row.operations.backward for row in rows) == count(graph).backward
    assert all(type(n) is int and n >= 0 for row in rows for n in (row.operations.forward, row.operations.backward))
