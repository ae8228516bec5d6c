"""Morphisms: every edit that is offered gives a valid child that keeps what it should of its parent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.network import counts, memory
from aiperf_orch.network.graph import MAX_SIDE, Graph, Layer
from aiperf_orch.network.morphisms import (
    KINDS,
    Edit,
    EditKind,
    MorphismLimits,
    apply,
    apply_all,
    candidates,
    duplicated_channels,
    random_edit,
    skip_stride,
    widened_from,
)
from aiperf_orch.network.seeds import resnet50, small_residual
from aiperf_orch.util.errors import NetworkError

SEED_NUMBERS = st.integers(0, 2**32 - 1)
Grow = Callable[[Graph, int, int], Graph]


def conv(number: int, source: int, filters: int = 4, kernel: int = 3, stride: int = 1) -> Layer:
    return Layer(number, "conv", (source,), filters=filters, kernel=kernel, stride=stride)


def network(*layers: Layer, sides: tuple[int, int] = (8, 8)) -> Graph:
    """The layers between an input, 0, and a head that reads the last of them: 98 and 99."""
    head = (Layer(98, "global_avg_pool", (layers[-1].id,)), Layer(99, "dense", (98,), units=5))
    return Graph((*sides, 3), (Layer(0, "input"), *layers, *head))


def any_edit(graph: Graph, seed: int) -> Edit:
    edit = random_edit(graph, 3, np.random.default_rng(seed))
    assert edit is not None
    return edit


# Every edit


@settings(max_examples=80, deadline=None)
@given(seed=SEED_NUMBERS, steps=st.integers(0, 15), kernel=st.sampled_from([3, 5, 7]))
def test_a_random_edit_gives_a_child_that_keeps_its_parents_layers(
    grow: Grow, seed: int, steps: int, kernel: int
) -> None:
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

    place = {"deeper": edit.at, "skip_add": edit.to, "skip_concat": edit.to}.get(edit.kind)
    for layer in parent.layers:
        now = child.by_id[layer.id]
        moved = tuple(added[-1].id if source == place else source for source in layer.inputs)
        assert now.inputs == moved
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
def test_a_parent_and_its_edits_in_json_give_the_child_again(seed: int, steps: int) -> None:
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
def test_a_random_edit_is_one_of_the_candidates(grow: Grow, seed: int, steps: int) -> None:
    graph = grow(small_residual(width=4), seed, steps)
    edit = any_edit(graph, seed)
    assert type(edit.kind) is str
    assert edit in candidates(graph, edit.kind, 3)


def test_random_edits_reach_every_candidate_and_depend_only_on_the_generator() -> None:
    graph = small_residual(width=4)
    drawn = [any_edit(graph, seed) for seed in range(1500)]
    assert drawn == [any_edit(graph, seed) for seed in range(1500)]
    assert set(drawn) == {edit for kind in KINDS for edit in candidates(graph, kind, 3)}


ENDS_IN_RELU = Graph(
    (8, 8, 3), [Layer(0, "input"), conv(1, 0), Layer(2, "relu", (1,)), conv(3, 2), Layer(4, "relu", (3,))]
)
ENDS_IN_NORM = Graph((8, 8, 3), [Layer(0, "input"), conv(1, 0), Layer(2, "relu", (1,)), Layer(3, "batch_norm", (2,))])
DENSE_INSIDE = network(
    conv(1, 0), Layer(2, "dense", (1,), units=4), Layer(3, "relu", (2,)), Layer(4, "batch_norm", (3,))
)
NEARLY_FULL = network(
    conv(1, 0, filters=MAX_SIDE - 1), Layer(2, "relu", (1,)), Layer(3, "batch_norm", (2,)), conv(4, 3, 9, stride=8)
)


@pytest.mark.parametrize(
    "graph",
    [
        small_residual(width=2),
        apply_all(small_residual(width=2), [Edit("skip_concat", 3, to=12), Edit("deeper", 3, kernel=5)]),
        ENDS_IN_RELU,
        ENDS_IN_NORM,
        DENSE_INSIDE,
        NEARLY_FULL,
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_candidates_are_exactly_the_edits_that_fit(graph: Graph, kind: EditKind) -> None:
    ids = [*graph.by_id, 1000]
    ends = ids if kind.startswith("skip") else [0]
    fitting = []
    for edit in (Edit(kind, at, to=to, kernel=3 if kind == "deeper" else 0) for at in ids for to in ends):
        try:
            child = apply(graph, edit)
        except NetworkError:
            continue
        assert child.classes == graph.classes
        fitting.append(edit)
    assert candidates(graph, kind, 3) == fitting


def test_a_network_that_no_edit_fits_has_no_candidates() -> None:
    graph = Graph((8, 8, 3), [Layer(0, "input"), Layer(1, "dense", (0,), units=5)])
    assert not any(candidates(graph, kind, 3) for kind in KINDS)
    assert random_edit(graph, 3, np.random.default_rng(0)) is None


# What does not fit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit("deeper", 1, kernel=3), "edit deeper needs a relu, not layer 1, a conv"),
        (Edit("deeper", 77, kernel=3), "edit deeper needs a relu, not layer 77, which is not there"),
        (Edit("deeper", 3, kernel=4), "kernel must be odd, not 4"),
        (Edit("deeper", 3), "kernel must be between 1 and .*, not 0"),
        (Edit("wider", 3), "edit wider needs a conv, not layer 3, a relu"),
        (Edit("skip_add", 2, to=5), "edit skip_add needs a relu, not layer 2, a batch_norm"),
        (Edit("skip_add", 3, to=6), "edit skip_add needs a batch_norm, not layer 6, a relu"),
        (Edit("skip_concat", 6, to=2), "edit skip_concat: layer 2 does not stand after layer 6"),
        (Edit("skip_concat", 13, to=2), "edit skip_concat: layer 2 does not stand after layer 13"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_with_a_reason(edit: Edit, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        apply(small_residual(width=4), edit)


def test_nothing_stands_behind_the_output() -> None:
    with pytest.raises(NetworkError, match="layer 4 is the network's output"):
        apply(ENDS_IN_RELU, Edit("deeper", 4, kernel=3))
    with pytest.raises(NetworkError, match="widening layer 3 would change the channels of layer 4"):
        apply(ENDS_IN_RELU, Edit("wider", 3))


def test_a_skip_does_not_lead_to_larger_maps() -> None:
    # a second input-sized branch stands after a ReLU on half the side
    graph = network(
        conv(1, 0, stride=2), Layer(2, "relu", (1,)), conv(3, 0), Layer(4, "batch_norm", (3,)), conv(5, 4, stride=2),
        Layer(6, "add", (2, 5)),
    )  # fmt: skip
    with pytest.raises(NetworkError, match=r"no stride takes \(4, 4, 4\) to the sides of \(8, 8, 4\)"):
        apply(graph, Edit("skip_add", 2, to=4))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "not an edit: None; its kind must be one of deeper, wider, skip_add, skip_concat"),
        ({"kind": "narrower", "at": 3}, "not an edit"),
        ({"kind": ["wider"], "at": 3}, "not an edit"),
        ({"kind": "wider"}, r"edit wider: must have whole numbers for exactly \['at'\]"),
        ({"kind": "wider", "at": True}, "edit wider: must have whole numbers"),
        ({"kind": "wider", "at": 3.0}, "edit wider: must have whole numbers"),
        ({"kind": "wider", "at": 3, "to": 4}, "edit wider: must have whole numbers"),
        ({"kind": "deeper", "at": 3}, r"edit deeper: must have whole numbers for exactly \['at', 'kernel'\]"),
        ({"kind": "skip_add", "at": 3}, r"edit skip_add: must have whole numbers for exactly \['at', 'to'\]"),
        ({"kind": "skip_add", "at": 3, "to": [4] * 10**5}, "edit skip_add: must have whole numbers"),
    ],
)
def test_a_malformed_edit_is_refused_with_a_reason(value: object, message: str) -> None:
    with pytest.raises(NetworkError, match=message) as caught:
        Edit.from_json(value)
    assert len(str(caught.value)) < 400


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_damaged_edit_is_refused_or_read_exactly(
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


# Wider


def widened(graph: Graph, convolution: int) -> dict[int, int]:
    """The filters of every convolution that widening one changes, after it."""
    child = apply(graph, Edit("wider", convolution))
    return {
        layer.id: child.by_id[layer.id].filters
        for layer in graph.layers
        if layer.kind == "conv" and child.by_id[layer.id].filters != layer.filters
    }


def test_wider_stops_at_the_next_convolution() -> None:
    graph = network(conv(1, 0), Layer(2, "batch_norm", (1,)), Layer(3, "relu", (2,)), conv(4, 3), conv(5, 4))
    assert widened(graph, 1) == {1: 8}
    assert widened(graph, 4) == {4: 8}
    assert widened(graph, 5) == {5: 8}  # read by the dense layer through the pooling


def test_wider_runs_through_every_branch_of_an_add() -> None:
    graph = network(
        conv(1, 0),
        Layer(2, "relu", (1,)),
        conv(3, 2),
        Layer(4, "add", (3, 2)),  # ties 1 and 3
        conv(5, 4),
        conv(6, 0),
        Layer(7, "add", (4, 6)),  # an add of an add: ties 6 too
        conv(8, 7),
        Layer(9, "add", (5, 8)),  # ties 5 and 8, not the others
    )
    for tied in ({1, 3, 6}, {5, 8}):
        for convolution in tied:
            assert widened(graph, convolution) == dict.fromkeys(tied, 8)


def test_wider_doubles_one_part_of_a_concatenation() -> None:
    graph = network(conv(1, 0, filters=2), conv(2, 0, filters=3), Layer(3, "concat", (1, 2, 1)), conv(4, 3))
    masks = duplicated_channels(graph, 2)
    assert set(masks) == {2, 3}
    assert masks[3].tolist() == [False] * 2 + [True] * 3 + [False] * 2
    assert widened_from(masks[3]).tolist() == [0, 1, 2, 2, 3, 3, 4, 4, 5, 6]
    assert duplicated_channels(graph, 1)[3].tolist() == [True] * 2 + [False] * 3 + [True] * 2
    assert apply(graph, Edit("wider", 1)).shapes[3] == (8, 8, 11)


def test_wider_ties_channels_across_concatenations_that_are_added() -> None:
    # (1: 2 | 2: 4) + (3: 3 | 4: 3) + 6: channels 0-1 | 2-5 against 0-2 | 3-5
    graph = network(
        conv(1, 0, filters=2),
        conv(2, 0, filters=4),
        conv(3, 0, filters=3),
        conv(4, 0, filters=3),
        Layer(5, "concat", (1, 2)),
        Layer(6, "batch_norm", (5,)),
        Layer(7, "concat", (3, 4)),
        conv(8, 0, filters=6),
        Layer(9, "add", (6, 7, 8)),
    )
    # widening 1 doubles channels 0 and 1 of the sum: two of the three of 3, none of 2 and 4
    assert widened(graph, 1) == {1: 4, 3: 5, 8: 8}
    assert widened(graph, 2) == {2: 8, 3: 4, 4: 6, 8: 10}
    assert widened(graph, 3) == {1: 4, 2: 5, 3: 6, 8: 9}
    assert widened(graph, 4) == {2: 7, 4: 6, 8: 9}
    assert widened(graph, 8) == {1: 4, 2: 8, 3: 6, 4: 6, 8: 12}


def test_wider_follows_a_channel_that_a_layer_has_twice() -> None:
    # the sum ties channel 0 of 1 to channel 0 of 2, and channel 0 of 1 (again) to channel 1 of 2
    graph = network(conv(1, 0, filters=1), conv(2, 0, filters=2), Layer(3, "concat", (1, 1)), Layer(4, "add", (3, 2)))
    assert widened(graph, 1) == {1: 2, 2: 4}
    assert widened(graph, 2) == {1: 2, 2: 4}


@pytest.mark.parametrize(
    ("graph", "convolution"),
    [
        (network(conv(1, 0, filters=3), Layer(2, "add", (1, 0))), 1),
        (network(conv(1, 0, filters=2), conv(2, 0, filters=1), Layer(3, "concat", (1, 2)), Layer(4, "add", (0, 3))), 2),
        (network(conv(1, 0, stride=8), Layer(2, "dense", (1,), units=4), Layer(3, "add", (1, 2))), 1),
        (NEARLY_FULL, 1),
    ],
)
def test_what_is_tied_to_input_or_output_or_is_full_cannot_be_widened(graph: Graph, convolution: int) -> None:
    with pytest.raises(NetworkError, match=f"widening layer {convolution} "):
        apply(graph, Edit("wider", convolution))


def tied_channels(graph: Graph, convolution: int) -> dict[int, list[bool]]:
    """The masks of `duplicated_channels` by another way: classes of (layer, channel) that an equality joins."""
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


def test_a_copy_stands_behind_its_channel() -> None:
    assert widened_from(np.array([True, False, True])).tolist() == [0, 0, 1, 2, 2]


# Strides of skips


@pytest.mark.parametrize(
    ("sides", "stride", "expected"), [((8, 8), 2, 2), ((7, 7), 2, 2), ((7, 7), 7, 7), ((4, 6), 3, 3), ((6, 4), 3, 3)]
)
def test_the_stride_of_a_skip_fits_both_sides(sides: tuple[int, int], stride: int, expected: int) -> None:
    layers = (conv(1, 0), Layer(2, "relu", (1,)), Layer(3, "max_pool", (2,), kernel=3, stride=stride))
    graph = network(*layers, Layer(4, "batch_norm", (3,)), sides=sides)
    assert skip_stride(graph, 2, 4) == expected
    for kind in ("skip_add", "skip_concat"):
        assert apply(graph, Edit(kind, 2, to=4)).shapes[4] == graph.shapes[4]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_a_stride_is_found_whenever_there_is_one(height: int, width: int, first: int, second: int) -> None:
    layers = (Layer(1, "max_pool", (0,), kernel=1, stride=first), Layer(2, "max_pool", (0,), kernel=1, stride=second))
    tails = (Layer(3, "global_avg_pool", (1,)), Layer(4, "global_avg_pool", (2,)), Layer(5, "add", (3, 4)))
    graph = Graph((height, width, 3), (Layer(0, "input"), *layers, *tails))
    (tall, wide, _), (low, narrow, _) = graph.shapes[1], graph.shapes[2]
    fitting = [stride for stride in range(1, 13) if (-(-tall // stride), -(-wide // stride)) == (low, narrow)]
    assert (skip_stride(graph, 1, 2) in fitting) if fitting else (skip_stride(graph, 1, 2) is None)


# MorphismLimits and long chains


def test_limits_admit_up_to_and_including_the_limit() -> None:
    graph = small_residual()
    depth, parameters, operations = graph.depth, graph.parameters, counts.count(graph).train
    assert MorphismLimits().admit(graph)
    assert MorphismLimits(depth, parameters, operations).admit(graph)
    assert not MorphismLimits(max_layers=depth - 1).admit(graph)
    assert not MorphismLimits(max_parameters=parameters - 1).admit(graph)
    assert not MorphismLimits(max_operations=operations - 1).admit(graph)


@pytest.mark.parametrize("seed", [small_residual(width=8), resnet50()])
def test_a_chain_to_300_layers_stays_valid(seed: Graph) -> None:
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


def test_widening_without_end_is_refused_not_overflowed() -> None:
    graph = network(conv(1, 0, filters=1), Layer(2, "batch_norm", (1,)))
    while edits := candidates(graph, "wider", 3):
        graph = apply(graph, edits[0])
    assert graph.by_id[1].filters == MAX_SIDE
    with pytest.raises(NetworkError, match=f"more than {MAX_SIDE} channels"):
        apply(graph, Edit("wider", 1))


@settings(max_examples=4, deadline=None)
@given(seed=SEED_NUMBERS)
def test_a_long_chain_of_children_is_what_making_each_anew_would_give(seed: int) -> None:
    """Shapes, sums and the hash follow the edits exactly, up to 300 layers."""
    generator, limits = np.random.default_rng(seed), MorphismLimits(max_parameters=10**9)
    graph = small_residual(width=4)
    graph.parameters, counts.count(graph), memory.estimate(graph, "fp32")  # children then carry them over
    for _ in range(1000):
        edit = random_edit(graph, int(generator.choice([3, 5, 7])), generator)
        assert edit is not None
        child = apply(graph, edit)
        if limits.admit(child):
            graph = child
        if graph.depth >= 298:
            break
    anew = Graph(graph.input_shape, graph.layers)
    assert graph.shapes == anew.shapes
    assert graph.parameters == anew.parameters
    assert counts.count(graph) == counts.count(anew)
    assert memory.estimate(graph, "fp32") == memory.estimate(anew, "fp32")
    assert graph.hash == anew.hash
    assert graph.consumers == anew.consumers
