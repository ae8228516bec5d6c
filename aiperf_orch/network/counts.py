"""Operation counts of a network by the convention `aiperf-1.0`: analytic, per image, exact whole numbers.

Weights of the operations after NASA's "A Comparison of Five Benchmarks", as in Ren et al. 2021: add 1, multiply 1,
compare 1, divide 4, square root 4, exponential 8. Python's integers do not overflow, and no float enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiperf_orch.network.graph import Graph, Layer

CONVENTION: Final = "aiperf-1.0"


@dataclass(frozen=True, slots=True)
class Operations:
    """Operations per image. Training one image costs `train`, evaluating it costs `forward`."""

    forward: int
    backward: int

    @property
    def train(self) -> int:
        """Forward and backward together."""
        return self.forward + self.backward

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.forward + other.forward, self.backward + other.backward)


@dataclass(frozen=True, slots=True)
class LayerOperations:
    """The count of one layer; a dense layer's softmax is a row of its own, with kind "softmax"."""

    id: int
    kind: str
    operations: Operations


def count(graph: Graph) -> Operations:
    """Operations per image of the whole network."""
    return Operations(*graph.total(_forward_and_backward))


def count_by_layer(graph: Graph) -> list[LayerOperations]:
    """Operations per image, a row a layer, in topological order."""
    rows = []
    for layer in graph.layers[1:]:
        rows.append(LayerOperations(layer.id, layer.kind, Operations(*_count_layer(graph, layer))))
        if layer.kind == "dense":
            rows.append(LayerOperations(layer.id, "softmax", Operations(_count_softmax(layer), 0)))
    return rows


def _forward_and_backward(graph: Graph, layer: Layer) -> tuple[int, int]:
    """What a layer adds to the network's operations; one softmax counts with each dense layer."""
    forward, backward = _count_layer(graph, layer)
    return (forward + _count_softmax(layer), backward) if layer.kind == "dense" else (forward, backward)


def _count_softmax(layer: Layer) -> int:
    return 8 * layer.units + (layer.units - 1) + 4 * layer.units


def _count_layer(graph: Graph, layer: Layer) -> tuple[int, int]:
    """Operations forward and backward."""
    source = layer.inputs[0]
    height, width, channels = graph.shapes[source]
    elements = height * width * channels
    match layer.kind:
        case "conv":
            out_height, out_width, filters = graph.shapes[layer.id]
            weights = layer.kernel**2 * channels * filters
            outputs = out_height * out_width
            reads_image = source == graph.layers[0].id  # then no gradient of the input is needed
            return 2 * weights * outputs, weights * ((2 if reads_image else 4) * outputs + 2)
        case "dense":
            return 2 * elements * layer.units, 4 * elements * layer.units + 2 * (elements + 1) * layer.units
        case "batch_norm":
            return 7 * elements, 36
        case "relu":
            return elements, 0
        case "add":
            # an add of n inputs is n - 1 additions of maps
            return elements * (len(layer.inputs) - 1), 0
        case "max_pool":
            return elements * layer.kernel**2 // layer.stride**2, 0
        case "global_avg_pool":
            return (height * width - 1) * channels + 4 * channels, 0
        case "concat":
            return 0, 0
    raise AssertionError(f"no count for a layer of kind {layer.kind}")
