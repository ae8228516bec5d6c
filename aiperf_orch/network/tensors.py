"""Tensors of a trained network: name, type and shape of each, without torch.

They are those of the state dict of `trial.training.model.Model`, and of a file of weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from aiperf_orch.network.graph import Graph, Layer

_BYTES: Final = {"F32": 4, "I64": 8}


class TensorType(NamedTuple):
    """Type of the numbers of a tensor, as safetensors names it, and its shape; () is a single number."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of all numbers."""
        return _BYTES[self.dtype] * math.prod(self.shape)


def state_tensors(graph: Graph) -> dict[str, TensorType]:
    """Return the tensors of a network with weights by name: `<layer id>.<name>`, such as "12.weight"."""
    return {f"{layer.id}.{name}": tensor for layer in graph.layers[1:] for name, tensor in _of_layer(graph, layer)}


def _of_layer(graph: Graph, layer: Layer) -> Iterator[tuple[str, TensorType]]:
    height, width, channels = graph.shapes[layer.inputs[0]]
    match layer.kind:
        case "conv":
            yield "weight", TensorType("F32", (layer.filters, channels, layer.kernel, layer.kernel))
        case "batch_norm":
            for name in ("weight", "bias", "running_mean", "running_var"):
                yield name, TensorType("F32", (channels,))
            yield "num_batches_tracked", TensorType("I64", ())
        case "dense":
            yield "weight", TensorType("F32", (layer.units, height * width * channels))
            yield "bias", TensorType("F32", (layer.units,))
