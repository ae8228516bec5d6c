"""Graphs: JSON conversion, validation with a reason, shapes and sizes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from aiperf_orch.network.graph import FORMAT, MAX_SIDE, Graph, Layer
from aiperf_orch.network.seeds import SEEDS, resnet50
from aiperf_orch.util.errors import NetworkError
from network_fixtures import conv, network, network_json

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", SEEDS)
def test_seed_network_round_trips_through_json(name: str) -> None:
    graph = SEEDS[name]((32, 32, 3), 10)
    again = Graph.from_json(json.loads(json.dumps(graph.to_json())))
    assert again == graph
    assert again.hash == graph.hash
    assert hash(again) == hash(graph)
    assert again.classes == 10


def damaged_layer(index: int, **changes: Any) -> dict[str, Any]:
    value = network_json()
    value["layers"][index].update(changes)
    return value


def damaged(**changes: Any) -> dict[str, Any]:
    return network_json() | changes


def without(index: int, key: str) -> dict[str, Any]:
    value = network_json()
    del value["layers"][index][key]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "not a network"),
        ({}, FORMAT),
        (damaged(format="aiperf-network-2"), FORMAT),
        (damaged(input_shape=[8, 8]), r"input_shape must be \[height, width, channels\], not \[8, 8\]"),
        (damaged(input_shape=[8, 8, True]), "input_shape must be"),
        (damaged(input_shape=[8, 8, 3.0]), "input_shape must be"),
        (damaged(input_shape=[8, 0, 3]), "input shape .*between 1 and"),
        (damaged(input_shape=[8, 8, -3]), "input shape .*between 1 and"),
        (damaged(input_shape=[8, 8, 10**30]), "input shape .*between 1 and"),
        (damaged(layers=None), "layers must be a list"),
        (damaged(layers=[]), "first layer must be its input"),
        (damaged(layers=network_json()["layers"][:1]), "layers after its input"),
        (damaged(layers=network_json()["layers"][1:]), "first layer must be its input"),
        (damaged(layers=["relu"]), "a layer must be an object, not 'relu'"),
        (damaged_layer(3, kind="sigmoid"), "layer 3: unknown kind 'sigmoid'; known: input, conv"),
        (damaged_layer(3, kind=["relu"]), r"layer 3: unknown kind \['relu'\]"),
        (damaged_layer(3, kind="input"), "layer 3 .*second input"),
        (damaged_layer(0, inputs=[0]), "layer 0 .*reads layer 0, which does not precede it"),
        (damaged_layer(3, filters=4), r"layer 3 \(relu\) must have exactly .*\['filters'\] unknown"),
        (without(1, "stride"), r"layer 1 \(conv\) must have exactly .*\['stride'\] missing"),
        (without(1, "id"), r"layer None \(conv\) must have exactly .*\['id'\] missing"),
        (damaged_layer(1, filters=True), r"layer 1 \(conv\): filters must be an integer, not True"),
        (damaged_layer(1, filters=4.0), r"layer 1 \(conv\): filters must be an integer, not 4.0"),
        (damaged_layer(1, filters="4"), r"layer 1 \(conv\): filters must be an integer, not '4'"),
        (damaged_layer(1, filters=0), r"layer 1 \(conv\): filters must be between 1 and"),
        (damaged_layer(1, stride=-1), r"layer 1 \(conv\): stride must be between 1 and .*, not -1"),
        (damaged_layer(1, kernel=4), r"layer 1 \(conv\): the kernel must be odd, not 4"),
        (damaged_layer(4, kernel=MAX_SIDE + 1), r"layer 4 \(max_pool\): kernel must be between"),
        (damaged_layer(3, id="3"), r"layer '3' \(relu\): id must be an integer"),
        (damaged_layer(3, id=2), "layer 2 appears twice"),
        (damaged_layer(3, inputs=2), r"layer 3 \(relu\): inputs must be a list of layer ids"),
        (damaged_layer(3, inputs=[True]), r"layer 3 \(relu\): inputs must be a list of layer ids"),
        (damaged_layer(3, inputs=[4]), r"layer 3 \(relu\) reads layer 4, which does not precede it"),
        (damaged_layer(3, inputs=[3]), r"layer 3 \(relu\) reads layer 3, which does not precede it"),
        (damaged_layer(3, inputs=[]), r"layer 3 \(relu\) has 0 inputs, exactly 1 is needed"),
        (damaged_layer(3, inputs=[2, 2]), r"layer 3 \(relu\) has 2 inputs, exactly 1 is needed"),
        (damaged_layer(6, inputs=[4]), r"layer 6 \(add\) has 1 inputs, at least 2 are needed"),
        (damaged_layer(6, inputs=[3, 5]), r"layer 6 \(add\) adds different shapes: \[\(8, 8, 4\), \(4, 4, 4\)\]"),
        (damaged_layer(7, inputs=[6, 3]), r"layer 7 \(concat\) concatenates maps of different sides"),
        (damaged_layer(8, inputs=[6]), r"layer 7 \(concat\) is read by no other layer"),
    ],
)
def test_malformed_network_is_refused_with_layer_and_reason(value: object, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        Graph.from_json(value)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "hostile",
    [nested(20_000), 10**4000, "x" * 10**6, [0] * 10**5, {str(n): n for n in range(10**4)}],
    ids=["nested list", "large integer", "long text", "long list", "large object"],
)
def test_hostile_value_is_refused_with_a_short_message(hostile: Any) -> None:
    for value in (
        hostile,
        damaged(format=hostile),
        damaged(input_shape=hostile),
        damaged(input_shape=[8, 8, hostile]),
        damaged(layers=hostile),
        damaged(layers=[hostile]),
        *(damaged_layer(1, **{name: hostile}) for name in ("kind", "inputs", "filters", "kernel", "stride")),
        damaged_layer(3, id=hostile, inputs="2"),
        damaged_layer(3, inputs=hostile),
        damaged_layer(3, surplus=hostile, **({hostile: 1} if isinstance(hostile, str) else {})),
    ):
        with pytest.raises(NetworkError) as caught:
            Graph.from_json(value)
        assert len(str(caught.value)) < 600 or "reads layer" in str(caught.value)


def test_concatenations_cannot_double_channels_beyond_the_limit() -> None:
    doubling = [Layer(number, "concat", (number - 1, number - 1)) for number in range(1, 30)]
    with pytest.raises(NetworkError, match=r"layer 19 \(concat\) has more than 1048576 channels"):
        network(*doubling)


def test_output_shapes_round_sides_up() -> None:
    graph = Graph(
        (7, 10, 3),
        [
            Layer(0, "input"),
            conv(1, 0, filters=6, stride=2),
            Layer(2, "max_pool", (1,), kernel=2, stride=3),
            Layer(3, "concat", (2, 2)),
            Layer(4, "global_avg_pool", (3,)),
            Layer(5, "dense", (4,), units=9),
        ],
    )
    assert graph.shapes == {0: (7, 10, 3), 1: (4, 5, 6), 2: (2, 2, 6), 3: (2, 2, 12), 4: (1, 1, 12), 5: (1, 1, 9)}
    assert graph.classes == 9
    assert graph.depth == 5
    assert graph.consumers[2] == [3, 3]
    assert graph.parameters == 9 * 3 * 6 + (12 + 1) * 9


def test_resnet50_has_the_published_size() -> None:
    graph = resnet50()
    assert graph.parameters == 25_557_032  # as in torchvision and He et al.
    assert Counter(layer.kind for layer in graph.layers) == {
        "input": 1, "conv": 53, "batch_norm": 53, "relu": 49, "add": 16, "max_pool": 1, "global_avg_pool": 1, "dense": 1
    }  # fmt: skip
    assert graph.shapes[graph.output.inputs[0]] == (1, 1, 2048)
    assert graph.classes == 1000
