"""The edit distance between networks: how many layers and skip-connections differ, and by how much.

Kept from Auto-Keras (Jin et al. 2019): the distance is that of the layers plus that of the skip-connections. Layers
are aligned in order; a layer without a partner costs 1, a pair its relative difference of widths. Skip-connections are
matched bipartitely (Hungarian algorithm); one without a partner costs 1, a pair the relative difference of where they
start and how much they span.

Different: only layers that carry information are aligned (convolution, dense, pooling; batch-norm and ReLU follow
them); the difference of a pair is the largest of width, kernel and stride; layers, or skips, of different kinds cost
1. Each of these costs is a metric, so the distance is one on what it looks at (to the rounding below).

Costs are whole multiples of 2^-16: sums are exact in any order, and a search that starts again from its journal gets
the same distances to the bit. One network is compared with many at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from aiperf_orch.network.graph import MERGES, Graph

UNIT: Final = 1 << 16  # what a layer without a partner costs, in the whole numbers that costs are kept in
_KINDS: Final = {"conv": 1, "dense": 2, "max_pool": 3, "global_avg_pool": 4}
_MERGE_KINDS: Final = {"add": 1, "concat": 2}

Integers = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the distance looks at; equal for networks that differ in numbering only.

    `layers` has a row a layer: kind, width (filters or units), kernel, stride. `skips` has a row a skip-connection:
    kind of merge, rank of the layer it starts at, and ranks it spans. A layer's rank is the number of informative
    layers on the longest path that ends with it; layers are sorted by it.
    """

    layers: Integers
    skips: Integers


def features(graph: Graph) -> Features:
    """The features of a network."""
    ranks: dict[int, int] = {}
    layers: list[tuple[int, ...]] = []
    skips: list[tuple[int, ...]] = []
    for layer in graph.layers:
        rank = max((ranks[source] for source in layer.inputs), default=0)
        if layer.kind in _KINDS:
            rank += 1
            layers.append((rank, _KINDS[layer.kind], layer.filters + layer.units, layer.kernel, layer.stride))
        elif layer.kind in MERGES:
            branches = sorted((ranks[source], ranks[_fork(graph, source)]) for source in layer.inputs)
            # the longest branch is the trunk, the others are skips
            skips += [(_MERGE_KINDS[layer.kind], start, rank - start) for _, start in branches[:-1]]
        ranks[layer.id] = rank
    return Features(
        np.array(sorted(layers), dtype=np.int32).reshape(-1, 5)[:, 1:],
        np.array(sorted(skips), dtype=np.int32).reshape(-1, 3),
    )


class Networks:
    """Some networks, laid out so that another one's distance to all of them is found at once."""

    def __init__(self, networks: Sequence[Features]) -> None:
        self._lengths = np.array([len(each.layers) for each in networks])
        self._vocabulary, words = np.unique(
            np.concatenate([each.layers for each in networks]), axis=0, return_inverse=True
        )
        # which word of the vocabulary stands at each position (rows) of each network (columns); padding does no harm,
        # because what stands behind a network's end does not reach back
        self._words = np.zeros((int(self._lengths.max()), len(networks)), dtype=np.intp)
        for column, own in enumerate(np.split(words.reshape(-1), np.cumsum(self._lengths)[:-1])):
            self._words[: own.size, column] = own
        self._skips = np.concatenate([each.skips for each in networks])
        self._skip_ends = np.cumsum([len(each.skips) for each in networks])

    def distances(self, network: Features) -> Floats:
        """Edit distances (n,) of a network to each of these n, in units of one layer."""
        return (self._alignments(network.layers) + self._matchings(network.skips)) / UNIT

    def _alignments(self, layers: Integers) -> npt.NDArray[np.int64]:
        """The classic table of alignment costs, a row a layer of ours, for all networks side by side.

        Kept as what is saved against removing all layers up to here and adding theirs: then a step without a partner
        changes nothing, and the dependency within a row is a running minimum.
        """
        own, rows = np.unique(layers, axis=0, return_inverse=True)
        saved_by_pair = (_layer_costs(own, self._vocabulary) - 2 * UNIT)[:, self._words]
        table = np.zeros((self._words.shape[0] + 1, self._words.shape[1]), dtype=np.int32)
        for row in rows.reshape(-1):
            np.minimum(table[1:], table[:-1] + saved_by_pair[row], out=table[1:])
            np.minimum.accumulate(table, axis=0, out=table)
        saved = table[self._lengths, np.arange(self._lengths.size)]
        return np.asarray(saved + UNIT * (self._lengths + len(layers)))

    def _matchings(self, skips: Integers) -> npt.NDArray[np.int64]:
        pair_costs = _skip_costs(skips, self._skips)
        totals = np.empty(self._skip_ends.size, dtype=np.int64)
        start = 0
        for index, end in enumerate(self._skip_ends.tolist()):
            costs = pair_costs[:, start:end]
            # a pair costs at most 1, two without partners 2: as many as can be are matched
            totals[index] = costs[linear_sum_assignment(costs)].sum() + UNIT * abs(len(skips) - (end - start))
            start = end
        return totals


class KnownNetworks:
    """The networks of some trials and all distances between them, kept from one proposal to the next."""

    def __init__(self) -> None:
        self.matrix: Floats = np.zeros((0, 0))
        self._features: dict[int, Features] = {}
        self._networks: Networks | None = None

    def update(self, trials: Sequence[int], features_of: Callable[[int], Features]) -> None:
        """Hold exactly these trials (at least one), in this order; only what is new is computed."""
        before = list(self._features)
        if before == list(trials):
            return
        old = {trial: index for index, trial in enumerate(before)}
        found = {trial: self._features[trial] if trial in old else features_of(trial) for trial in trials}
        networks = Networks(list(found.values()))
        matrix = np.zeros((len(found), len(found)))
        kept = [index for index, trial in enumerate(trials) if trial in old]
        were = [old[trials[index]] for index in kept]
        matrix[np.ix_(kept, kept)] = self.matrix[np.ix_(were, were)]
        for index, trial in enumerate(trials):
            if trial not in old:
                matrix[index] = matrix[:, index] = networks.distances(found[trial])
        self.matrix, self._features, self._networks = matrix, found, networks

    def distances(self, network: Features) -> Floats:
        """Edit distances (n,) of a network to those of the n trials, in their order."""
        if self._networks is None:
            raise ValueError("there are no networks yet: call update first")
        return self._networks.distances(network)


def _fork(graph: Graph, layer_id: int) -> int:
    """Where a branch that ends with this layer begins: the next layer back that others read too, or that merges."""
    layer = graph.by_id[layer_id]
    while len(graph.consumers[layer.id]) == 1 and len(layer.inputs) == 1:
        layer = graph.by_id[layer.inputs[0]]
    return layer.id


def _layer_costs(first: Integers, second: Integers) -> Integers:
    """Costs (n, m) of pairing each of n layers with each of m."""
    left, right = first[:, None, :], second[None, :, :]
    largest = np.maximum(left, right)
    relative = np.abs(left - right) / np.maximum(largest, 1)
    costs = np.where(left[..., 0] == right[..., 0], relative[..., 1:].max(axis=2), 1.0)
    return _in_units(costs)


def _skip_costs(first: Integers, second: Integers) -> Integers:
    """Costs (n, m) of pairing each of n skips with each of m."""
    left, right = first[:, None, :], second[None, :, :]
    differing = np.abs(left - right)[..., 1:].sum(axis=2)
    largest = np.maximum(left, right)[..., 1:].sum(axis=2)
    costs = np.where(left[..., 0] == right[..., 0], differing / np.maximum(largest, 1), 1.0)
    return _in_units(costs)


def _in_units(costs: Floats) -> Integers:
    rounded: Integers = np.rint(costs * UNIT).astype(np.int32)
    return rounded
