"""Immutable graph of a convolutional network: layers, shapes, JSON conversion, sums over layers.

Shapes are (height, width, channels) of one image. Convolutions and pooling have "same" padding: an output side is
ceil(side / stride). `Graph.replace_layers` makes the child of a morphism and recomputes only what the change affects.
The canonical hash is in `canonical`; operation counts and memory estimates are in `counts` and `memory`.
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
Quantities = tuple[int, ...]
Measure = Callable[["Graph", "Layer"], Quantities]
"""Quantities of one layer that are summed over a network, such as its parameters.

They may depend on the layer, its output shape, and the shapes and kinds of its inputs, and on nothing else.
"""

# kind -> its integer attributes, each at least 1
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
MAX_SIDE: Final = 1 << 20  # of maps, kernels and channels: limits the effect of a hostile file, far above any real use


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. `id` is unique in its graph and kept by morphisms: weights are inherited by it."""

    id: int
    kind: str
    inputs: tuple[int, ...] = ()
    filters: int = 0
    kernel: int = 0
    stride: int = 0
    units: int = 0

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """All attributes; 0 for those that the kind does not have."""
        return self.filters, self.kernel, self.stride, self.units

    def attributes(self) -> dict[str, int]:
        """Return the attributes of this kind of layer, by name."""
        return {name: getattr(self, name) for name in ATTRIBUTES[self.kind]}


class Graph:
    """A valid network: one input, one output (its last layer), every layer on a path between them.

    `layers` are in topological order and begin with the input. Two graphs are equal if their layers and input shapes
    are equal; `hash` is equal for graphs of the same structure with different numbering. In a child made by
    `replace_layers`, `touched` holds the layers that are new or replaced, or whose inputs have another shape.
    """

    __slots__ = ("__dict__", "_totals", "input_shape", "layers", "touched")

    def __init__(self, input_shape: Shape, layers: Iterable[Layer]) -> None:
        """Validate the layers, which must be in topological order.

        Raises:
            NetworkError: If the network is not valid; the message names the layer and the reason.
        """
        self.input_shape = input_shape
        self.layers = tuple(layers)
        self.touched: tuple[Layer, ...] = ()
        self._totals: dict[Measure, Quantities] = {}
        self.shapes  # noqa: B018  computing the shapes validates the layers
        self._check_reachable()

    def replace_layers(self, replaced: Mapping[int, Layer], new: Sequence[Layer] = (), after: int = -1) -> Graph:
        """Return the graph after a morphism; equal to constructing it from all layers, at a fraction of the cost.

        Only shapes that the change affects are computed and validated, and sums (`total`) are updated. The caller
        guarantees that every layer is still read by another one and that the ids of new layers are unused.

        Args:
            replaced: Layers that replace those of the same ids, by id.
            new: Layers to insert directly after layer `after` in the topological order.
            after: Id of a layer of this graph.

        Raises:
            NetworkError: If a layer does not fit its inputs; the message names the layer.
        """
        layers = list(self.layers)
        first = len(layers)
        for layer_id, layer in replaced.items():
            index = self.position[layer_id]
            layers[index] = layer
            first = min(first, index)
        if new:
            index = self.position[after] + 1
            layers[index:index] = new
            first = min(first, index)
        child = object.__new__(Graph)
        child.input_shape, child.layers = self.input_shape, tuple(layers)
        child.__dict__["shapes"] = shapes = dict(self.shapes)
        reshaped: set[int] = set()  # ids of layers that are new or whose output shape changed
        touched: list[Layer] = []
        given = {layer.id for layer in new}.union(replaced)
        for layer in layers[first:]:
            if layer.id not in given and reshaped.isdisjoint(layer.inputs):
                continue
            touched.append(layer)
            shape = _output_shape(layer, [shapes[source] for source in layer.inputs])
            if shape != shapes.get(layer.id):
                shapes[layer.id] = shape
                reshaped.add(layer.id)
        child.touched = tuple(touched)
        before = [self.by_id[layer.id] for layer in touched if layer.id in self.by_id]
        child._totals = {
            measure: _update_sums(total, _measure_each(child, touched, measure), _measure_each(self, before, measure))
            for measure, total in self._totals.items()
        }
        return child

    def total(self, measure: Measure) -> Quantities:
        """Return the sums of a measure over all layers except the input; cached, and updated for children."""
        if measure not in self._totals:
            self._totals[measure] = tuple(map(sum, zip(*_measure_each(self, self.layers[1:], measure), strict=True)))
        return self._totals[measure]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.input_shape == other.input_shape and self.layers == other.layers

    def __hash__(self) -> int:
        return hash((self.input_shape, self.layers))

    def __repr__(self) -> str:
        return f"<Graph {self.hash[:12]} of {self.depth} layers on {self.input_shape}>"

    @property
    def output(self) -> Layer:
        """The last layer, whose output are the logits."""
        return self.layers[-1]

    @property
    def depth(self) -> int:
        """Number of layers without the input, to which the limit of 300 layers applies."""
        return len(self.layers) - 1

    @property
    def classes(self) -> int:
        """Number of logits."""
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
        """Ids of the readers of each layer, in topological order; a layer that reads another twice is listed twice."""
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
                raise NetworkError(f"layer {layer.id} appears twice in the network")
            try:
                inputs = [shapes[source] for source in layer.inputs]
            except KeyError as missing:
                raise NetworkError(
                    f"layer {layer.id} ({layer.kind}) reads layer {missing}, which does not precede it"
                ) from None
            shapes[layer.id] = self.input_shape if layer is self.layers[0] else _output_shape(layer, inputs)
        return shapes

    @property
    def parameters(self) -> int:
        """Number of trainable parameters: convolutions without bias, batch-norm scale and shift, dense with bias."""
        return self.total(_parameters)[0]

    @cached_property
    def hash(self) -> str:
        """Hash of the structure (64 hex digits), independent of numbering and order; see `canonical`."""
        return canonical.structure_hash(self.input_shape, self.layers)

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON object; `from_json` reads it back unchanged."""
        return {
            "format": FORMAT,
            "input_shape": list(self.input_shape),
            "layers": [_layer_to_json(layer) for layer in self.layers],
        }

    @classmethod
    def from_json(cls, value: object) -> Graph:
        """Read a graph from a decoded JSON object.

        Raises:
            NetworkError: If it is not a valid network; the message names the layer and the attribute.
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


def _layer_to_json(layer: Layer) -> dict[str, Any]:
    item: dict[str, Any] = {"id": layer.id, "kind": layer.kind, "inputs": list(layer.inputs)}
    for name in ATTRIBUTES[layer.kind]:
        item[name] = getattr(layer, name)
    return item


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
            f"{where} ({kind}) must have exactly the keys {', '.join(sorted(expected))}: "
            f"{reprlib.repr(lacking)} missing, {reprlib.repr(unknown)} unknown"
        )
    if not (isinstance(inputs, list) and all(type(source) is int for source in inputs)):
        raise NetworkError(f"{where} ({kind}): inputs must be a list of layer ids, not {reprlib.repr(inputs)}")
    numbers = {name: item[name] for name in ("id", *ATTRIBUTES[kind])}
    for name, number in numbers.items():
        if type(number) is not int:
            raise NetworkError(f"{where} ({kind}): {name} must be an integer, not {reprlib.repr(number)}")
    return Layer(kind=kind, inputs=tuple(inputs), **numbers)


def _output_shape(layer: Layer, inputs: list[Shape]) -> Shape:
    where = f"layer {layer.id} ({layer.kind})"
    if layer.kind not in ATTRIBUTES or layer.kind == "input":
        raise NetworkError(f"{where}: unknown kind, or a second input")
    if layer.kind in MERGES:
        if len(inputs) < 2:
            raise NetworkError(f"{where} has {len(inputs)} inputs, at least 2 are needed")
    elif len(inputs) != 1:
        raise NetworkError(f"{where} has {len(inputs)} inputs, exactly 1 is needed")
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
                raise NetworkError(f"{where} has more than {MAX_SIDE} channels")
            return height, width, channels
        case _:  # batch_norm, relu
            return inputs[0]


def _parameters(graph: Graph, layer: Layer) -> Quantities:
    match layer.kind:
        case "conv":
            return (layer.kernel**2 * graph.shapes[layer.inputs[0]][2] * layer.filters,)
        case "batch_norm":
            return (2 * graph.shapes[layer.id][2],)
        case "dense":
            return ((math.prod(graph.shapes[layer.inputs[0]]) + 1) * layer.units,)
        case _:
            return (0,)


def _measure_each(graph: Graph, layers: Iterable[Layer], measure: Measure) -> list[Quantities]:
    return [measure(graph, layer) for layer in layers]


def _update_sums(total: Quantities, added: Iterable[Quantities], removed: Iterable[Quantities]) -> Quantities:
    sums = list(total)
    for quantities in added:
        for index, quantity in enumerate(quantities):
            sums[index] += quantity
    for quantities in removed:
        for index, quantity in enumerate(quantities):
            sums[index] -= quantity
    return tuple(sums)
