"""Morphisms: candidates, refused edits, tied channels, strides of skips, limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

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
from aiperf_orch.network.seeds import small_residual
from aiperf_orch.util.errors import NetworkError
from network_fixtures import conv, network

pytestmark = pytest.mark.unit


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
def test_candidates_are_exactly_the_edits_that_fit(graph: Graph, kind: EditKind) -> None:
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


def test_network_that_no_edit_fits_has_no_candidates() -> None:
    graph = Graph((8, 8, 3), [Layer(0, "input"), Layer(1, "dense", (0,), units=5)])
    assert not any(candidates(graph, kind, 3) for kind in KINDS)
    assert random_edit(graph, 3, np.random.default_rng(0)) is None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit("deeper", 1, kernel=3), "edit deeper needs a relu, not layer 1, a conv"),
        (Edit("deeper", 77, kernel=3), "edit deeper needs a relu, not layer 77, which does not exist"),
        (Edit("deeper", 3, kernel=4), "kernel must be odd, not 4"),
        (Edit("deeper", 3), "kernel must be between 1 and .*, not 0"),
        (Edit("wider", 3), "edit wider needs a conv, not layer 3, a relu"),
        (Edit("skip_add", 2, to=5), "edit skip_add needs a relu, not layer 2, a batch_norm"),
        (Edit("skip_add", 3, to=6), "edit skip_add needs a batch_norm, not layer 6, a relu"),
        (Edit("skip_concat", 6, to=2), "edit skip_concat: layer 2 does not follow layer 6"),
        (Edit("skip_concat", 13, to=2), "edit skip_concat: layer 2 does not follow layer 13"),
    ],
)
def test_edit_that_does_not_fit_is_refused_with_a_reason(edit: Edit, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        apply(small_residual(width=4), edit)


def test_no_layer_can_follow_the_output() -> None:
    with pytest.raises(NetworkError, match="layer 4 is the output of the network"):
        apply(ENDS_IN_RELU, Edit("deeper", 4, kernel=3))
    with pytest.raises(NetworkError, match="widening layer 3 would change the channels of layer 4"):
        apply(ENDS_IN_RELU, Edit("wider", 3))


def test_skip_to_larger_maps_is_refused() -> None:
    # a branch of the size of the input follows a ReLU of half that side
    graph = network(
        conv(1, 0, stride=2), Layer(2, "relu", (1,)), conv(3, 0), Layer(4, "batch_norm", (3,)), conv(5, 4, stride=2),
        Layer(6, "add", (2, 5)),
    )  # fmt: skip
    with pytest.raises(NetworkError, match=r"no stride reduces \(4, 4, 4\) to the sides of \(8, 8, 4\)"):
        apply(graph, Edit("skip_add", 2, to=4))
    assert not candidates(graph, "skip_add", 3)
    assert not candidates(graph, "skip_concat", 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "not an edit: None; its kind must be one of deeper, wider, skip_add, skip_concat"),
        ({"kind": "narrower", "at": 3}, "not an edit"),
        ({"kind": ["wider"], "at": 3}, "not an edit"),
        ({"kind": "wider"}, r"edit wider: must have integers for exactly \['at'\]"),
        ({"kind": "wider", "at": True}, "edit wider: must have integers"),
        ({"kind": "wider", "at": 3.0}, "edit wider: must have integers"),
        ({"kind": "wider", "at": 3, "to": 4}, "edit wider: must have integers"),
        ({"kind": "deeper", "at": 3}, r"edit deeper: must have integers for exactly \['at', 'kernel'\]"),
        ({"kind": "skip_add", "at": 3}, r"edit skip_add: must have integers for exactly \['at', 'to'\]"),
        ({"kind": "skip_add", "at": 3, "to": [4] * 10**5}, "edit skip_add: must have integers"),
    ],
)
def test_malformed_edit_is_refused_with_a_reason(value: object, message: str) -> None:
    with pytest.raises(NetworkError, match=message) as caught:
        Edit.from_json(value)
    assert len(str(caught.value)) < 400


def widened(graph: Graph, convolution: int) -> dict[int, int]:
    """New filters of the convolutions that change when `convolution` is widened."""
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


def test_wider_follows_every_branch_of_an_add() -> None:
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


def test_wider_follows_a_channel_that_is_concatenated_twice() -> None:
    # the add ties channel 0 of layer 1 to both channels of layer 2
    graph = network(conv(1, 0, filters=1), conv(2, 0, filters=2), Layer(3, "concat", (1, 1)), Layer(4, "add", (3, 2)))
    assert widened(graph, 1) == {1: 2, 2: 4}
    assert widened(graph, 2) == {1: 2, 2: 4}


def test_wider_revisits_a_layer_whose_doubled_channels_grow() -> None:
    # (1: 2 | 1: 2) + (2: 1 | 3: 3): widening 2 doubles channel 0 of 1, which is also channel 2 of the sum
    graph = network(
        conv(1, 0, filters=2),
        conv(2, 0, filters=1),
        conv(3, 0, filters=3),
        Layer(4, "concat", (1, 1)),
        Layer(5, "concat", (2, 3)),
        Layer(6, "add", (4, 5)),
    )
    assert widened(graph, 2) == {1: 3, 2: 2, 3: 4}
    assert duplicated_channels(graph, 2)[6].tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("graph", "convolution"),
    [
        (network(conv(1, 0, filters=3), Layer(2, "add", (1, 0))), 1),
        (network(conv(1, 0, filters=2), conv(2, 0, filters=1), Layer(3, "concat", (1, 2)), Layer(4, "add", (0, 3))), 2),
        (network(conv(1, 0, stride=8), Layer(2, "dense", (1,), units=4), Layer(3, "add", (1, 2))), 1),
        (NEARLY_FULL, 1),
    ],
)
def test_channels_tied_to_input_or_output_cannot_be_widened(graph: Graph, convolution: int) -> None:
    with pytest.raises(NetworkError, match=f"widening layer {convolution} "):
        apply(graph, Edit("wider", convolution))


def test_copy_follows_its_channel() -> None:
    assert widened_from(np.array([True, False, True])).tolist() == [0, 0, 1, 2, 2]


@pytest.mark.parametrize(
    ("sides", "stride", "expected"), [((8, 8), 2, 2), ((7, 7), 2, 2), ((7, 7), 7, 7), ((4, 6), 3, 3), ((6, 4), 3, 3)]
)
def test_stride_of_a_skip_fits_both_sides(sides: tuple[int, int], stride: int, expected: int) -> None:
    layers = (conv(1, 0), Layer(2, "relu", (1,)), Layer(3, "max_pool", (2,), kernel=3, stride=stride))
    graph = network(*layers, Layer(4, "batch_norm", (3,)), sides=sides)
    assert skip_stride(graph, 2, 4) == expected
    for kind in ("skip_add", "skip_concat"):
        assert apply(graph, Edit(kind, 2, to=4)).shapes[4] == graph.shapes[4]


def test_limits_admit_up_to_and_including_the_limit() -> None:
    graph = small_residual()
    depth, parameters, operations = graph.depth, graph.parameters, counts.count(graph).train
    assert MorphismLimits().admit(graph)
    assert MorphismLimits(depth, parameters, operations).admit(graph)
    assert not MorphismLimits(max_layers=depth - 1).admit(graph)
    assert not MorphismLimits(max_parameters=parameters - 1).admit(graph)
    assert not MorphismLimits(max_operations=operations - 1).admit(graph)


def test_widening_beyond_the_limit_is_refused() -> None:
    graph = network(conv(1, 0, filters=1), Layer(2, "batch_norm", (1,)))
    while edits := candidates(graph, "wider", 3):
        graph = apply(graph, edits[0])
    assert graph.by_id[1].filters == MAX_SIDE
    with pytest.raises(NetworkError, match=f"more than {MAX_SIDE} channels"):
        apply(graph, Edit("wider", 1))


# Children


RESIDUAL = network(
    conv(1, 0),
    Layer(2, "batch_norm", (1,)),
    Layer(3, "relu", (2,)),
    conv(4, 3, stride=2),
    Layer(5, "batch_norm", (4,)),
    conv(6, 3),
    Layer(7, "batch_norm", (6,)),
    Layer(8, "add", (7, 2, 7)),
    conv(9, 8, stride=2),
    Layer(10, "add", (5, 9)),
)


@pytest.mark.parametrize(
    ("edit", "after", "new", "readers"),
    [
        (
            Edit("deeper", 3, kernel=5),
            3,
            [conv(100, 3, kernel=5), Layer(101, "batch_norm", (100,)), Layer(102, "relu", (101,))],
            {4: (102,), 6: (102,)},
        ),
        (
            Edit("skip_add", 3, to=7),
            7,
            [conv(100, 3, kernel=1), Layer(101, "batch_norm", (100,)), Layer(102, "add", (7, 101))],
            {8: (102, 2, 102)},
        ),
        (
            Edit("skip_add", 3, to=5),
            5,
            [conv(100, 3, kernel=1, stride=2), Layer(101, "batch_norm", (100,)), Layer(102, "add", (5, 101))],
            {10: (102, 9)},
        ),
        (
            Edit("skip_concat", 3, to=7),
            7,
            [Layer(100, "concat", (7, 3)), conv(101, 100, kernel=1), Layer(102, "batch_norm", (101,))],
            {8: (102, 2, 102)},
        ),
        (
            Edit("skip_concat", 3, to=5),
            5,
            [
                conv(100, 3, kernel=1, stride=2),
                Layer(101, "batch_norm", (100,)),
                Layer(102, "concat", (5, 101)),
                conv(103, 102, kernel=1),
                Layer(104, "batch_norm", (103,)),
            ],
            {10: (104, 9)},
        ),
    ],
    ids=["deeper", "skip_add", "skip_add with stride", "skip_concat", "skip_concat with stride"],
)
def test_layers_that_an_edit_adds(
    edit: Edit, after: int, new: list[Layer], readers: dict[int, tuple[int, ...]]
) -> None:
    expected = [replace(layer, inputs=readers.get(layer.id, layer.inputs)) for layer in RESIDUAL.layers]
    position = RESIDUAL.position[after] + 1
    child = apply(RESIDUAL, edit)
    assert list(child.layers) == [*expected[:position], *new, *expected[position:]]
    assert child == Graph(RESIDUAL.input_shape, child.layers)
    assert child.shapes == Graph(RESIDUAL.input_shape, child.layers).shapes


def test_layers_after_wider() -> None:
    child = apply(RESIDUAL, Edit("wider", 6))  # an add ties layers 1 and 6
    expected = [replace(layer, filters=8) if layer.id in (1, 6) else layer for layer in RESIDUAL.layers]
    assert list(child.layers) == expected
    assert child.shapes == Graph(RESIDUAL.input_shape, expected).shapes


def test_candidates_of_a_small_network() -> None:
    assert candidates(RESIDUAL, "deeper", 7) == [Edit("deeper", 3, kernel=7)]
    assert candidates(RESIDUAL, "wider", 7) == [Edit("wider", at) for at in (1, 4, 6, 9)]
    assert candidates(RESIDUAL, "skip_add", 7) == [Edit("skip_add", 3, to=to) for to in (5, 7)]
    assert candidates(RESIDUAL, "skip_concat", 7) == [Edit("skip_concat", 3, to=to) for to in (5, 7)]


@pytest.mark.parametrize(
    ("channels", "kinds"), [(MAX_SIDE - 4, ["skip_add", "skip_concat"]), (MAX_SIDE - 3, ["skip_add"])]
)
def test_skips_to_a_nearly_full_layer(channels: int, kinds: list[str]) -> None:
    graph = network(
        conv(1, 0),
        Layer(2, "relu", (1,)),
        conv(3, 2, filters=channels, kernel=1),
        Layer(4, "batch_norm", (3,)),
        conv(5, 4),
    )
    assert [edit.kind for kind in KINDS for edit in candidates(graph, kind, 3) if edit.to == 4] == kinds


@pytest.mark.parametrize(
    ("sides", "first", "second", "expected"),
    [
        ((12, 9), 1, 4, 4),
        ((12, 9), 2, 4, 2),
        ((1, 7), 2, 3, None),  # 1x4 to 1x3: only the height fits
        ((4, 3), 2, 3, None),  # 2x2 to 2x1: only the width fits
        ((7, 7), 2, 3, None),  # 4x4 to 3x3
        ((4, 4), 2, 1, None),  # to larger maps
    ],
)
def test_stride_between_branches(sides: tuple[int, int], first: int, second: int, expected: int | None) -> None:
    layers = [
        Layer(0, "input"),
        Layer(1, "max_pool", (0,), kernel=1, stride=first),
        Layer(2, "max_pool", (0,), kernel=1, stride=second),
        Layer(3, "global_avg_pool", (1,)),
        Layer(4, "global_avg_pool", (2,)),
        Layer(5, "add", (3, 4)),
    ]
    assert skip_stride(Graph((*sides, 3), layers), 1, 2) == expected


def test_random_edit_is_one_of_the_candidates() -> None:
    fitting = {edit for kind in KINDS for edit in candidates(RESIDUAL, kind, 3)}
    drawn = {random_edit(RESIDUAL, 3, np.random.default_rng(seed)) for seed in range(100)}
    assert drawn == fitting


# JSON of edits


@pytest.mark.parametrize(
    ("edit", "value"),
    [
        (Edit("deeper", 3, kernel=5), {"kind": "deeper", "at": 3, "kernel": 5}),
        (Edit("wider", 4), {"kind": "wider", "at": 4}),
        (Edit("skip_add", 3, to=12), {"kind": "skip_add", "at": 3, "to": 12}),
        (Edit("skip_concat", 3, to=15), {"kind": "skip_concat", "at": 3, "to": 15}),
    ],
)
def test_edit_round_trips_through_json(edit: Edit, value: dict[str, object]) -> None:
    assert edit.to_json() == value
    assert Edit.from_json(value) == edit


# Messages of limits


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (MorphismLimits(max_layers=3), "max_layers: 12 layers exceed 3"),
        (MorphismLimits(max_parameters=10), "max_parameters: 589 parameters exceed 10"),
        (MorphismLimits(max_operations=10), "max_operations: 116954 operations to train an image exceed 10"),
        (
            MorphismLimits(max_memory=2**28, batch=100_000),
            "max_memory: 0.409 GiB, the estimate for a batch of 100000, exceed 0.250 GiB",
        ),
    ],
)
def test_message_of_an_exceeded_limit(limits: MorphismLimits, message: str) -> None:
    assert limits.exceeded(RESIDUAL) == message


@pytest.mark.parametrize(("batch", "precision"), [(1, "fp32"), (7, "bf16")])
def test_memory_limit_admits_the_estimate(batch: int, precision: str) -> None:
    needed = memory.estimate(RESIDUAL, precision).at(batch)
    assert MorphismLimits(max_memory=needed, batch=batch, precision=precision).admit(RESIDUAL)
    assert not MorphismLimits(max_memory=needed - 1, batch=batch, precision=precision).admit(RESIDUAL)


def test_default_limits() -> None:
    assert MorphismLimits() == MorphismLimits(300, None, None, None, 1, "fp32")
