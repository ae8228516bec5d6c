"""A convolutional network as an immutable graph of layers with shapes; JSON both ways; sums over layers.

Shapes are (height, width, channels) of one image. Convolutions and pooling are "same" padded: an output side is
ceil(side / stride). The child of a morphism is made by `changed`, which computes only what the change touches. Its
canonical hash is `canonical`'s; weights, training and what a layer's operations or memory are is left to others.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from aiperf_orch.network import canonical
from aiperf_orch.util.errors import NetworkError

FORMAT: Final = "aiperf-network-1"
Shape = tuple[int, int, int]
Amounts = tuple[int, ...]
Measure = Callable[["Graph", "Layer"], Amounts]
"""What one layer of a graph amounts to, by the layer, the shapes and the kinds of what it reads, and its own shape."""

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

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """All attributes, 0 where a kind has none."""
        return self.filters, self.kernel, self.stride, self.units

    def attributes(self) -> dict[str, int]:
        """The attributes that this kind of layer has, by name."""
        return {name: getattr(self, name) for name in ATTRIBUTES[self.kind]}


class Graph:
    """A valid network: one input, one output (its last layer), every layer on a path between them.

    `layers` are in topological order and begin with the input. Two graphs are equal when their layers and input
    shapes are; `hash` tells whether two differently numbered graphs have the same structure. Of a child made by
    `changed`, `touched` holds the layers that are new, or not as they were, or read maps that are not.
    """

    __slots__ = ("__dict__", "_totals", "input_shape", "layers", "touched")

    def __init__(self, input_shape: Shape, layers: Iterable[Layer]) -> None:
        """Check and keep the layers, which must come in topological order.

        Raises:
            NetworkError: naming the layer at fault and what is wrong with it.
        """
        self.input_shape = input_shape
        self.layers = tuple(layers)
        self.touched: tuple[Layer, ...] = ()
        self._totals: dict[Measure, Amounts] = {}
        self.shapes  # noqa: B018  computing the shapes is the check
        self._check_reachable()

    def changed(self, replaced: Mapping[int, Layer], new: Sequence[Layer] = (), after: int = -1) -> Graph:
        """The graph after a morphism: the same as checking and computing all of it anew, at a fraction of the cost.

        Only shapes that the change can reach are computed and checked, and `total` is carried over. That every layer is
        still read, and that the new ids are new, is the caller's promise.

        Args:
            replaced: by id, layers in place of those with the same ids.
            new: layers that come directly behind `after` in the topological order.
            after: id of a layer.

        Raises:
            NetworkError: naming the layer that does not fit.
        """
        layers = list(self.layers)
        first = len(layers)
        for layer_id, layer in replaced.items():
            place = self.position[layer_id]
            layers[place] = layer
            first = min(first, place)
        if new:
            place = self.position[after] + 1
            layers[place:place] = new
            first = min(first, place)
        child = object.__new__(Graph)
        child.input_shape, child.layers = self.input_shape, tuple(layers)
        child.__dict__["shapes"] = shapes = dict(self.shapes)
        moved: set[int] = set()  # layers whose shape is another, or that are new
        touched: list[Layer] = []
        fresh = {layer.id for layer in new}.union(replaced)
        for layer in layers[first:]:
            if layer.id not in fresh and moved.isdisjoint(layer.inputs):
                continue
            touched.append(layer)
            shape = _output_shape(layer, [shapes[source] for source in layer.inputs])
            if shape != shapes.get(layer.id):
                shapes[layer.id] = shape
                moved.add(layer.id)
        child.touched = tuple(touched)
        before = [self.by_id[layer.id] for layer in touched if layer.id in self.by_id]
        child._totals = {
            measure: _sums(total, _amounts(child, touched, measure), _amounts(self, before, measure))
            for measure, total in self._totals.items()
        }
        return child

    def total(self, measure: Measure) -> Amounts:
        """The sums of a measure over all layers but the input; kept, and for children found by what changed."""
        if measure not in self._totals:
            self._totals[measure] = tuple(map(sum, zip(*_amounts(self, self.layers[1:], measure), strict=True)))
        return self._totals[measure]

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
    def by_kind(self) -> dict[str, list[Layer]]:
        """Layers by their kind, in topological order."""
        found: dict[str, list[Layer]] = {kind: [] for kind in ATTRIBUTES}
        for layer in self.layers:
            found[layer.kind].append(layer)
        return found

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

    @property
    def parameters(self) -> int:
        """Number of trainable parameters: convolutions without bias, batch-norm scale and shift, dense with bias."""
        return self.total(_parameters)[0]

    @cached_property
    def hash(self) -> str:
        """Equal for equal structure whatever the numbering and order (64 hex digits); see `canonical`."""
        return canonical.structure_hash(self.input_shape, self.layers)

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


def _parameters(graph: Graph, layer: Layer) -> Amounts:
    match layer.kind:
        case "conv":
            return (layer.kernel**2 * graph.shapes[layer.inputs[0]][2] * layer.filters,)
        case "batch_norm":
            return (2 * graph.shapes[layer.id][2],)
        case "dense":
            return ((math.prod(graph.shapes[layer.inputs[0]]) + 1) * layer.units,)
        case _:
            return (0,)


def _amounts(graph: Graph, layers: Iterable[Layer], measure: Measure) -> list[Amounts]:
    return [measure(graph, layer) for layer in layers]


def _sums(total: Amounts, added: Iterable[Amounts], removed: Iterable[Amounts]) -> Amounts:
    sums = list(total)
    for amounts in added:
        for index, amount in enumerate(amounts):
            sums[index] += amount
    for amounts in removed:
        for index, amount in enumerate(amounts):
            sums[index] -= amount
    return tuple(sums)
