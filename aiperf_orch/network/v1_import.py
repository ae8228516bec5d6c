"""Import of networks in the graph format of AIPerf v1.0, so that old reports can be counted again.

The format: `layer_list` holds `[layer id, [type, input node(s), output node, ...]]` and `node_list` holds
`[node id, [height, width, channels]]`; a node is a tensor, and node 0 is the network's input. Only the structure is
taken from the file: shapes are computed (outputs of convolution and pooling are ceil(side / stride) whatever padding is
stored) and then held against the shapes that the file states.
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
# Layers that count nothing and change no element: what reads them reads their input.
_TRANSPARENT: Final = frozenset({"StubDropout1d", "StubDropout2d", "StubDropout3d", "StubFlatten", "StubSoftmax"})


@dataclass(frozen=True, slots=True)
class _Stub:
    """A v1.0 layer: the nodes it reads, the node it gives, and whatever else its type has."""

    id: int
    type: str
    reads: tuple[int, ...]
    gives: int
    numbers: Sequence[Any]


def is_v1(value: object) -> bool:
    """Whether a decoded JSON value looks like a v1.0 graph."""
    return isinstance(value, dict) and "layer_list" in value and "node_list" in value


def from_v1(value: object) -> Graph:
    """The network of a decoded v1.0 graph file.

    Each layer keeps its v1.0 id; the input, which is no layer there, has the id after the largest.

    Raises:
        NetworkError: naming the v1.0 layer or node that is unknown, malformed, or states a shape that does not fit.
    """
    if not (is_v1(value) and isinstance(value, dict)):
        raise NetworkError("not a v1.0 graph: an object with layer_list and node_list was expected")
    stubs, stated = _read_stubs(value["layer_list"]), _read_nodes(value["node_list"])
    input_shape = stated.get(_INPUT_NODE, ())
    if len(input_shape) != 3:
        raise NetworkError(f"v1.0 node {_INPUT_NODE} must be the network's input, [height, width, channels]")
    input_id = max((stub.id for stub in stubs), default=0) + 1
    givers = {_INPUT_NODE: input_id}  # by node, our layer that gives it
    layers = [Layer(input_id, "input")]
    while stubs:
        waiting = []
        for stub in stubs:
            if any(node not in givers for node in stub.reads):
                waiting.append(stub)
                continue
            if stub.gives in givers:
                raise NetworkError(f"v1.0 layer {stub.id} ({stub.type}): another layer gives node {stub.gives} too")
            inputs = tuple(givers[node] for node in stub.reads)
            if stub.type in _TRANSPARENT:
                givers[stub.gives] = inputs[0]
            else:
                layers.append(_layer(stub, inputs))
                givers[stub.gives] = stub.id
        if len(waiting) == len(stubs):
            raise NetworkError(f"v1.0 layer {stubs[0].id} ({stubs[0].type}) reads a node that no layer before it gives")
        stubs = waiting
    try:
        graph = Graph((input_shape[0], input_shape[1], input_shape[2]), layers)
    except NetworkError as error:
        raise NetworkError(f"v1.0 graph: {error}") from None
    _check_stated_shapes(graph.shapes, givers, stated)
    return graph


def _read_stubs(layer_list: object) -> list[_Stub]:
    if not isinstance(layer_list, list):
        raise NetworkError("v1.0 layer_list must be a list")
    stubs = []
    for item in layer_list:
        try:
            number, (name, sources, gives, *numbers) = item
            reads = tuple(_whole(node) for node in (sources if isinstance(sources, list) else [sources]))
            stub = _Stub(_whole(number), name, reads, _whole(gives), numbers)
        except (TypeError, ValueError):
            raise NetworkError(f"v1.0 layer {reprlib.repr(item)} is malformed") from None
        if not isinstance(name, str) or not reads:
            raise NetworkError(f"v1.0 layer {stub.id} is malformed: {reprlib.repr(item)}")
        stubs.append(stub)
    return stubs


def _read_nodes(node_list: object) -> dict[int, tuple[int, ...]]:
    """The stated shapes by node; an empty one where the file states none."""
    if not isinstance(node_list, list):
        raise NetworkError("v1.0 node_list must be a list")
    nodes = {}
    for item in node_list:
        try:
            node, shape = item
            nodes[_whole(node)] = tuple(_whole(side) for side in shape or ())
        except (TypeError, ValueError):
            raise NetworkError(f"v1.0 node {reprlib.repr(item)} is malformed") from None
    return nodes


def _layer(stub: _Stub, inputs: tuple[int, ...]) -> Layer:
    numbers = stub.numbers
    try:
        match stub.type:
            case "StubConv2d":
                _, filters, kernel, stride = (_whole(number) for number in numbers[:4])
                return Layer(stub.id, "conv", inputs, filters=filters, kernel=kernel, stride=stride)
            case "StubPooling2d":
                kernel, stride = (_whole(number) for number in numbers[:2])
                return Layer(stub.id, "max_pool", inputs, kernel=kernel, stride=stride)
            case "StubDense":
                return Layer(stub.id, "dense", inputs, units=_whole(numbers[1]))
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
            f"v1.0 layer {stub.id} ({stub.type}): its numbers {reprlib.repr(numbers)} do not fit"
        ) from None
    raise NetworkError(f"v1.0 layer {stub.id}: unknown type {reprlib.repr(stub.type)}")


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{reprlib.repr(value)} is not a whole number")
    return value


def _check_stated_shapes(
    shapes: Mapping[int, Shape], givers: Mapping[int, int], stated: Mapping[int, tuple[int, ...]]
) -> None:
    for node, layer in givers.items():
        shape, ours = stated.get(node, ()), shapes[layer]
        # a flat shape, as after flattening or global pooling, states only how many elements there are
        fits = shape == ours if len(shape) == 3 else math.prod(shape) == math.prod(ours)
        if shape and not fits:
            raise NetworkError(
                f"v1.0 node {node}: the file states the shape {reprlib.repr(list(shape))}, but layer {layer} gives {list(ours)}"
            )
