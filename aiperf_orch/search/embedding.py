"""Networks as vectors whose L1 distance stands for the edit distance of Auto-Keras (Jin et al. 2019).

Kept: a layer without a partner costs 1, a pair the relative difference of their widths; a skip-connection without a
partner costs 1. Approximated: layers are not aligned in order, and skips not matched; a vector counts them by their
place, which is the size of their maps, so that two networks differ by what one has more of at a place than the other.
A convolution's count is spread over the octaves about its width, for a doubled width to cost 1/2, and a quarter of it
goes by its kernel and by the size of the maps that it reads, which tells where a skip's projection begins. What is
lost is the order of layers of equal maps. What is won: exp(-distance / length) is a valid covariance whatever the
networks (the L1 distance is of negative type), a child's vector and distances are its parent's but for a few columns,
and whole numbers make both exact, in any order of summing.

Measured by `benchmarks/approximation.py` against the exact method (edit distance, clipped eigenvalues): on histories of
10 and 30 descendants of ResNet-50 the rank correlation is 0.91 for distances, 0.95 and 0.87 for confidence bounds; on
those of the small seed network 0.94 and 0.92, and 0.88 and 0.79. In the median our distance is 0.88 to 0.90 of theirs, in
nine of ten cases between 0.53 and 1.33. Of 24 searches of 60 trials each for an invented error ours ended 0.33 points
above those by the exact method, with a 95 % confidence interval of 0.43 from ResNet-50 (3.08 and 2.75 %; by random
bounds 6.16) and of 0.56 from the small seed network (3.45 and 3.12 %; by random bounds 3.50).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from aiperf_orch.network.graph import MERGES, Graph, Layer, Shape

UNIT: Final = 32  # what a layer without a partner costs, in the whole numbers of a vector
_SPREAD: Final = 6  # half octaves over which a width is spread
_BY_WIDTH: Final = 4  # of UNIT, for each of these
_BY_KERNEL: Final = UNIT - _SPREAD * _BY_WIDTH
_COLUMNS: Final = 256  # vectors are longer by so many at a time

Integers = npt.NDArray[np.int32]
Amounts = dict[int, int]


class Vocabulary:
    """The columns of vectors: each word that describes a layer has one, in the order in which words are met.

    Which column a word has changes no distance.
    """

    def __init__(self) -> None:
        self._columns: dict[tuple[object, ...], int] = {}
        self._of_layer: dict[tuple[object, ...], list[tuple[int, int]]] = {}

    def vector(self, graph: Graph) -> Integers:
        """The vector (columns,) of a network."""
        return self.added(np.zeros(0, dtype=np.int32), self._sum(graph, graph.layers, 1, {}))

    def change(self, parent: Graph, child: Graph) -> Amounts:
        """By column, what a child's vector has more than that of the parent it was made from by one edit."""
        changed = self._sum(child, child.touched, 1, {})
        before = [parent.by_id[layer.id] for layer in child.touched if layer.id in parent.by_id]
        self._sum(parent, before, -1, changed)
        return {column: amount for column, amount in changed.items() if amount}

    def added(self, vector: Integers, change: Amounts) -> Integers:
        """A vector after a change, long enough for every word that was met."""
        found = padded(vector, len(self._columns))
        found = found.copy() if found is vector else found
        for column, amount in change.items():
            found[column] += amount
        return found

    def _sum(self, graph: Graph, layers: Iterable[Layer], sign: int, into: Amounts) -> Amounts:
        for layer in layers:
            for column, amount in self._words(graph, layer):
                into[column] = into.get(column, 0) + sign * amount
        return into

    def _words(self, graph: Graph, layer: Layer) -> list[tuple[int, int]]:
        """The columns of a layer's words, and how much it adds to each."""
        if layer.kind in ("batch_norm", "relu", "input"):
            return []
        place, reads = graph.shapes[layer.id], graph.shapes[layer.inputs[0]]
        key = (layer.kind, layer.kernel, place, reads[:2], len(layer.inputs))
        found = self._of_layer.get(key)
        if found is None:
            found = [
                (self._columns.setdefault(word, len(self._columns)), amount)
                for word, amount in _words(layer, place, reads)
            ]
            self._of_layer[key] = found
        return found


def padded(vectors: Integers, columns: int) -> Integers:
    """Vectors (..., n), with zeros behind up to so many columns at least; the same array where it is long enough."""
    lacking = columns - vectors.shape[-1]
    if lacking <= 0:
        return vectors
    behind = -(-lacking // _COLUMNS) * _COLUMNS
    return np.concatenate([vectors, np.zeros((*vectors.shape[:-1], behind), dtype=np.int32)], axis=-1)


def _words(layer: Layer, place: Shape, reads: Shape) -> Iterator[tuple[tuple[object, ...], int]]:
    """The words of a layer with an output of shape `place`, which reads maps of shape `reads`."""
    height, width, channels = place
    if layer.kind in MERGES:
        yield (layer.kind, height, width), UNIT * (len(layer.inputs) - 1)
        return
    octave = round(2 * math.log2(channels))
    for index in range(octave, octave + _SPREAD):
        yield (layer.kind, height, width, index), _BY_WIDTH
    yield (layer.kind, height, width, layer.kernel, *reads[:2]), _BY_KERNEL
