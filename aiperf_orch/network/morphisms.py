"""Morphisms: edits that turn a network into a child network which can compute the same function.

An `Edit` is stored with the child; `apply` makes the child's graph. New layers get the ids that follow the largest id
of the parent, in the order that the docstring of each edit lists, so that weight inheritance can identify them; all
other layers keep their ids. The weights of the child are computed by `trial.training.weight_inheritance`.

Edits:
- `deeper`: Insert a convolution, a batch-norm and a ReLU after a ReLU.
- `wider`: Double the filters of a convolution, and every channel that an add ties to them.
- `skip_add`: Project a ReLU (1x1 convolution, batch-norm) and add it to a later batch-norm.
- `skip_concat`: Concatenate a ReLU (projected if the sides differ) to a later batch-norm; a 1x1 convolution and a
  batch-norm restore the number of channels that the readers of the batch-norm expect.
"""

from __future__ import annotations

import reprlib
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from aiperf_orch.network import counts, memory
from aiperf_orch.network.graph import MAX_SIDE, Graph, Layer
from aiperf_orch.util.errors import NetworkError

EditKind = Literal["deeper", "wider", "skip_add", "skip_concat"]
KINDS: Final[tuple[EditKind, ...]] = get_args(EditKind)
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Edit:
    """One morphism: `at` is the ReLU to insert after, the convolution to widen, or the ReLU that a skip starts from.

    `to` is the batch-norm that a skip ends at, otherwise 0; `kernel` is the kernel size of the convolution that
    `deeper` inserts, otherwise 0.
    """

    kind: EditKind
    at: int
    to: int = 0
    kernel: int = 0

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON object, without the fields that the kind does not have."""
        fields: dict[str, Any] = {"kind": self.kind, "at": self.at}
        if self.kind.startswith("skip"):
            fields["to"] = self.to
        if self.kind == "deeper":
            fields["kernel"] = self.kernel
        return fields

    @classmethod
    def from_json(cls, value: object) -> Edit:
        """Read an edit from a decoded JSON object.

        Raises:
            NetworkError: If it is not a valid edit.
        """
        if not isinstance(value, dict) or value.get("kind") not in KINDS:
            raise NetworkError(f"not an edit: {reprlib.repr(value)}; its kind must be one of {', '.join(KINDS)}")
        kind = value["kind"]
        names = {"at"} | ({"to"} if kind.startswith("skip") else set()) | ({"kernel"} if kind == "deeper" else set())
        if set(value) != names | {"kind"} or any(type(value[name]) is not int for name in names):
            raise NetworkError(
                f"edit {kind}: must have integers for exactly {sorted(names)}, not {reprlib.repr(value)}"
            )
        return cls(**value)


@dataclass(frozen=True, slots=True)
class MorphismLimits:
    """Limits that the networks of a search must not exceed; None is no limit.

    `max_parameters` and `max_operations` (training one image) apply to exact counts. `max_memory`, in bytes, applies to
    the estimate for training with a batch of `batch` images in `precision`.
    """

    max_layers: int = 300
    max_parameters: int | None = None
    max_operations: int | None = None
    max_memory: int | None = None
    batch: int = 1
    precision: str = "fp32"

    def admit(self, graph: Graph) -> bool:
        """Return whether the graph is within all limits."""
        return self.exceeded(graph) is None

    def exceeded(self, graph: Graph) -> str | None:
        """Describe the first limit that the graph exceeds; None if it is within all limits."""
        if graph.depth > self.max_layers:
            return f"max_layers: {graph.depth} layers exceed {self.max_layers}"
        if self.max_parameters is not None and graph.parameters > self.max_parameters:
            return f"max_parameters: {graph.parameters} parameters exceed {self.max_parameters}"
        if self.max_operations is not None and (train := counts.count(graph).train) > self.max_operations:
            return f"max_operations: {train} operations to train an image exceed {self.max_operations}"
        if self.max_memory is not None:
            needed = memory.estimate(graph, self.precision).at(self.batch)
            if needed > self.max_memory:
                return (
                    f"max_memory: {needed / 2**30:.3f} GiB, the estimate for a batch of {self.batch}, exceed "
                    f"{self.max_memory / 2**30:.3f} GiB"
                )
        return None


def apply(graph: Graph, edit: Edit) -> Graph:
    """Return the graph of the child that an edit makes.

    Raises:
        NetworkError: If the edit does not fit the graph.
    """
    match edit.kind:
        case "deeper":
            return _deeper(graph, edit)
        case "wider":
            return _wider(graph, edit)
        case "skip_add":
            return _skip_add(graph, edit)
        case "skip_concat":
            return _skip_concat(graph, edit)


def apply_all(graph: Graph, edits: Iterable[Edit]) -> Graph:
    """Apply edits one after another."""
    for edit in edits:
        graph = apply(graph, edit)
    return graph


def candidates(graph: Graph, kind: EditKind, kernel: int) -> Sequence[Edit]:
    """List all edits of a kind that fit the graph, in topological order; `kernel` is the kernel size of `deeper`."""
    return [edit for start in _starts(graph, kind) for edit in _edits_at(graph, kind, start, kernel)]


def random_edit(graph: Graph, kernel: int, generator: np.random.Generator) -> Edit | None:
    """Draw an edit that fits the graph: the kind uniformly, then the layers; None if no edit fits."""
    for index in generator.permutation(len(KINDS)):
        edit = _random_of_kind(graph, KINDS[index], kernel, generator)
        if edit is not None:
            return edit
    return None


def duplicated_channels(graph: Graph, convolution: int) -> dict[int, Mask]:
    """Find the output channels of each layer that are doubled if a convolution is widened.

    These are all channels of the convolution and all channels that are tied to them: through layers that work channel
    by channel, through the other branches of an add, and through the offsets of a concatenation. The copy of a doubled
    channel directly follows it, which preserves the order of concatenations.

    Returns:
        Masks over the channels of each layer in `graph`, by layer id, without the layers that have no doubled channel.
        The mask of a layer that mixes channels (convolution, dense) applies to its output, not to its input.

    Raises:
        NetworkError: If the channels are tied to the input or output of the network, or would exceed `MAX_SIDE`.
    """
    masks: dict[int, Mask] = {}
    todo = [(convolution, np.ones(graph.shapes[convolution][2], dtype=np.bool_))]
    while todo:
        layer_id, mask = todo.pop()
        known = masks.get(layer_id)
        merged = mask if known is None else known | mask
        if not merged.any() or (known is not None and bool(np.array_equal(known, merged))):
            continue
        masks[layer_id] = merged
        layer = graph.by_id[layer_id]
        if layer.kind in ("input", "dense") or layer is graph.output:
            raise NetworkError(f"widening layer {convolution} would change the channels of layer {layer_id}")
        if merged.size + int(merged.sum()) > MAX_SIDE:
            raise NetworkError(
                f"widening layer {convolution} would give layer {layer_id} more than {MAX_SIDE} channels"
            )
        todo.extend(_tied_inputs(graph, layer, merged))
        for reader in graph.consumers[layer_id]:
            todo.extend(_tied_output(graph, graph.by_id[reader], layer_id, merged))
    return masks


def widened_from(mask: Mask) -> npt.NDArray[np.intp]:
    """Return the source channel of each channel after widening: itself, or the one that it copies."""
    return np.repeat(np.arange(mask.size), 1 + mask.astype(np.intp))


def skip_stride(graph: Graph, source: int, target: int) -> int | None:
    """Return the stride that reduces the sides of `source` to those of `target`; None if there is none."""
    (height, width, _), (out_height, out_width, _) = graph.shapes[source], graph.shapes[target]
    stride = max(-(-height // out_height), -(-width // out_width))  # the least with neither side too long
    fits = -(-height // stride) == out_height and -(-width // stride) == out_width
    return stride if fits else None


def _deeper(graph: Graph, edit: Edit) -> Graph:
    """New layers: convolution, batch-norm, ReLU."""
    _expect(graph, edit, edit.at, "relu")
    first = _next_id(graph)
    new = [
        Layer(first, "conv", (edit.at,), filters=graph.shapes[edit.at][2], kernel=edit.kernel, stride=1),
        Layer(first + 1, "batch_norm", (first,)),
        Layer(first + 2, "relu", (first + 1,)),
    ]
    return _insert(graph, edit.at, new)


def _wider(graph: Graph, edit: Edit) -> Graph:
    """No new layers."""
    _expect(graph, edit, edit.at, "conv")
    masks = duplicated_channels(graph, edit.at)
    layers = [graph.by_id[layer_id] for layer_id in masks]
    return graph.replace_layers(
        {
            layer.id: replace(layer, filters=layer.filters + int(masks[layer.id].sum()))
            for layer in layers
            if layer.kind == "conv"
        }
    )


def _skip_add(graph: Graph, edit: Edit) -> Graph:
    """New layers: 1x1 convolution, its batch-norm, add."""
    stride = _expect_skip(graph, edit)
    first = _next_id(graph)
    new = [
        Layer(first, "conv", (edit.at,), filters=graph.shapes[edit.to][2], kernel=1, stride=stride),
        Layer(first + 1, "batch_norm", (first,)),
        Layer(first + 2, "add", (edit.to, first + 1)),
    ]
    return _insert(graph, edit.to, new)


def _skip_concat(graph: Graph, edit: Edit) -> Graph:
    """New layers: 1x1 convolution and batch-norm if the sides differ; concat; 1x1 convolution, batch-norm."""
    stride = _expect_skip(graph, edit)
    first = _next_id(graph)
    new, source = [], edit.at
    if stride > 1:
        new.append(Layer(first, "conv", (edit.at,), filters=graph.shapes[edit.at][2], kernel=1, stride=stride))
        new.append(Layer(first + 1, "batch_norm", (first,)))
        source, first = first + 1, first + 2
    new += [
        Layer(first, "concat", (edit.to, source)),
        Layer(first + 1, "conv", (first,), filters=graph.shapes[edit.to][2], kernel=1, stride=1),
        Layer(first + 2, "batch_norm", (first + 1,)),
    ]
    return _insert(graph, edit.to, new)


def _insert(graph: Graph, after: int, new: Sequence[Layer]) -> Graph:
    """Insert layers directly after `after`, whose readers then read the last of them instead."""
    if graph.output.id == after:
        raise NetworkError(f"layer {after} is the output of the network: no layer can follow it")
    readers = {
        reader: _reconnect(graph.by_id[reader], after, new[-1].id) for reader in dict.fromkeys(graph.consumers[after])
    }
    return graph.replace_layers(readers, new, after)


def _reconnect(layer: Layer, old_source: int, source: int) -> Layer:
    return replace(layer, inputs=tuple(source if each == old_source else each for each in layer.inputs))


def _next_id(graph: Graph) -> int:
    return max(graph.by_id) + 1


def _expect(graph: Graph, edit: Edit, layer_id: int, kind: str) -> None:
    layer = graph.by_id.get(layer_id)
    if layer is None or layer.kind != kind:
        found = "which does not exist" if layer is None else f"a {layer.kind}"
        raise NetworkError(f"edit {edit.kind} needs a {kind}, not layer {layer_id}, {found}")


def _expect_skip(graph: Graph, edit: Edit) -> int:
    _expect(graph, edit, edit.at, "relu")
    _expect(graph, edit, edit.to, "batch_norm")
    if graph.position[edit.at] >= graph.position[edit.to]:
        raise NetworkError(f"edit {edit.kind}: layer {edit.to} does not follow layer {edit.at}")
    stride = skip_stride(graph, edit.at, edit.to)
    if stride is None:
        raise NetworkError(
            f"edit {edit.kind}: no stride reduces {graph.shapes[edit.at]} to the sides of {graph.shapes[edit.to]}"
        )
    return stride


def _starts(graph: Graph, kind: EditKind) -> list[int]:
    """Layers at which an edit of a kind may start, whether or not it fits."""
    return [layer.id for layer in graph.by_kind["conv" if kind == "wider" else "relu"]]


def _edits_at(graph: Graph, kind: EditKind, start: int, kernel: int) -> list[Edit]:
    """All edits of a kind that fit the graph and start at a layer."""
    match kind:
        case "deeper":
            return [Edit("deeper", start, kernel=kernel)] if start != graph.output.id else []
        case "wider":
            return [Edit("wider", start)] if _can_widen(graph, start) else []
        case "skip_add" | "skip_concat":
            norms = [layer.id for layer in graph.by_kind["batch_norm"] if layer is not graph.output]
            first = bisect(norms, graph.position[start], key=graph.position.__getitem__)
            return [Edit(kind, start, to=end) for end in norms[first:] if _can_skip(graph, kind, start, end)]


def _can_widen(graph: Graph, convolution: int) -> bool:
    try:
        duplicated_channels(graph, convolution)
    except NetworkError:
        return False
    return True


def _can_skip(graph: Graph, kind: EditKind, start: int, end: int) -> bool:
    channels = graph.shapes[start][2] + graph.shapes[end][2]
    return skip_stride(graph, start, end) is not None and (kind == "skip_add" or channels <= MAX_SIDE)


def _random_of_kind(graph: Graph, kind: EditKind, kernel: int, generator: np.random.Generator) -> Edit | None:
    """Draw one of `candidates` without listing all of them: first the layer it starts at, then its end."""
    starts = _starts(graph, kind)
    for index in generator.permutation(len(starts)):
        edits = _edits_at(graph, kind, starts[index], kernel)
        if edits:
            return edits[generator.integers(len(edits))]
    return None


def _tied_inputs(graph: Graph, layer: Layer, mask: Mask) -> Iterator[tuple[int, Mask]]:
    """Inputs of a layer and the channels of each that must be doubled with the channels `mask` of its output."""
    if layer.kind == "concat":
        offset = 0
        for source in layer.inputs:
            channels = graph.shapes[source][2]
            yield source, mask[offset : offset + channels]
            offset += channels
    elif layer.kind != "conv":
        for source in layer.inputs:
            yield source, mask


def _tied_output(graph: Graph, reader: Layer, source: int, mask: Mask) -> Iterator[tuple[int, Mask]]:
    """A reader and the channels of its output that are doubled with the channels `mask` of its input `source`."""
    if reader.kind == "concat":
        pieces = [mask if each == source else np.zeros(graph.shapes[each][2], dtype=np.bool_) for each in reader.inputs]
        yield reader.id, np.concatenate(pieces)
    elif reader.kind not in ("conv", "dense"):
        yield reader.id, mask
