"""Edit distance between networks: the number of layers and skip connections that differ, weighted by their difference.

Kept from Auto-Keras (Jin et al. 2019): the distance is that of the layers plus that of the skip connections. Layers
are aligned in order; an unmatched layer costs 1, a pair its relative difference of widths. Skip connections are
matched bipartitely (Hungarian algorithm); an unmatched one costs 1, a pair the relative difference of their starts
and spans.

Different: only layers that carry information are aligned (convolution, dense, pooling; batch-norm and ReLU follow
them); the difference of a pair is the largest of width, kernel and stride; layers, or skip connections, of different
kinds cost 1. Each of these costs is a metric, so the distance is a metric on these features (up to the rounding below).

Costs are integer multiples of 2^-16: sums are exact in any order, and a search that is rebuilt from its journal has
identical distances. One network is compared with many at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from aiperf_orch.network.graph import MERGES, Graph

UNIT: Final = 1 << 16  # integer cost of an unmatched layer
_KINDS: Final = {"conv": 1, "dense": 2, "max_pool": 3, "global_avg_pool": 4}
_MERGE_KINDS: Final = {"add": 1, "concat": 2}

Integers = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features that determine the distance; equal for networks that differ only in the numbers of layers.

    The rank of a layer is the number of informative layers on the longest path that ends with it.

    Attributes:
        layers: rows of kind, width (filters or units), kernel and stride of each layer, sorted by rank.
        skips: rows of kind of merge, rank of the first layer, and spanned ranks of each skip connection.
    """

    layers: Integers
    skips: Integers


def features(graph: Graph) -> Features:
    """Features of a network."""
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
    """Set of networks, arranged to compute the distances of another network to all of them at the same time."""

    def __init__(self, networks: Sequence[Features]) -> None:
        self._lengths = np.array([len(each.layers) for each in networks])
        self._distinct_layers, indices = np.unique(
            np.concatenate([each.layers for each in networks]), axis=0, return_inverse=True
        )
        # index of the layer at each position (rows) of each network (columns); padding has no effect, because entries
        # after the end of a network do not affect earlier ones
        self._layer_indices = np.zeros((int(self._lengths.max()), len(networks)), dtype=np.intp)
        for column, own in enumerate(np.split(indices.reshape(-1), np.cumsum(self._lengths)[:-1])):
            self._layer_indices[: own.size, column] = own
        self._skips = np.concatenate([each.skips for each in networks])
        self._skip_ends = np.cumsum([len(each.skips) for each in networks])

    def distances(self, network: Features) -> Floats:
        """Edit distances (n,) of a network to each of these n, in units of one layer."""
        return (self._alignments(network.layers) + self._matchings(network.skips)) / UNIT

    def _alignments(self, layers: Integers) -> npt.NDArray[np.int64]:
        """Table of alignment costs, one row per layer of the network, for all networks side by side.

        Entries are the savings relative to removing all layers so far and adding those of the other network: an
        unmatched layer then changes nothing, and the dependency within a row is a running minimum.
        """
        own, rows = np.unique(layers, axis=0, return_inverse=True)
        saved_by_pair = (_layer_costs(own, self._distinct_layers) - 2 * UNIT)[:, self._layer_indices]
        table = np.zeros((self._layer_indices.shape[0] + 1, self._layer_indices.shape[1]), dtype=np.int32)
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
            # a pair costs at most 1, two unmatched ones 2: as many as possible are matched
            totals[index] = costs[linear_sum_assignment(costs)].sum() + UNIT * abs(len(skips) - (end - start))
            start = end
        return totals


class KnownNetworks:
    """Networks of a set of trials with their pairwise distances, kept from one proposal to the next."""

    def __init__(self) -> None:
        self.matrix: Floats = np.zeros((0, 0))
        self._features: dict[int, Features] = {}
        self._networks: Networks | None = None

    def update(self, trials: Sequence[int], features_of: Callable[[int], Features]) -> None:
        """Replace the set of trials (at least one), in this order; only new features and distances are computed."""
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
            raise ValueError("there are no networks: call update first")
        return self._networks.distances(network)


def _fork(graph: Graph, layer_id: int) -> int:
    """Start of the branch that ends with this layer: the nearest earlier layer with several consumers or inputs."""
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
