"""Vector embedding of networks whose L1 distance approximates the edit distance of Auto-Keras (Jin et al. 2019).

Kept: an unmatched layer costs 1, a pair of layers the relative difference of their widths, an unmatched skip connection
1. Approximated: layers are not aligned in order, and skip connections not matched. The vector is a histogram of layers
keyed by output resolution, width and kernel; the distance is the L1 difference. The count of a convolution is spread
over six half octaves around its width, so that a doubled width costs 1/2; a quarter of the count is keyed by its kernel
and its input resolution, which locates the projection of a skip connection.

The order of layers of equal resolution is lost. In return exp(-distance / length) is a valid covariance for any set of
networks (the L1 distance is of negative type), the vector and distances of a child differ from its parent's in a few
columns only, and integers make both exact, independent of the order of summation. docs/research/search.md compares the
approximation with the exact method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from aiperf_orch.network.graph import MERGES, Graph, Layer, Shape

UNIT: Final = 32  # cost of an unmatched layer, in the integers of a vector
_HALF_OCTAVES: Final = 6  # over which a width is spread
_WIDTH_WEIGHT: Final = 4  # of UNIT, for each half octave
_KERNEL_WEIGHT: Final = UNIT - _HALF_OCTAVES * _WIDTH_WEIGHT
_COLUMN_STEP: Final = 256  # vectors grow by multiples of this

Integers = npt.NDArray[np.int32]
Feature = tuple[object, ...]
Delta = dict[int, int]
"""Change of a vector: column -> amount."""


class FeatureIndex:
    """Map from features of layers to columns of vectors, in the order of first occurrence.

    The column of a feature does not affect distances.
    """

    def __init__(self) -> None:
        self._columns: dict[Feature, int] = {}
        self._by_layer: dict[tuple[object, ...], list[tuple[int, int]]] = {}

    def vector(self, graph: Graph) -> Integers:
        """The vector (columns,) of a network."""
        return self.apply(np.zeros(0, dtype=np.int32), self._add(graph, graph.layers, 1, {}))

    def delta(self, parent: Graph, child: Graph) -> Delta:
        """Difference of a child's vector to the vector of the parent that it was made from by one edit."""
        delta = self._add(child, child.touched, 1, {})
        before = [parent.by_id[layer.id] for layer in child.touched if layer.id in parent.by_id]
        self._add(parent, before, -1, delta)
        return {column: amount for column, amount in delta.items() if amount}

    def apply(self, vector: Integers, delta: Delta) -> Integers:
        """A copy of a vector (n,) with a delta added, padded to the number of known features."""
        changed = padded(vector, len(self._columns))
        changed = changed.copy() if changed is vector else changed
        for column, amount in delta.items():
            changed[column] += amount
        return changed

    def _add(self, graph: Graph, layers: Iterable[Layer], sign: int, delta: Delta) -> Delta:
        for layer in layers:
            for column, amount in self._layer_columns(graph, layer):
                delta[column] = delta.get(column, 0) + sign * amount
        return delta

    def _layer_columns(self, graph: Graph, layer: Layer) -> list[tuple[int, int]]:
        """Columns of the features of a layer, and the amount that it adds to each."""
        if layer.kind in ("batch_norm", "relu", "input"):
            return []
        output, source = graph.shapes[layer.id], graph.shapes[layer.inputs[0]]
        key = (layer.kind, layer.kernel, output, source[:2], len(layer.inputs))
        found = self._by_layer.get(key)
        if found is None:
            found = [
                (self._columns.setdefault(feature, len(self._columns)), amount)
                for feature, amount in _features(layer, output, source)
            ]
            self._by_layer[key] = found
        return found


def padded(vectors: Integers, columns: int) -> Integers:
    """Vectors (..., n) with zeros appended to at least `columns` columns; the same array if it is long enough."""
    missing = columns - vectors.shape[-1]
    if missing <= 0:
        return vectors
    appended = math.ceil(missing / _COLUMN_STEP) * _COLUMN_STEP
    return np.concatenate([vectors, np.zeros((*vectors.shape[:-1], appended), dtype=np.int32)], axis=-1)


def _features(layer: Layer, output: Shape, source: Shape) -> Iterator[tuple[Feature, int]]:
    """Features of a layer with the shapes (height, width, channels) of its output and first input, with amounts."""
    height, width, channels = output
    if layer.kind in MERGES:
        yield (layer.kind, height, width), UNIT * (len(layer.inputs) - 1)
        return
    octave = round(2 * math.log2(channels))
    for half_octave in range(octave, octave + _HALF_OCTAVES):
        yield (layer.kind, height, width, half_octave), _WIDTH_WEIGHT
    yield (layer.kind, height, width, layer.kernel, *source[:2]), _KERNEL_WEIGHT
