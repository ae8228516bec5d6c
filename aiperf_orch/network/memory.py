"""How much memory of an accelerator it takes to train a network: an estimate, affine in the batch.

Per image it counts the maps that PyTorch keeps from the forward pass for the backward pass: the output of every
convolution (its batch-norm needs it), ReLU, pooling, concatenation and dense layer, with max-pooling's indices; the
maps of batch-norms and adds are overwritten by the ReLU behind them, or dropped. The fixed part is the parameters,
their gradients and momentum. What a library takes besides (a CUDA context, a convolution's workspace, fragments) is
left to whoever sets a limit. By `benchmarks/memory.py` it is 1.05 to 1.08 times the peak of what PyTorch allocates for
ResNet-50 and seven descendants on a CPU, whose processes grew 1.4 to 1.6 times as much. No accelerator was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from aiperf_orch.network.graph import Graph, Layer

_KEPT: Final = frozenset({"conv", "relu", "concat", "max_pool", "global_avg_pool", "dense"})
_VALUE_BYTES: Final = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "auto": 4}
_COPY_BYTES: Final = {"fp32": 0, "tf32": 0, "bf16": 2, "fp16": 2, "auto": 2}  # of a parameter, for 16-bit arithmetic
_STATE_BYTES: Final = 3 * 4  # a parameter, its gradient and its momentum, in 32 bits whatever the precision
_INDEX_BYTES: Final = 8  # of where a maximum was


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes to train: `fixed`, and `per_image` of the batch."""

    fixed: int
    per_image: int

    def at(self, batch: int) -> int:
        """Bytes to train with a batch of so many images."""
        return self.fixed + batch * self.per_image

    def largest_batch(self, limit: int) -> int:
        """The most images that fit into so many bytes; 0 when none does."""
        return max((limit - self.fixed) // self.per_image, 0)


def estimate(graph: Graph, precision: str) -> Memory:
    """The memory to train a network with SGD and momentum, in a precision that the settings name.

    What `auto` will take is known on the nodes only: the estimate is the most that any precision takes.
    """
    values, indices = graph.total(_kept)
    value_bytes = _VALUE_BYTES[precision]
    values += math.prod(graph.input_shape)
    return Memory(
        graph.parameters * (_STATE_BYTES + _COPY_BYTES[precision]), values * value_bytes + indices * _INDEX_BYTES
    )


def _kept(graph: Graph, layer: Layer) -> tuple[int, int]:
    """Values that are kept of one image because of a layer, and indices."""
    size = math.prod(graph.shapes[layer.id]) if layer.kind in _KEPT else 0
    return size, size if layer.kind == "max_pool" else 0
