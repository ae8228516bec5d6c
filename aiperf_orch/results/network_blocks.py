"""Blocks of a network for its picture: each layer together with the batch-norms and ReLUs that follow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiperf_orch.network.graph import Graph, Layer

_JOINED: Final = frozenset({"batch_norm", "relu"})
"""Kinds of layers that join the block of their input: they change neither channels nor sides."""


@dataclass(frozen=True, slots=True)
class Block:
    """A layer of another kind than batch-norm and ReLU, and those that follow it.

    Attributes:
        kind: Kind of the first layer.
        name: The first layer with its kernel and stride.
        layers: Names of all layers, in order.
        channels: Number of channels of the output; of a dense layer, of its units.
        side: Height of the output in pixels.
        inputs: Indices of the blocks that it reads, each once and smaller than its own.
    """

    kind: str
    name: str
    layers: tuple[str, ...]
    channels: int
    side: int
    inputs: tuple[int, ...]


def blocks_of(graph: Graph) -> list[Block]:
    """Group the layers of a network into blocks, in topological order."""
    members: list[list[Layer]] = []
    block_of: dict[int, int] = {}
    for layer in graph.layers:
        if layer.kind in _JOINED:
            index = block_of[layer.inputs[0]]
            members[index].append(layer)
        else:
            index = len(members)
            members.append([layer])
        block_of[layer.id] = index
    return [_block(graph, layers, block_of) for layers in members]


def _block(graph: Graph, layers: list[Layer], block_of: dict[int, int]) -> Block:
    first = layers[0]
    side, _, channels = graph.shapes[first.id]
    inputs = tuple(sorted({block_of[source] for source in first.inputs}))
    return Block(first.kind, _name(first), tuple(map(_name, layers)), channels, side, inputs)


def _name(layer: Layer) -> str:
    """Kind, kernel and stride of a layer."""
    name = layer.kind.replace("_", " ")
    if layer.kernel:
        name += f" {layer.kernel}×{layer.kernel}"  # noqa: RUF001
    return name + (f", stride {layer.stride}" if layer.stride > 1 else "")
