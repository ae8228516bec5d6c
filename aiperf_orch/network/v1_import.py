"""Import of networks in the graph format of AIPerf v1.0, so that old reports can be counted again.

The format: `layer_list` holds `[layer id, [type, input node(s), output node, ...]]` and `node_list` holds
`[node id, [height, width, channels]]`; a node is a tensor. Only the structure is taken from the file: shapes are
computed (outputs of convolution and pooling are ceil(side / stride) whatever padding is stored) and then held against
the shapes that the file states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from aiperf_orch.errors import NetworkError
from aiperf_orch.network.graph import Graph, Layer

# Layers that count nothing and change no element: what reads them reads their input.
_TRANSPARENT: Final = frozenset({"StubDropout1d", "StubDropout2d", "StubDropout3d", "StubFlatten", "StubSoftmax"})


def is_v1(value: object) -> bool:
    """Whether a decoded JSON value looks like a v1.0 graph."""
    return isinstance(value, dict) and "layer_list" in value and "node_list" in value


def from_v1(value: dict[str, Any]) -> Graph:
    """The network of a decoded v1.0 graph file; each layer keeps its v1.0 id, plus 1.

    Raises:
        NetworkError: naming the v1.0 layer that is unknown, malformed, or whose stated channels do not fit.
    """
    try:
        stated = {int(node): tuple(int(side) for side in shape or ()) for node, shape in value["node_list"]}
        height, width, channels = stated[0]
        pending = [(int(layer), list(description)) for layer, description in value["layer_list"]]
    except (KeyError, TypeError, ValueError) as error:
        raise NetworkError(f"not a v1.0 graph: layer_list or node_list is malformed ({error!r:.80})") from None
    tensors = {0: 0}  # v1.0 node -> our layer that gives it
    layers = [Layer(0, "input")]
    while pending:
        waiting = []
        for number, description in pending:
            try:
                name, sources, output, *numbers = description
                reads = list(sources) if isinstance(sources, list) else [sources]
                ready = all(node in tensors for node in reads)
            except (TypeError, ValueError):
                raise NetworkError(f"v1.0 layer {number}: malformed: {description!r:.120}") from None
            if not ready:
                waiting.append((number, description))
            elif name in _TRANSPARENT:
                tensors[output] = tensors[reads[0]]
            else:
                layers.append(_layer(number, name, tuple(tensors[node] for node in reads), numbers))
                tensors[output] = number + 1
        if len(waiting) == len(pending):
            raise NetworkError(f"v1.0 layer {waiting[0][0]} reads a node that no layer before it gives")
        pending = waiting
    graph = Graph((height, width, channels), layers)
    _check_stated_shapes(graph, tensors, stated)
    return graph


def _layer(number: int, name: str, inputs: tuple[int, ...], numbers: Sequence[Any]) -> Layer:
    try:
        match name:
            case "StubConv2d":
                _, filters, kernel, stride = (int(number) for number in numbers[:4])
                return Layer(number + 1, "conv", inputs, filters=filters, kernel=kernel, stride=stride)
            case "StubPooling2d":
                kernel, stride = (int(number) for number in numbers[:2])
                return Layer(number + 1, "max_pool", inputs, kernel=kernel, stride=stride)
            case "StubDense":
                return Layer(number + 1, "dense", inputs, units=int(numbers[1]))
            case "StubBatchNormalization2d":
                return Layer(number + 1, "batch_norm", inputs)
            case "StubReLU":
                return Layer(number + 1, "relu", inputs)
            case "StubAdd":
                return Layer(number + 1, "add", inputs)
            case "StubConcatenate":
                return Layer(number + 1, "concat", inputs)
            case "StubGlobalPooling2d":
                return Layer(number + 1, "global_avg_pool", inputs)
    except (TypeError, ValueError, IndexError):
        raise NetworkError(f"v1.0 layer {number} ({name}): its numbers {list(numbers)!r:.80} do not fit") from None
    raise NetworkError(f"v1.0 layer {number}: unknown type {name!r:.60}")


def _check_stated_shapes(graph: Graph, tensors: dict[int, int], stated: dict[int, tuple[int, ...]]) -> None:
    for node, layer in tensors.items():
        shape = stated.get(node, ())
        if len(shape) == 3 and shape != graph.shapes[layer]:
            raise NetworkError(
                f"v1.0 node {node}: the file states the shape {list(shape)}, but layer {layer - 1} gives "
                f"{list(graph.shapes[layer])}"
            )
