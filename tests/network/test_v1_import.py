"""AIPerf v1.0 graphs: exact counts, and malformed files refused with the layer or node."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.network.counts import count, count_by_layer
from aiperf_orch.network.v1_import import from_v1, is_v1
from aiperf_orch.util.errors import NetworkError

pytestmark = pytest.mark.unit

DATA = Path(__file__).parent / "data"
RESIDUAL = json.loads((DATA / "v1_residual.json").read_text())
MORPHED = json.loads((DATA / "v1_morphed.json").read_text())


def convolution(kernel: int, channels: int, filters: int, outputs: int, *, first: bool = False) -> tuple[int, int]:
    """Forward and backward operations by the counting convention."""
    weights = kernel**2 * channels * filters
    return 2 * weights * outputs, weights * ((2 if first else 4) * outputs + 2)


def dense_and_softmax(channels: int, classes: int) -> tuple[int, int]:
    softmax = 8 * classes + (classes - 1) + 4 * classes
    return 2 * channels * classes + softmax, 4 * channels * classes + 2 * (channels + 1) * classes


# by v1.0 layer: maps are 9 x 7, after the pooling 5 x 4, after the strided convolutions 3 x 2
RESIDUAL_COUNTS = {
    0: convolution(3, 3, 4, 63, first=True),
    1: (7 * 63 * 4, 36),
    2: (63 * 4, 0),
    3: (63 * 4 * 9 // 4, 0),
    4: convolution(1, 4, 6, 6),
    5: (7 * 6 * 6, 36),
    6: (6 * 6, 0),
    7: convolution(3, 6, 8, 6),
    8: (7 * 6 * 8, 36),
    9: convolution(1, 4, 8, 6),
    10: (7 * 6 * 8, 36),
    11: (6 * 8, 0),
    12: (6 * 8, 0),
    13: (0, 0),
    14: convolution(1, 14, 8, 6),
    15: (7 * 6 * 8, 36),
    16: (6 * 8, 0),
    18: ((6 - 1) * 8 + 4 * 8, 0),
    19: dense_and_softmax(8, 5),
}
# maps are 6 x 6, after the strided convolutions 3 x 3; the padding stored for the 5 x 5 convolution is ignored
MORPHED_COUNTS = {
    0: convolution(3, 1, 4, 36, first=True),
    1: (7 * 36 * 4, 36),
    2: (36 * 4, 0),
    3: convolution(3, 4, 8, 9),
    4: (7 * 9 * 8, 36),
    5: (9 * 8, 0),
    6: ((9 - 1) * 8 + 4 * 8, 0),
    7: dense_and_softmax(8, 3),
    8: convolution(1, 4, 8, 9),
    9: (7 * 9 * 8, 36),
    10: (9 * 8, 0),
    11: convolution(5, 4, 4, 36),
    12: (7 * 36 * 4, 36),
    13: (36 * 4, 0),
}


@pytest.mark.parametrize(("value", "expected"), [(RESIDUAL, RESIDUAL_COUNTS), (MORPHED, MORPHED_COUNTS)])
def test_each_layer_of_a_v1_graph_is_counted_exactly(value: Any, expected: dict[int, tuple[int, int]]) -> None:
    graph = from_v1(value)
    found: dict[int, tuple[int, int]] = {}
    for row in count_by_layer(graph):  # a dense layer's softmax is a second row
        forward, backward = found.get(row.id, (0, 0))
        found[row.id] = (forward + row.operations.forward, backward + row.operations.backward)
    assert found == expected
    total = count(graph)
    assert total.forward == sum(forward for forward, _ in expected.values())
    assert total.train == sum(forward + backward for forward, backward in expected.values())


def test_layers_keep_the_ids_of_the_v1_graph() -> None:
    graph = from_v1(RESIDUAL)
    assert sorted(graph.by_id) == [*range(17), 18, 19, 20]  # 17 is dropout; 20 the input
    assert graph.layers[0].id == 20
    assert graph.by_id[18].inputs == (16,)  # through the dropout
    assert graph.by_id[13].inputs == (12, 6)
    assert graph.by_id[9].stride == 2


def test_layers_that_change_no_element_change_no_count() -> None:
    value = copy.deepcopy(RESIDUAL)
    value["layer_list"][19][1][1] = 22  # the dense layer reads a flattened node after another dropout
    value["layer_list"] += [
        [20, ["StubDropout1d", 19, 21, 0.5]],
        [21, ["StubFlatten", 21, 22]],
        [22, ["StubSoftmax", 20, 23]],
    ]
    assert from_v1(value).hash == from_v1(RESIDUAL).hash


def test_dense_layer_after_flattening_reads_all_elements() -> None:
    layers = [[0, ["StubFlatten", 0, 1]], [1, ["StubDense", 1, 2, 24, 5]]]
    nodes = [[0, [2, 3, 4]], [1, [24]], [2, [5]]]
    assert count(from_v1({"layer_list": layers, "node_list": nodes})).forward == sum(dense_and_softmax(24, 5)[:1])


def test_shapes_are_optional() -> None:
    value = RESIDUAL | {"node_list": [[0, [9, 7, 3]], [1, None]]}
    assert from_v1(value) == from_v1(RESIDUAL)


def test_detection_of_v1_graphs() -> None:
    assert is_v1(RESIDUAL)
    others: list[Any] = [None, [], {}, {"layer_list": []}, from_v1(RESIDUAL).to_json()]
    assert not any(map(is_v1, others))


def with_layer(index: int, *description: Any) -> dict[str, Any]:
    value: dict[str, Any] = copy.deepcopy(RESIDUAL)
    value["layer_list"][index][1] = list(description)
    return value


def with_node(index: int, shape: Any) -> dict[str, Any]:
    value: dict[str, Any] = copy.deepcopy(RESIDUAL)
    value["node_list"][index][1] = shape
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "not a v1.0 graph: an object with layer_list and node_list"),
        ({"layer_list": []}, "not a v1.0 graph"),
        (RESIDUAL | {"layer_list": {}}, "layer_list must be a list"),
        (RESIDUAL | {"node_list": 7}, "node_list must be a list"),
        (RESIDUAL | {"node_list": []}, r"node 0 must be the network's input"),
        (RESIDUAL | {"layer_list": []}, "v1.0 graph: a network needs layers after its input"),
        (RESIDUAL | {"node_list": [[0, [9, 7, 3]], [1]]}, r"v1.0 node \[1\] is malformed"),
        (RESIDUAL | {"layer_list": [[0]]}, r"v1.0 layer \[0\] is malformed"),
        (RESIDUAL | {"layer_list": [7]}, "v1.0 layer 7 is malformed"),
        (with_layer(6), r"v1.0 layer \[6, \[\]\] is malformed"),
        (with_layer(6, "StubReLU", "6", 7), r"v1.0 layer \[6, .* is malformed"),
        (with_layer(6, "StubReLU", 6, [7]), r"v1.0 layer \[6, .* is malformed"),
        (with_layer(6, ["StubReLU"], 6, 7), "v1.0 layer 6 is malformed"),
        (with_layer(6, "StubReLU", [], 7), "v1.0 layer 6 is malformed"),
        (with_layer(6, "StubReLU", [6, 5], 7), r"v1.0 graph: layer 6 \(relu\) has 2 inputs"),
        (with_layer(6, "StubTanh", 6, 7), "v1.0 layer 6: unknown type 'StubTanh'"),
        (
            with_layer(6, "StubReLU", 99, 7),
            r"v1.0 layer 6 \(StubReLU\) reads a node that is not the output of a preceding layer",
        ),
        (with_layer(6, "StubReLU", 8, 7), r"v1.0 layer 6 \(StubReLU\) reads a node that is not the output"),  # a cycle
        (
            with_layer(10, "StubBatchNormalization2d", 10, 9, 8),
            r"v1.0 layer 10 .*node 9 is the output of another layer",
        ),
        (with_layer(7, "StubConv2d", 7, 8, 6), r"v1.0 layer 7 \(StubConv2d\): numbers \[6\] do not fit"),
        (with_layer(7, "StubConv2d", 7, 8, 6, 8, 3.5, 1, 1), r"v1.0 layer 7 \(StubConv2d\): numbers"),
        (with_layer(7, "StubConv2d", 7, 8, 6, 8, math.inf, 1, 1), r"v1.0 layer 7 \(StubConv2d\): numbers"),
        (with_layer(7, "StubConv2d", 7, 8, 6, 8, "3", 1, 1), r"v1.0 layer 7 \(StubConv2d\): numbers"),
        (with_layer(7, "StubConv2d", 7, 8, 6, 8, 3, 0, 1), r"v1.0 graph: layer 7 \(conv\): stride must be between"),
        (with_layer(3, "StubPooling2d", 3, 4), r"v1.0 layer 3 \(StubPooling2d\): numbers \[\] do not fit"),
        (with_layer(19, "StubDense", 19, 20, 8), r"v1.0 layer 19 \(StubDense\): numbers \[8\] do not fit"),
        (with_layer(9, "StubConv2d", 4, 10, 4, 8, 1, 1, 0), r"v1.0 graph: layer 11 \(add\) adds different shapes"),
        (with_layer(11, "StubAdd", [9, 9], 12), r"v1.0 graph: layer 10 \(batch_norm\) is read by no other layer"),
        (RESIDUAL | {"layer_list": RESIDUAL["layer_list"] * 2}, "node 1 is the output of another layer"),
        (with_node(0, [9, 7]), "node 0 must be the network's input"),
        (with_node(0, [0, 7, 3]), r"v1.0 graph: input shape \(0, 7, 3\)"),
        (with_node(3, [9, 7.0, 4]), r"v1.0 node \[3, .* is malformed"),
        (with_node(3, [9, math.inf, 4]), r"v1.0 node \[3, .* is malformed"),
        (
            with_node(14, [3, 2, 15]),
            r"v1.0 node 14: the file states the shape \[3, 2, 15\], but the output of layer 13 is \[3, 2, 14\]",
        ),
        (with_node(20, [6]), r"v1.0 node 20: the file states the shape \[6\], but the output of layer 19 is"),
    ],
)
def test_malformed_graph_is_refused_with_layer_or_node(value: object, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        from_v1(value)
