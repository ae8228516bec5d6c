"""Import of networks in the graph format of AIPerf v1.0, for counting the operations of old reports again.

Format: `layer_list` holds `[layer id, [type, input node(s), output node, ...]]` and `node_list` holds
`[node id, [height, width, channels]]`; a node is a tensor, and node 0 is the input of the network. Only the structure
is read from the file: shapes are computed (outputs of convolution and pooling are ceil(side / stride), the stored
padding is ignored) and then checked against the shapes that the file states.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiperf_orch.network.graph import Graph, Layer, Shape
from aiperf_orch.util.errors import NetworkError

_INPUT_NODE: Final = 0
# Layers that have no operations and change no element: their readers read their input instead.
_TRANSPARENT: Final = frozenset({"StubDropout1d", "StubDropout2d", "StubDropout3d", "StubFlatten", "StubSoftmax"})


@dataclass(frozen=True, slots=True)
class _Stub:
    """A v1.0 layer: its input nodes, its output node, and the other numbers of its type."""

    id: int
    type: str
    inputs: tuple[int, ...]
    output: int
    numbers: Sequence[Any]


def is_v1(value: object) -> bool:
    """Return whether a decoded JSON value has the keys of a v1.0 graph."""
    return isinstance(value, dict) and "layer_list" in value and "node_list" in value


def from_v1(value: object) -> Graph:
    """Convert a decoded v1.0 graph file.

    Layers keep their v1.0 ids; the input, which is not a layer in v1.0, has the id after the largest.

    Raises:
        NetworkError: If a layer or node is unknown or malformed, or a stated shape does not fit; the message names it.
    """
    if not (is_v1(value) and isinstance(value, dict)):
        raise NetworkError("not a v1.0 graph: an object with layer_list and node_list was expected")
    stubs, stated = _read_stubs(value["layer_list"]), _read_nodes(value["node_list"])
    input_shape = stated.get(_INPUT_NODE, ())
    if len(input_shape) != 3:
        raise NetworkError(f"v1.0 node {_INPUT_NODE} must be the network's input, [height, width, channels]")
    input_id = max((stub.id for stub in stubs), default=0) + 1
    producers = {_INPUT_NODE: input_id}  # node -> id of the layer whose output it is
    layers = [Layer(input_id, "input")]
    while stubs:
        remaining = []
        for stub in stubs:
            if any(node not in producers for node in stub.inputs):
                remaining.append(stub)
                continue
            if stub.output in producers:
                raise NetworkError(
                    f"v1.0 layer {stub.id} ({stub.type}): node {stub.output} is the output of another layer"
                )
            inputs = tuple(producers[node] for node in stub.inputs)
            if stub.type in _TRANSPARENT:
                producers[stub.output] = inputs[0]
            else:
                layers.append(_layer(stub, inputs))
                producers[stub.output] = stub.id
        if len(remaining) == len(stubs):
            raise NetworkError(
                f"v1.0 layer {stubs[0].id} ({stubs[0].type}) reads a node that is not the output of a preceding layer"
            )
        stubs = remaining
    try:
        graph = Graph((input_shape[0], input_shape[1], input_shape[2]), layers)
    except NetworkError as error:
        raise NetworkError(f"v1.0 graph: {error}") from None
    _check_stated_shapes(graph.shapes, producers, stated)
    return graph


def _read_stubs(layer_list: object) -> list[_Stub]:
    if not isinstance(layer_list, list):
        raise NetworkError("v1.0 layer_list must be a list")
    stubs = []
    for item in layer_list:
        try:
            layer_id, (name, sources, output, *numbers) = item
            inputs = tuple(_integer(node) for node in (sources if isinstance(sources, list) else [sources]))
            stub = _Stub(_integer(layer_id), name, inputs, _integer(output), numbers)
        except (TypeError, ValueError):
            raise NetworkError(f"v1.0 layer {reprlib.repr(item)} is malformed") from None
        if not isinstance(name, str) or not inputs:
            raise NetworkError(f"v1.0 layer {stub.id} is malformed: {reprlib.repr(item)}")
        stubs.append(stub)
    return stubs


def _read_nodes(node_list: object) -> dict[int, tuple[int, ...]]:
    """Shapes that the file states, by node; () if it states none."""
    if not isinstance(node_list, list):
        raise NetworkError("v1.0 node_list must be a list")
    nodes = {}
    for item in node_list:
        try:
            node, shape = item
            nodes[_integer(node)] = tuple(_integer(side) for side in shape or ())
        except (TypeError, ValueError):
            raise NetworkError(f"v1.0 node {reprlib.repr(item)} is malformed") from None
    return nodes


def _layer(stub: _Stub, inputs: tuple[int, ...]) -> Layer:
    numbers = stub.numbers
    try:
        match stub.type:
            case "StubConv2d":
                _, filters, kernel, stride = (_integer(number) for number in numbers[:4])
                return Layer(stub.id, "conv", inputs, filters=filters, kernel=kernel, stride=stride)
            case "StubPooling2d":
                kernel, stride = (_integer(number) for number in numbers[:2])
                return Layer(stub.id, "max_pool", inputs, kernel=kernel, stride=stride)
            case "StubDense":
                return Layer(stub.id, "dense", inputs, units=_integer(numbers[1]))
            case "StubBatchNormalization2d":
                return Layer(stub.id, "batch_norm", inputs)
            case "StubReLU":
                return Layer(stub.id, "relu", inputs)
            case "StubAdd":
                return Layer(stub.id, "add", inputs)
            case "StubConcatenate":
                return Layer(stub.id, "concat", inputs)
            case "StubGlobalPooling2d":
                return Layer(stub.id, "global_avg_pool", inputs)
    except (TypeError, ValueError, IndexError):
        raise NetworkError(
            f"v1.0 layer {stub.id} ({stub.type}): numbers {reprlib.repr(numbers)} do not fit its type"
        ) from None
    raise NetworkError(f"v1.0 layer {stub.id}: unknown type {reprlib.repr(stub.type)}")


def _integer(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{reprlib.repr(value)} is not an integer")
    return value


def _check_stated_shapes(
    shapes: Mapping[int, Shape], producers: Mapping[int, int], stated: Mapping[int, tuple[int, ...]]
) -> None:
    for node, layer in producers.items():
        shape, computed = stated.get(node, ()), shapes[layer]
        # a flat shape, as after flattening or global pooling, states only the number of elements
        fits = shape == computed if len(shape) == 3 else math.prod(shape) == math.prod(computed)
        if shape and not fits:
            raise NetworkError(
                f"v1.0 node {node}: the file states the shape {reprlib.repr(list(shape))}, "
                f"but the output of layer {layer} is {list(computed)}"
            )
