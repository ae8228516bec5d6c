"""Generated morphisms: children are valid and keep what they must of their parents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.network import counts, memory
from aiperf_orch.network.graph import Graph, Layer
from aiperf_orch.network.morphisms import (
    KINDS,
    Edit,
    MorphismLimits,
    apply,
    apply_all,
    candidates,
    duplicated_channels,
    random_edit,
    skip_stride,
)
from aiperf_orch.network.seeds import resnet50, small_residual
from aiperf_orch.util.errors import NetworkError
from network_fixtures import SEED_NUMBERS, Grow


def any_edit(graph: Graph, seed: int) -> Edit:
    edit = random_edit(graph, 3, np.random.default_rng(seed))
    assert edit is not None
    return edit


@settings(max_examples=80, deadline=None)
@given(seed=SEED_NUMBERS, steps=st.integers(0, 15), kernel=st.sampled_from([3, 5, 7]))
def test_random_edit_keeps_the_layers_of_the_parent(grow: Grow, seed: int, steps: int, kernel: int) -> None:
    parent = grow(small_residual(width=4), seed, steps)
    edit = random_edit(parent, kernel, np.random.default_rng(seed))
    assert edit is not None
    child = apply(parent, edit)

    assert child.input_shape == parent.input_shape
    assert child.classes == parent.classes
    assert child.output == parent.output
    kept = [layer.id for layer in child.layers if layer.id in parent.by_id]
    assert kept == [layer.id for layer in parent.layers]
    added = [layer for layer in child.layers if layer.id not in parent.by_id]
    largest = max(parent.by_id)
    assert [layer.id for layer in added] == list(range(largest + 1, largest + 1 + len(added)))

    target = {"deeper": edit.at, "skip_add": edit.to, "skip_concat": edit.to}.get(edit.kind)
    for layer in parent.layers:
        now = child.by_id[layer.id]
        inputs = tuple(added[-1].id if source == target else source for source in layer.inputs)
        assert now.inputs == inputs
        if edit.kind == "wider":
            assert (now.kind, now.kernel, now.stride, now.units) == (
                layer.kind,
                layer.kernel,
                layer.stride,
                layer.units,
            )
        else:
            assert now.attributes() == layer.attributes()
            assert child.shapes[layer.id] == parent.shapes[layer.id]

    kinds = [layer.kind for layer in added]
    if edit.kind == "deeper":
        assert kinds == ["conv", "batch_norm", "relu"]
        assert added[0].kernel == kernel
        assert {child.shapes[layer.id] for layer in added} == {parent.shapes[edit.at]}
    elif edit.kind == "skip_add":
        assert kinds == ["conv", "batch_norm", "add"]
        assert added[0].kernel == 1
        assert added[-1].inputs == (edit.to, added[1].id)
    elif edit.kind == "skip_concat":
        projection = [] if parent.shapes[edit.at][:2] == parent.shapes[edit.to][:2] else ["conv", "batch_norm"]
        assert kinds == [*projection, "concat", "conv", "batch_norm"]
        assert {layer.kernel for layer in added if layer.kind == "conv"} == {1}
        assert child.shapes[added[-1].id] == parent.shapes[edit.to]
    else:
        assert kinds == []
        assert child.by_id[edit.at].filters == 2 * parent.by_id[edit.at].filters
    assert counts.count(child).train > counts.count(parent).train
    assert child.parameters > parent.parameters


@settings(max_examples=30, deadline=None)
@given(seed=SEED_NUMBERS, steps=st.integers(1, 10))
def test_parent_and_edits_from_json_reproduce_the_child(seed: int, steps: int) -> None:
    parent = small_residual(width=4)
    child, edits = parent, []
    for step in range(steps):
        edits.append(any_edit(child, seed + step))
        child = apply(child, edits[-1])
    stored = json.loads(json.dumps({"parent": parent.to_json(), "edits": [edit.to_json() for edit in edits]}))
    read = [Edit.from_json(edit) for edit in stored["edits"]]
    assert read == edits
    assert apply_all(Graph.from_json(stored["parent"]), read) == child


@settings(max_examples=40, deadline=None)
@given(seed=SEED_NUMBERS, steps=st.integers(0, 12))
def test_random_edit_is_a_candidate(grow: Grow, seed: int, steps: int) -> None:
    graph = grow(small_residual(width=4), seed, steps)
    edit = any_edit(graph, seed)
    assert type(edit.kind) is str
    assert edit in candidates(graph, edit.kind, 3)


def test_random_edits_reach_every_candidate_and_are_reproducible() -> None:
    graph = small_residual(width=4)
    drawn = [any_edit(graph, seed) for seed in range(1500)]
    assert drawn == [any_edit(graph, seed) for seed in range(1500)]
    assert set(drawn) == {edit for kind in KINDS for edit in candidates(graph, kind, 3)}


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_damaged_edit_is_refused_or_read_exactly(
    damage: Callable[[Any, st.DataObject], Any], data: st.DataObject
) -> None:
    value = damage(
        data.draw(st.sampled_from([edit.to_json() for edit in (Edit("wider", 1), Edit("skip_add", 3, to=5))])), data
    )
    try:
        edit = Edit.from_json(value)
    except NetworkError:
        return
    assert json.dumps(edit.to_json(), sort_keys=True) == json.dumps(value, sort_keys=True)


def tied_channels(graph: Graph, convolution: int) -> dict[int, list[bool]]:
    """The masks of `duplicated_channels` computed by union-find over (layer, channel)."""
    parents: dict[tuple[int, int], tuple[int, int]] = {}

    def find(channel: tuple[int, int]) -> tuple[int, int]:
        while parents.get(channel, channel) != channel:
            channel = parents[channel]
        return channel

    for layer in graph.layers[1:]:
        offset = 0
        for source in layer.inputs:
            channels = graph.shapes[source][2]
            if layer.kind not in ("conv", "dense"):
                for channel in range(channels):
                    parents[find((layer.id, offset + channel))] = find((source, channel))
            offset += channels if layer.kind == "concat" else 0
    doubled = {find((convolution, channel)) for channel in range(graph.shapes[convolution][2])}
    masks = {
        layer.id: [find((layer.id, channel)) in doubled for channel in range(graph.shapes[layer.id][2])]
        for layer in graph.layers
    }
    return {layer_id: mask for layer_id, mask in masks.items() if any(mask)}


@settings(max_examples=40, deadline=None)
@given(seed=SEED_NUMBERS, steps=st.integers(0, 12))
def test_wider_doubles_exactly_the_tied_channels(grow: Grow, seed: int, steps: int) -> None:
    graph = grow(small_residual(width=2), seed, steps)
    for edit in candidates(graph, "wider", 3)[:6]:
        masks = duplicated_channels(graph, edit.at)
        assert {layer_id: mask.tolist() for layer_id, mask in masks.items()} == tied_channels(graph, edit.at)
        child = apply(graph, edit)
        for layer in graph.layers:
            height, width, channels = graph.shapes[layer.id]
            doubled = int(masks[layer.id].sum()) if layer.id in masks else 0
            assert child.shapes[layer.id] == (height, width, channels + doubled)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_skip_stride_finds_a_stride_if_there_is_one(height: int, width: int, first: int, second: int) -> None:
    layers = (Layer(1, "max_pool", (0,), kernel=1, stride=first), Layer(2, "max_pool", (0,), kernel=1, stride=second))
    tails = (Layer(3, "global_avg_pool", (1,)), Layer(4, "global_avg_pool", (2,)), Layer(5, "add", (3, 4)))
    graph = Graph((height, width, 3), (Layer(0, "input"), *layers, *tails))
    (tall, wide, _), (low, narrow, _) = graph.shapes[1], graph.shapes[2]
    fitting = [stride for stride in range(1, 13) if (-(-tall // stride), -(-wide // stride)) == (low, narrow)]
    assert (skip_stride(graph, 1, 2) in fitting) if fitting else (skip_stride(graph, 1, 2) is None)


@pytest.mark.parametrize("seed", [small_residual(width=8), resnet50()])
def test_chain_of_edits_to_300_layers_stays_valid(seed: Graph) -> None:
    generator = np.random.default_rng(7)
    limits = MorphismLimits(max_parameters=10**9)
    graph, edits, refused = seed, [], 0
    while graph.depth < 298 and refused < 1000:
        edit = random_edit(graph, 3, generator)
        assert edit is not None
        child = apply(graph, edit)
        if limits.admit(child):
            graph = child
            edits.append(edit)
        else:
            refused += 1
    assert 298 <= graph.depth <= 300
    assert graph.classes == seed.classes
    assert apply_all(seed, edits) == graph
    assert Graph.from_json(graph.to_json()).hash == graph.hash
    for kind in KINDS:
        assert candidates(graph, kind, 3)


@settings(max_examples=4, deadline=None)
@given(seed=SEED_NUMBERS)
def test_incremental_children_equal_graphs_built_from_all_layers(seed: int) -> None:
    """Shapes, sums and the hash of a chain of up to 300 layers."""
    generator, limits = np.random.default_rng(seed), MorphismLimits(max_parameters=10**9)
    graph = small_residual(width=4)
    graph.parameters, counts.count(graph), memory.estimate(graph, "fp32")  # cached sums are updated by children
    for _ in range(1000):
        edit = random_edit(graph, int(generator.choice([3, 5, 7])), generator)
        assert edit is not None
        child = apply(graph, edit)
        if limits.admit(child):
            graph = child
        if graph.depth >= 298:
            break
    rebuilt = Graph(graph.input_shape, graph.layers)
    assert graph.shapes == rebuilt.shapes
    assert graph.parameters == rebuilt.parameters
    assert counts.count(graph) == counts.count(rebuilt)
    assert memory.estimate(graph, "fp32") == memory.estimate(rebuilt, "fp32")
    assert graph.hash == rebuilt.hash
    assert graph.consumers == rebuilt.consumers
