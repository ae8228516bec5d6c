"""A convolutional network as an immutable graph of layers with shapes; JSON both ways; a canonical hash.

Shapes are (height, width, channels) of one image. Convolutions and pooling are "same" padded: an output side is
ceil(side / stride). Weights, training and operation counts are left to others.
"""

from __future__ import annotations

import hashlib
import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from aiperf_orch.errors import NetworkError

FORMAT: Final = "aiperf-network-1"
Shape = tuple[int, int, int]

# kind -> the integer attributes it has, each at least 1
ATTRIBUTES: Final[Mapping[str, tuple[str, ...]]] = {
    "input": (),
    "conv": ("filters", "kernel", "stride"),
    "batch_norm": (),
    "relu": (),
    "add": (),
    "concat": (),
    "max_pool": ("kernel", "stride"),
    "global_avg_pool": (),
    "dense": ("units",),
}
MERGES: Final = frozenset({"add", "concat"})
MAX_SIDE: Final = 1 << 20  # of maps, kernels and channels: bounds what a hostile file can ask for, far above any need


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. `id` is unique in its graph and survives morphisms, so that weights can be inherited by it."""

    id: int
    kind: str
    inputs: tuple[int, ...] = ()
    filters: int = 0
    kernel: int = 0
    stride: int = 0
    units: int = 0

    def attributes(self) -> dict[str, int]:
        """The attributes that this kind of layer has, by name."""
        return {name: getattr(self, name) for name in ATTRIBUTES[self.kind]}


class Graph:
    """A valid network: one input, one output (its last layer), every layer on a path between them.

    `layers` are in topological order and begin with the input. Two graphs are equal when their layers and input
    shapes are; `hash` tells whether two differently numbered graphs have the same structure.
    """

    __slots__ = ("__dict__", "input_shape", "layers")

    def __init__(self, input_shape: Shape, layers: Iterable[Layer]) -> None:
        """Check and keep the layers, which must come in topological order.

        Raises:
            NetworkError: naming the layer at fault and what is wrong with it.
        """
        self.input_shape = input_shape
        self.layers = tuple(layers)
        self.shapes  # noqa: B018  computing the shapes is the check
        self._check_reachable()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.input_shape == other.input_shape and self.layers == other.layers

    def __hash__(self) -> int:
        return hash((self.input_shape, self.layers))

    def __repr__(self) -> str:
        return f"<Graph {self.hash[:12]} of {self.depth} layers on {self.input_shape}>"

    @property
    def output(self) -> Layer:
        """The last layer, which gives the logits."""
        return self.layers[-1]

    @property
    def depth(self) -> int:
        """Number of layers, the input not counted: what the limit of 300 layers is about."""
        return len(self.layers) - 1

    @property
    def classes(self) -> int:
        """Number of outputs."""
        return math.prod(self.shapes[self.output.id])

    @cached_property
    def by_id(self) -> dict[int, Layer]:
        """Layers by their id."""
        return {layer.id: layer for layer in self.layers}

    @cached_property
    def position(self) -> dict[int, int]:
        """Index of each layer in the topological order, by id."""
        return {layer.id: index for index, layer in enumerate(self.layers)}

    @cached_property
    def consumers(self) -> dict[int, list[int]]:
        """Ids of the layers that read each layer, in topological order; a layer that reads twice stands twice."""
        found: dict[int, list[int]] = {layer.id: [] for layer in self.layers}
        for layer in self.layers:
            for source in layer.inputs:
                found[source].append(layer.id)
        return found

    @cached_property
    def shapes(self) -> dict[int, Shape]:
        """Output shape (height, width, channels) of each layer, by id; (1, 1, units) after a dense layer."""
        if not self.layers or self.layers[0].kind != "input":
            raise NetworkError("a network's first layer must be its input")
        if any(not 1 <= side <= MAX_SIDE for side in self.input_shape):
            raise NetworkError(
                f"input shape {reprlib.repr(self.input_shape)}: each side must be between 1 and {MAX_SIDE}"
            )
        shapes: dict[int, Shape] = {}
        for layer in self.layers:
            if layer.id in shapes:
                raise NetworkError(f"layer {layer.id} stands twice in the network")
            try:
                inputs = [shapes[source] for source in layer.inputs]
            except KeyError as missing:
                raise NetworkError(
                    f"layer {layer.id} ({layer.kind}) reads layer {missing}, which does not stand before it"
                ) from None
            shapes[layer.id] = self.input_shape if layer is self.layers[0] else _output_shape(layer, inputs)
        return shapes

    @cached_property
    def parameters(self) -> int:
        """Number of trainable parameters: convolutions without bias, batch-norm scale and shift, dense with bias."""
        total = 0
        for layer in self.layers:
            if layer.kind == "conv":
                total += layer.kernel**2 * self.shapes[layer.inputs[0]][2] * layer.filters
            elif layer.kind == "batch_norm":
                total += 2 * self.shapes[layer.id][2]
            elif layer.kind == "dense":
                total += (math.prod(self.shapes[layer.inputs[0]]) + 1) * layer.units
        return total

    @cached_property
    def hash(self) -> str:
        """SHA-256 that is equal for equal structure whatever the numbering and order (64 hex digits).

        Each layer's label is refined by what it reads (in order, but for add) and by what reads it, twice in both
        directions (Weisfeiler and Leman's colour refinement along a directed graph); the sorted labels are hashed.
        Different structures get different hashes, but for contrived ones of many identical branches that differ only
        in which of them meet in which add.
        """
        # by layer, what reads it and in which places of its inputs; all places of an add are alike
        reads: dict[int, dict[int, list[int]]] = {layer.id: {} for layer in self.layers}
        for layer in self.layers:
            for place, source in enumerate(layer.inputs):
                reads[source].setdefault(layer.id, []).append(0 if layer.kind == "add" else place)
        labels = {layer.id: _digest(layer.kind, *layer.attributes().values()) for layer in self.layers}
        for _ in range(2):
            for layer in self.layers:
                sources = [labels[source] for source in layer.inputs]
                labels[layer.id] = _digest(labels[layer.id], *(sorted(sources) if layer.kind == "add" else sources))
            for layer in reversed(self.layers):
                readers = [_digest(labels[reader], *places) for reader, places in reads[layer.id].items()]
                labels[layer.id] = _digest(labels[layer.id], *sorted(readers))
        text = repr((FORMAT, self.input_shape, [label.hex() for label in sorted(labels.values())]))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The graph as a JSON object; `from_json` reads it back unchanged."""
        return {
            "format": FORMAT,
            "input_shape": list(self.input_shape),
            "layers": [
                {"id": layer.id, "kind": layer.kind, "inputs": list(layer.inputs), **layer.attributes()}
                for layer in self.layers
            ],
        }

    @classmethod
    def from_json(cls, value: object) -> Graph:
        """Read a graph from a decoded JSON object.

        Raises:
            NetworkError: when it is not one, naming the layer and the attribute.
        """
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise NetworkError(f'not a network: an object with "format": "{FORMAT}" was expected')
        shape, layers = value.get("input_shape"), value.get("layers")
        if not (isinstance(shape, list) and len(shape) == 3 and all(type(side) is int for side in shape)):
            raise NetworkError(f"input_shape must be [height, width, channels], not {reprlib.repr(shape)}")
        if not isinstance(layers, list):
            raise NetworkError("layers must be a list")
        return cls((shape[0], shape[1], shape[2]), [_layer_from_json(item) for item in layers])

    def _check_reachable(self) -> None:
        for layer in self.layers[:-1]:
            if not self.consumers[layer.id]:
                raise NetworkError(f"layer {layer.id} ({layer.kind}) is read by no other layer")
        if self.output.kind == "input":
            raise NetworkError("a network needs layers after its input")


def _layer_from_json(item: object) -> Layer:
    if not isinstance(item, dict):
        raise NetworkError(f"a layer must be an object, not {reprlib.repr(item)}")
    kind, inputs = item.get("kind"), item.get("inputs")
    where = f"layer {reprlib.repr(item.get('id'))}"
    if not isinstance(kind, str) or kind not in ATTRIBUTES:
        raise NetworkError(f"{where}: unknown kind {reprlib.repr(kind)}; known: {', '.join(ATTRIBUTES)}")
    expected = {"id", "kind", "inputs", *ATTRIBUTES[kind]}
    if set(item) != expected:
        lacking, unknown = sorted(expected - set(item)), sorted(map(str, set(item) - expected))
        raise NetworkError(
            f"{where} ({kind}) must have exactly {', '.join(sorted(expected))}: "
            f"{reprlib.repr(lacking)} missing, {reprlib.repr(unknown)} unknown"
        )
    if not (isinstance(inputs, list) and all(type(source) is int for source in inputs)):
        raise NetworkError(f"{where} ({kind}): inputs must be a list of layer ids, not {reprlib.repr(inputs)}")
    numbers = {name: item[name] for name in ("id", *ATTRIBUTES[kind])}
    for name, number in numbers.items():
        if type(number) is not int:
            raise NetworkError(f"{where} ({kind}): {name} must be a whole number, not {reprlib.repr(number)}")
    return Layer(kind=kind, inputs=tuple(inputs), **numbers)


def _output_shape(layer: Layer, inputs: list[Shape]) -> Shape:
    where = f"layer {layer.id} ({layer.kind})"
    if layer.kind not in ATTRIBUTES or layer.kind == "input":
        raise NetworkError(f"{where}: unknown kind, or a second input")
    if (len(inputs) < 2) if layer.kind in MERGES else (len(inputs) != 1):
        raise NetworkError(f"{where} reads {len(inputs)} layers")
    for name, number in layer.attributes().items():
        if not 1 <= number <= MAX_SIDE:
            raise NetworkError(f"{where}: {name} must be between 1 and {MAX_SIDE}, not {reprlib.repr(number)}")
    height, width, channels = inputs[0]
    match layer.kind:
        case "conv":
            if layer.kernel % 2 == 0:
                raise NetworkError(f"{where}: the kernel must be odd, not {layer.kernel}")
            return -(-height // layer.stride), -(-width // layer.stride), layer.filters
        case "max_pool":
            return -(-height // layer.stride), -(-width // layer.stride), channels
        case "global_avg_pool":
            return 1, 1, channels
        case "dense":
            return 1, 1, layer.units
        case "add":
            if any(shape != inputs[0] for shape in inputs):
                raise NetworkError(f"{where} adds different shapes: {reprlib.repr(inputs)}")
            return inputs[0]
        case "concat":
            if any(shape[:2] != inputs[0][:2] for shape in inputs):
                raise NetworkError(f"{where} concatenates maps of different sides: {reprlib.repr(inputs)}")
            channels = sum(shape[2] for shape in inputs)
            if channels > MAX_SIDE:
                raise NetworkError(f"{where} gives more than {MAX_SIDE} channels")
            return height, width, channels
        case _:  # batch_norm, relu
            return inputs[0]


def _digest(*parts: bytes | str | int) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
