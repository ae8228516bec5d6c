"""Estimate of the device memory that training a network takes, affine in the batch size.

The part per image counts the feature maps that PyTorch saves in the forward pass for the backward pass: the output of
every convolution (input of its batch-norm), ReLU, pooling, concatenation and dense layer, and the indices of
max-pooling. The maps of batch-norms and adds are overwritten by the ReLU that follows, or not saved. The fixed part is
the parameters, their gradients and the momentum. Memory of libraries (CUDA context, convolution workspaces,
fragmentation) is not included: leave room for it in the limit. Accuracy: `docs/research/training.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from aiperf_orch.network.graph import Graph, Layer

_KEPT: Final = frozenset({"conv", "relu", "concat", "max_pool", "global_avg_pool", "dense"})
_VALUE_BYTES: Final = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "auto": 4}
_COPY_BYTES: Final = {"fp32": 0, "tf32": 0, "bf16": 2, "fp16": 2, "auto": 2}  # 16-bit copy of a parameter (autocast)
_STATE_BYTES: Final = 3 * 4  # parameter, gradient and momentum: 32 bits each in every precision
_INDEX_BYTES: Final = 8  # position of a maximum


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes needed for training: `fixed` + batch size x `per_image`."""

    fixed: int
    per_image: int

    def at(self, batch: int) -> int:
        """Return the bytes needed with `batch` images."""
        return self.fixed + batch * self.per_image

    def largest_batch(self, limit: int) -> int:
        """Return the largest batch that fits into `limit` bytes; 0 if not even one image does."""
        return max((limit - self.fixed) // self.per_image, 0)


def estimate(graph: Graph, precision: str) -> Memory:
    """Estimate the memory for training with SGD and momentum in `precision`, a value of `training.precision`.

    The precision that `auto` selects depends on the node: the estimate for it is the maximum over all precisions.
    """
    values, indices = graph.total(_kept)
    value_bytes = _VALUE_BYTES[precision]
    values += math.prod(graph.input_shape)
    return Memory(
        graph.parameters * (_STATE_BYTES + _COPY_BYTES[precision]), values * value_bytes + indices * _INDEX_BYTES
    )


def _kept(graph: Graph, layer: Layer) -> tuple[int, int]:
    """Numbers of values and of indices that a layer keeps for each image."""
    size = math.prod(graph.shapes[layer.id]) if layer.kind in _KEPT else 0
    return size, size if layer.kind == "max_pool" else 0
