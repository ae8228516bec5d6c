"""Operation counts of a network by the convention `aiperf-1.0`: analytic, per image, exact integers.

Weights of the operations follow NASA's "A Comparison of Five Benchmarks", as in Ren et al. 2021: add 1, multiply 1,
compare 1, divide 4, square root 4, exponential 8. Counts are Python integers, which do not overflow; no float is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiperf_orch.network.graph import Graph, Layer

CONVENTION: Final = "aiperf-1.0"


@dataclass(frozen=True, slots=True)
class Operations:
    """Operations per image: training one image takes `train`, evaluating it takes `forward`."""

    forward: int
    backward: int

    @property
    def train(self) -> int:
        """Sum of the forward and the backward pass."""
        return self.forward + self.backward

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.forward + other.forward, self.backward + other.backward)


@dataclass(frozen=True, slots=True)
class LayerOperations:
    """Count of one layer; the softmax of a dense layer has a row of its own, of kind "softmax"."""

    id: int
    kind: str
    operations: Operations


def count(graph: Graph) -> Operations:
    """Return the operations per image of the whole network."""
    return Operations(*graph.total(_forward_and_backward))


def count_tensor(graph: Graph) -> Operations:
    """Return the operations per image of the matrix products alone, as utilisation is stated in MLPerf.

    A multiply-add of a convolution or dense layer is two operations; the backward pass has one product for the gradient
    of the weights, and one for that of the input, except where the input is the image.
    """
    return Operations(*graph.total(_tensor_operations))


def count_by_layer(graph: Graph) -> list[LayerOperations]:
    """Return the operations per image of each layer, in topological order."""
    rows = []
    for layer in graph.layers[1:]:
        rows.append(LayerOperations(layer.id, layer.kind, Operations(*_count_layer(graph, layer))))
        if layer.kind == "dense":
            rows.append(LayerOperations(layer.id, "softmax", Operations(_count_softmax(layer), 0)))
    return rows


def _forward_and_backward(graph: Graph, layer: Layer) -> tuple[int, int]:
    """Operations of one layer, including the softmax of a dense layer."""
    forward, backward = _count_layer(graph, layer)
    return (forward + _count_softmax(layer), backward) if layer.kind == "dense" else (forward, backward)


def _count_softmax(layer: Layer) -> int:
    return 8 * layer.units + (layer.units - 1) + 4 * layer.units


def _tensor_operations(graph: Graph, layer: Layer) -> tuple[int, int]:
    """Operations of the matrix products of one layer."""
    height, width, channels = graph.shapes[layer.inputs[0]]
    if layer.kind == "conv":
        out_height, out_width, filters = graph.shapes[layer.id]
        products = layer.kernel**2 * channels * filters * out_height * out_width
    elif layer.kind == "dense":
        products = height * width * channels * layer.units
    else:
        return 0, 0
    reads_image = layer.inputs[0] == graph.layers[0].id
    return 2 * products, (2 if reads_image else 4) * products


def _count_layer(graph: Graph, layer: Layer) -> tuple[int, int]:
    """Operations of the forward and the backward pass, without the softmax of a dense layer."""
    source = layer.inputs[0]
    height, width, channels = graph.shapes[source]
    elements = height * width * channels
    match layer.kind:
        case "conv":
            out_height, out_width, filters = graph.shapes[layer.id]
            weights = layer.kernel**2 * channels * filters
            outputs = out_height * out_width
            reads_image = source == graph.layers[0].id  # then the gradient of the input is not computed
            return 2 * weights * outputs, weights * ((2 if reads_image else 4) * outputs + 2)
        case "dense":
            return 2 * elements * layer.units, 4 * elements * layer.units + 2 * (elements + 1) * layer.units
        case "batch_norm":
            return 7 * elements, 36
        case "relu":
            return elements, 0
        case "add":
            # an add of n inputs takes n - 1 additions of feature maps
            return elements * (len(layer.inputs) - 1), 0
        case "max_pool":
            return elements * layer.kernel**2 // layer.stride**2, 0
        case "global_avg_pool":
            return (height * width - 1) * channels + 4 * channels, 0
        case "concat":
            return 0, 0
    raise AssertionError(f"no count for a layer of kind {layer.kind}")
