"""Graphs: read and written without loss, refused with a reason, and hashed by their structure alone."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.network import morphisms
from aiperf_orch.network.graph import ATTRIBUTES, FORMAT, MAX_SIDE, Graph, Layer
from aiperf_orch.network.seeds import SEEDS, resnet50, small_residual
from aiperf_orch.util.errors import NetworkError

SEED_NUMBERS = st.integers(0, 2**32 - 1)
Grow = Callable[[Graph, int, int], Graph]


def conv(number: int, source: int, filters: int = 4, kernel: int = 3, stride: int = 1) -> Layer:
    return Layer(number, "conv", (source,), filters=filters, kernel=kernel, stride=stride)


def network(*layers: Layer) -> Graph:
    """The layers between an input, 0, and a head that reads the last of them."""
    last = layers[-1].id
    head = (Layer(98, "global_avg_pool", (last,)), Layer(99, "dense", (98,), units=5))
    return Graph((8, 8, 3), (Layer(0, "input"), *layers, *head))


def plain_json() -> dict[str, Any]:
    """A network with every kind of layer, as JSON."""
    graph = network(
        conv(1, 0),
        Layer(2, "batch_norm", (1,)),
        Layer(3, "relu", (2,)),
        Layer(4, "max_pool", (3,), kernel=3, stride=2),
        conv(5, 3, stride=2),
        Layer(6, "add", (4, 5)),
        Layer(7, "concat", (6, 5)),
    )
    value: dict[str, Any] = json.loads(json.dumps(graph.to_json()))
    assert {layer["kind"] for layer in value["layers"]} == set(ATTRIBUTES)
    return value


# JSON


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed_survives_json(name: str) -> None:
    graph = SEEDS[name]((32, 32, 3), 10)
    again = Graph.from_json(json.loads(json.dumps(graph.to_json())))
    assert again == graph
    assert again.hash == graph.hash
    assert hash(again) == hash(graph)
    assert again.classes == 10


@settings(max_examples=20, deadline=None)
@given(seed=SEED_NUMBERS, steps=st.integers(1, 12))
def test_a_morphed_network_survives_json(grow: Grow, seed: int, steps: int) -> None:
    graph = grow(small_residual(width=4), seed, steps)
    again = Graph.from_json(json.loads(json.dumps(graph.to_json())))
    assert again == graph
    assert again.shapes == graph.shapes
    assert again.hash == graph.hash


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_network_is_refused_or_read_exactly(
    damage: Callable[[Any, st.DataObject], Any], data: st.DataObject
) -> None:
    value = plain_json()
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


def damaged_layer(index: int, **changes: Any) -> dict[str, Any]:
    value = plain_json()
    value["layers"][index].update(changes)
    return value


def damaged(**changes: Any) -> dict[str, Any]:
    return plain_json() | changes


def without(index: int, key: str) -> dict[str, Any]:
    value = plain_json()
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
        (damaged(layers=plain_json()["layers"][:1]), "layers after its input"),
        (damaged(layers=plain_json()["layers"][1:]), "first layer must be its input"),
        (damaged(layers=["relu"]), "a layer must be an object, not 'relu'"),
        (damaged_layer(3, kind="sigmoid"), "layer 3: unknown kind 'sigmoid'; known: input, conv"),
        (damaged_layer(3, kind=["relu"]), r"layer 3: unknown kind \['relu'\]"),
        (damaged_layer(3, kind="input"), "layer 3 .*second input"),
        (damaged_layer(0, inputs=[0]), "layer 0 .*reads layer 0, which does not stand before it"),
        (damaged_layer(3, filters=4), r"layer 3 \(relu\) must have exactly .*\['filters'\] unknown"),
        (without(1, "stride"), r"layer 1 \(conv\) must have exactly .*\['stride'\] missing"),
        (without(1, "id"), r"layer None \(conv\) must have exactly .*\['id'\] missing"),
        (damaged_layer(1, filters=True), r"layer 1 \(conv\): filters must be a whole number, not True"),
        (damaged_layer(1, filters=4.0), r"layer 1 \(conv\): filters must be a whole number, not 4.0"),
        (damaged_layer(1, filters="4"), r"layer 1 \(conv\): filters must be a whole number, not '4'"),
        (damaged_layer(1, filters=0), r"layer 1 \(conv\): filters must be between 1 and"),
        (damaged_layer(1, stride=-1), r"layer 1 \(conv\): stride must be between 1 and .*, not -1"),
        (damaged_layer(1, kernel=4), r"layer 1 \(conv\): the kernel must be odd, not 4"),
        (damaged_layer(4, kernel=MAX_SIDE + 1), r"layer 4 \(max_pool\): kernel must be between"),
        (damaged_layer(3, id="3"), r"layer '3' \(relu\): id must be a whole number"),
        (damaged_layer(3, id=2), "layer 2 stands twice"),
        (damaged_layer(3, inputs=2), r"layer 3 \(relu\): inputs must be a list of layer ids"),
        (damaged_layer(3, inputs=[True]), r"layer 3 \(relu\): inputs must be a list of layer ids"),
        (damaged_layer(3, inputs=[4]), r"layer 3 \(relu\) reads layer 4, which does not stand before it"),
        (damaged_layer(3, inputs=[3]), r"layer 3 \(relu\) reads layer 3, which does not stand before it"),
        (damaged_layer(3, inputs=[]), r"layer 3 \(relu\) reads 0 layers"),
        (damaged_layer(3, inputs=[2, 2]), r"layer 3 \(relu\) reads 2 layers"),
        (damaged_layer(6, inputs=[4]), r"layer 6 \(add\) reads 1 layers"),
        (damaged_layer(6, inputs=[3, 5]), r"layer 6 \(add\) adds different shapes: \[\(8, 8, 4\), \(4, 4, 4\)\]"),
        (damaged_layer(7, inputs=[6, 3]), r"layer 7 \(concat\) concatenates maps of different sides"),
        (damaged_layer(8, inputs=[6]), r"layer 7 \(concat\) is read by no other layer"),
    ],
)
def test_a_malformed_network_is_refused_with_where_and_why(value: object, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        Graph.from_json(value)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "hostile", [nested(20_000), 10**4000, "x" * 10**6, [0] * 10**5, {str(n): n for n in range(10**4)}]
)
def test_a_hostile_value_is_refused_in_a_few_words(hostile: Any) -> None:
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


def test_channels_cannot_be_doubled_without_end() -> None:
    doubling = [Layer(number, "concat", (number - 1, number - 1)) for number in range(1, 30)]
    with pytest.raises(NetworkError, match=r"layer 19 \(concat\) gives more than 1048576 channels"):
        network(*doubling)


# Shapes


def test_sides_are_rounded_up_and_dense_is_one_by_one() -> None:
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


def test_resnet50_is_the_known_network() -> None:
    graph = resnet50()
    assert graph.parameters == 25_557_032  # as torchvision and He et al. have it
    assert Counter(layer.kind for layer in graph.layers) == {
        "input": 1, "conv": 53, "batch_norm": 53, "relu": 49, "add": 16, "max_pool": 1, "global_avg_pool": 1, "dense": 1
    }  # fmt: skip
    assert graph.shapes[graph.output.inputs[0]] == (1, 1, 2048)
    assert graph.classes == 1000


# Hash


def renumbered(graph: Graph, seed: int) -> Graph:
    """The same structure in another topological order, under other ids, with the inputs of its adds in another order."""
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
def test_hash_does_not_see_numbering_or_order(grow: Grow, seed: int, steps: int) -> None:
    graph = grow(small_residual(width=4), seed, steps)
    other = renumbered(graph, seed)
    assert other != graph
    assert other.hash == graph.hash


def test_hash_of_resnet50_does_not_see_numbering_or_order() -> None:
    graph = resnet50()
    assert {renumbered(graph, seed).hash for seed in range(3)} == {graph.hash}


CHAIN = (conv(1, 0), conv(2, 1), conv(3, 2))
SHARED = (conv(1, 0), conv(2, 1), conv(3, 1), Layer(4, "add", (2, 3)))
TWINS = (conv(1, 0), conv(2, 0))
# two pairs of twins, one of each added; what else reads the first pair tells its two apart
CROSSED = (
    *TWINS, conv(3, 0, kernel=1), conv(4, 0, kernel=1), Layer(9, "add", (1, 3)), Layer(10, "add", (2, 4)),
    conv(5, 1, kernel=3), conv(6, 2, kernel=5),
)  # fmt: skip
ALL = Layer(11, "add", (5, 6, 7, 8, 9, 10))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(CHAIN, (*CHAIN[:2], conv(3, 2, kernel=5)), id="kernel"),
        pytest.param(CHAIN, (*CHAIN[:2], conv(3, 2, stride=2)), id="stride"),
        pytest.param(CHAIN, (*CHAIN[:2], conv(3, 2, filters=8)), id="filters"),
        pytest.param(
            (*CHAIN, Layer(4, "max_pool", (3,), kernel=2, stride=2)),
            (*CHAIN, Layer(4, "max_pool", (3,), kernel=3, stride=2)),
            id="pool",
        ),
        pytest.param(
            (*CHAIN, conv(4, 3, kernel=1)), (CHAIN[0], conv(4, 1, kernel=1), conv(2, 4), conv(3, 2)), id="place"
        ),
        pytest.param(SHARED, (*SHARED[:2], conv(3, 0), SHARED[3]), id="where a branch begins"),
        pytest.param(
            (*SHARED[:2], conv(3, 2), Layer(4, "add", (1, 3))),
            (*SHARED[:2], conv(3, 2), Layer(4, "add", (2, 3))),
            id="where a skip begins",
        ),
        pytest.param(
            (*TWINS, conv(3, 1), conv(4, 1), Layer(5, "add", (2, 3, 4))),
            (*TWINS, conv(3, 1), conv(4, 2), Layer(5, "add", (1, 3, 4))),
            id="shared or duplicated branch",
        ),
        pytest.param(
            (conv(1, 0), Layer(2, "add", (1, 1))), (conv(1, 0), Layer(2, "add", (1, 1, 1))), id="number of inputs"
        ),
        pytest.param(
            (conv(1, 0), conv(2, 1), Layer(3, "concat", (1, 2))),
            (conv(1, 0), conv(2, 1), Layer(3, "concat", (2, 1))),
            id="order of a concatenation",
        ),
        pytest.param(
            (*TWINS, Layer(3, "concat", (1, 2)), Layer(4, "concat", (1, 2)), Layer(5, "add", (3, 4))),
            (*TWINS, Layer(3, "concat", (1, 2)), Layer(4, "concat", (2, 1)), Layer(5, "add", (3, 4))),
            id="order of one of two concatenations",
        ),
        pytest.param(
            (*TWINS, Layer(3, "add", (1, 2)), Layer(4, "add", (1, 2)), Layer(5, "add", (3, 4))),
            (*TWINS, Layer(3, "add", (1, 1)), Layer(4, "add", (2, 2)), Layer(5, "add", (3, 4))),
            id="which of two alike is added to which",
        ),
        pytest.param(
            (*CROSSED, conv(7, 3, kernel=3), conv(8, 4, kernel=5), ALL),
            (*CROSSED, conv(7, 3, kernel=5), conv(8, 4, kernel=3), ALL),
            id="which branches meet",
        ),
    ],
)
def test_hash_sees_structure(one: tuple[Layer, ...], other: tuple[Layer, ...]) -> None:
    assert network(*one).hash != network(*other).hash


def test_hash_sees_the_input_and_the_classes() -> None:
    shapes = [((8, 8, 1), 10), ((8, 9, 1), 10), ((9, 8, 1), 10), ((8, 8, 3), 10), ((8, 8, 1), 11)]
    assert len({small_residual(shape, classes).hash for shape, classes in shapes}) == len(shapes)


@settings(max_examples=15, deadline=None)
@given(seed=SEED_NUMBERS)
def test_no_edit_leads_back_to_an_earlier_hash(seed: int) -> None:
    graph, generator = small_residual(width=4), np.random.default_rng(seed)
    seen = {graph.hash}
    for _ in range(25):
        edit = morphisms.random_edit(graph, 3, generator)
        assert edit is not None
        graph = morphisms.apply(graph, edit)
        assert graph.hash not in seen
        seen.add(graph.hash)


def isomorphic(one: Graph, other: Graph) -> bool:
    """Whether two networks are the same but for numbering and order, by trying: from the outputs back to the inputs."""

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
    """Held against trying every way to match two networks, over some hundred that are one or two edits away."""
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
    assert equal > 30  # else nothing was tried
    assert len({graph.hash for graph in graphs}) > 500
