"""Morphisms: edits that make a child network which can compute what its parent did.

An edit is data (it is stored beside the child); `apply` makes the child's graph. New layers get the ids that follow
the parent's largest one, in the order that each edit's docstring names, so that whoever inherits weights knows which
is which; all other layers keep their ids. How weights follow an edit is left to the trial.

Edits:
- `deeper`: convolution, batch-norm, ReLU after a ReLU.
- `wider`: a convolution's filters are doubled, and with them every channel that an add ties to them.
- `skip_add`: a ReLU is projected (1x1 convolution, batch-norm) and added to a later batch-norm.
- `skip_concat`: a ReLU (projected where the side differs) is concatenated to a later batch-norm, and a 1x1
  convolution with batch-norm brings the channels back to what the batch-norm's readers expect.
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
    """One morphism: `at` is the ReLU to deepen after, the convolution to widen, or the ReLU a skip starts from.

    `to` is the batch-norm that a skip ends at, else 0; `kernel` is the side of the convolution that deepening adds,
    else 0.
    """

    kind: EditKind
    at: int
    to: int = 0
    kernel: int = 0

    def to_json(self) -> dict[str, Any]:
        """The edit as a JSON object, without the fields that its kind does not have."""
        fields: dict[str, Any] = {"kind": self.kind, "at": self.at}
        if self.kind.startswith("skip"):
            fields["to"] = self.to
        if self.kind == "deeper":
            fields["kernel"] = self.kernel
        return fields

    @classmethod
    def from_json(cls, value: object) -> Edit:
        """Read an edit from a decoded JSON object; NetworkError when it is not one."""
        if not isinstance(value, dict) or value.get("kind") not in KINDS:
            raise NetworkError(f"not an edit: {reprlib.repr(value)}; its kind must be one of {', '.join(KINDS)}")
        kind = value["kind"]
        names = {"at"} | ({"to"} if kind.startswith("skip") else set()) | ({"kernel"} if kind == "deeper" else set())
        if set(value) != names | {"kind"} or any(type(value[name]) is not int for name in names):
            raise NetworkError(
                f"edit {kind}: must have whole numbers for exactly {sorted(names)}, not {reprlib.repr(value)}"
            )
        return cls(**value)


@dataclass(frozen=True, slots=True)
class MorphismLimits:
    """What a network may not exceed; None is no limit. Parameters and operations (`train`) are exact counts.

    `max_memory` is in bytes, and held against the estimate of what training takes with a batch of `batch` images in
    `precision`.
    """

    max_layers: int = 300
    max_parameters: int | None = None
    max_operations: int | None = None
    max_memory: int | None = None
    batch: int = 1
    precision: str = "fp32"

    def admit(self, graph: Graph) -> bool:
        """Whether the graph is within all limits."""
        return self.exceeded(graph) is None

    def exceeded(self, graph: Graph) -> str | None:
        """The first limit that the graph exceeds, and by what; None when it is within all."""
        if graph.depth > self.max_layers:
            return f"max_layers: {graph.depth} layers are more than {self.max_layers}"
        if self.max_parameters is not None and graph.parameters > self.max_parameters:
            return f"max_parameters: {graph.parameters} parameters are more than {self.max_parameters}"
        if self.max_operations is not None and (train := counts.count(graph).train) > self.max_operations:
            return f"max_operations: {train} operations to train an image are more than {self.max_operations}"
        if self.max_memory is not None:
            needed = memory.estimate(graph, self.precision).at(self.batch)
            if needed > self.max_memory:
                return (
                    f"max_memory: {needed / 2**30:.3f} GiB, the estimate for a batch of {self.batch}, are more than "
                    f"{self.max_memory / 2**30:.3f}"
                )
        return None


def apply(graph: Graph, edit: Edit) -> Graph:
    """The child's graph.

    Raises:
        NetworkError: when the edit does not fit this graph.
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
    """The graph after each edit in turn."""
    for edit in edits:
        graph = apply(graph, edit)
    return graph


def candidates(graph: Graph, kind: EditKind, kernel: int) -> Sequence[Edit]:
    """Every edit of a kind that fits the graph, in topological order; `kernel` is what deepening adds."""
    return [edit for start in _starts(graph, kind) for edit in _edits_at(graph, kind, start, kernel)]


def random_edit(graph: Graph, kernel: int, generator: np.random.Generator) -> Edit | None:
    """A random edit that fits the graph: the kind first, uniformly, then its place; None when nothing fits."""
    for index in generator.permutation(len(KINDS)):
        edit = _random_of_kind(graph, KINDS[index], kernel, generator)
        if edit is not None:
            return edit
    return None


def duplicated_channels(graph: Graph, convolution: int) -> dict[int, Mask]:
    """Which output channels of each layer are doubled when a convolution is widened.

    All of the convolution's channels are, and with them whatever is tied to them: through layers that work channel by
    channel, through every other branch of an add, and through the offsets of a concatenation. A doubled channel's copy
    stands directly after it, which keeps concatenations in order.

    Returns:
        By layer id, a mask over the layer's channels in `graph`; layers with nothing doubled are left out. A layer
        that mixes channels (convolution, dense) has the mask of its own output, not of its input.

    Raises:
        NetworkError: when the channels are tied to the network's input or output, or would be too many.
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
            raise NetworkError(f"widening layer {convolution} gives layer {layer_id} more than {MAX_SIDE} channels")
        todo.extend(_tied_inputs(graph, layer, merged))
        for reader in graph.consumers[layer_id]:
            todo.extend(_tied_output(graph, graph.by_id[reader], layer_id, merged))
    return masks


def widened_from(mask: Mask) -> npt.NDArray[np.intp]:
    """For each channel after widening, the channel before it that it is or copies."""
    return np.repeat(np.arange(mask.size), 1 + mask.astype(np.intp))


def skip_stride(graph: Graph, source: int, target: int) -> int | None:
    """The stride that takes the source's sides to the target's, or None when none does."""
    (height, width, _), (out_height, out_width, _) = graph.shapes[source], graph.shapes[target]
    stride = max(-(-height // out_height), -(-width // out_width))  # the least that brings neither side out too long
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
    return graph.changed(
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
    """New layers: where the sides differ a 1x1 convolution and its batch-norm; concat; 1x1 convolution, batch-norm."""
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
    """Place new layers directly behind `after`; whatever read it reads the last of them instead."""
    if graph.output.id == after:
        raise NetworkError(f"layer {after} is the network's output: nothing can stand behind it")
    readers = {
        reader: _reading(graph.by_id[reader], after, new[-1].id) for reader in dict.fromkeys(graph.consumers[after])
    }
    return graph.changed(readers, new, after)


def _reading(layer: Layer, instead_of: int, source: int) -> Layer:
    return replace(layer, inputs=tuple(source if each == instead_of else each for each in layer.inputs))


def _next_id(graph: Graph) -> int:
    return max(graph.by_id) + 1


def _expect(graph: Graph, edit: Edit, layer_id: int, kind: str) -> None:
    layer = graph.by_id.get(layer_id)
    if layer is None or layer.kind != kind:
        found = "which is not there" if layer is None else f"a {layer.kind}"
        raise NetworkError(f"edit {edit.kind} needs a {kind}, not layer {layer_id}, {found}")


def _expect_skip(graph: Graph, edit: Edit) -> int:
    _expect(graph, edit, edit.at, "relu")
    _expect(graph, edit, edit.to, "batch_norm")
    if graph.position[edit.at] >= graph.position[edit.to]:
        raise NetworkError(f"edit {edit.kind}: layer {edit.to} does not stand after layer {edit.at}")
    stride = skip_stride(graph, edit.at, edit.to)
    if stride is None:
        raise NetworkError(
            f"edit {edit.kind}: no stride takes {graph.shapes[edit.at]} to the sides of {graph.shapes[edit.to]}"
        )
    return stride


def _starts(graph: Graph, kind: EditKind) -> list[int]:
    """The layers that an edit of a kind can begin at, if it fits there."""
    return [layer.id for layer in graph.by_kind["conv" if kind == "wider" else "relu"]]


def _edits_at(graph: Graph, kind: EditKind, start: int, kernel: int) -> list[Edit]:
    """Every edit of a kind that fits the graph and begins at a layer."""
    match kind:
        case "deeper":
            return [Edit("deeper", start, kernel=kernel)] if start != graph.output.id else []
        case "wider":
            return [Edit("wider", start)] if _can_widen(graph, start) else []
        case "skip_add" | "skip_concat":
            norms = [layer.id for layer in graph.by_kind["batch_norm"] if layer is not graph.output]
            behind = bisect(norms, graph.position[start], key=graph.position.__getitem__)
            return [Edit(kind, start, to=end) for end in norms[behind:] if _can_skip(graph, kind, start, end)]


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
    """A random choice from `candidates` that does not list them: where the edit begins is chosen before its end."""
    starts = _starts(graph, kind)
    for index in generator.permutation(len(starts)):
        edits = _edits_at(graph, kind, starts[index], kernel)
        if edits:
            return edits[generator.integers(len(edits))]
    return None


def _tied_inputs(graph: Graph, layer: Layer, mask: Mask) -> Iterator[tuple[int, Mask]]:
    """What a doubled output asks of the layer's inputs."""
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
    """What a doubled input makes of the reader's output."""
    if reader.kind == "concat":
        pieces = [mask if each == source else np.zeros(graph.shapes[each][2], dtype=np.bool_) for each in reader.inputs]
        yield reader.id, np.concatenate(pieces)
    elif reader.kind not in ("conv", "dense"):
        yield reader.id, mask
