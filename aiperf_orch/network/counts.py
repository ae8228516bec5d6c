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
    return sum((row.operations for row in count_by_layer(graph)), Operations(0, 0))


def count_by_layer(graph: Graph) -> list[LayerOperations]:
    """Operations per image, a row a layer, in topological order."""
    rows = []
    for layer in graph.layers[1:]:
        rows.append(LayerOperations(layer.id, layer.kind, _count_layer(graph, layer)))
        if layer.kind == "dense":
            units = layer.units
            softmax = Operations(8 * units + (units - 1) + 4 * units, 0)
            rows.append(LayerOperations(layer.id, "softmax", softmax))
    return rows


def _count_layer(graph: Graph, layer: Layer) -> Operations:
    source = layer.inputs[0]
    height, width, channels = graph.shapes[source]
    elements = height * width * channels
    match layer.kind:
        case "conv":
            out_height, out_width, filters = graph.shapes[layer.id]
            weights = layer.kernel**2 * channels * filters
            outputs = out_height * out_width
            reads_image = graph.by_id[source].kind == "input"  # then no gradient of the input is needed
            return Operations(2 * weights * outputs, weights * ((2 if reads_image else 4) * outputs + 2))
        case "dense":
            return Operations(2 * elements * layer.units, 4 * elements * layer.units + 2 * (elements + 1) * layer.units)
        case "batch_norm":
            return Operations(7 * elements, 36)
        case "relu":
            return Operations(elements, 0)
        case "add":
            # an add of n inputs is n - 1 additions of maps
            return Operations(elements * (len(layer.inputs) - 1), 0)
        case "max_pool":
            return Operations(elements * layer.kernel**2 // layer.stride**2, 0)
        case "global_avg_pool":
            return Operations((height * width - 1) * channels + 4 * channels, 0)
        case "concat":
            return Operations(0, 0)
    raise AssertionError(f"no count for a layer of kind {layer.kind}")
