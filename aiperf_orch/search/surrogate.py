"""Surrogate model of the error of a network: embedding, distances and Gaussian process.

The surrogate is a cache: its results depend only on the errors of the last `fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from aiperf_orch.network.graph import Graph
from aiperf_orch.search.embedding import UNIT, FeatureIndex, Integers, padded
from aiperf_orch.search.gaussian_process import GaussianProcess


class EmbeddedNetwork(NamedTuple):
    """Vector of a network, and its L1 distances (n,) to the n measured networks, in 1 / UNIT layers."""

    vector: Integers
    distances: Integers


class Surrogate:
    """Lower confidence bounds of the errors of networks. `fit` must be called first.

    Attributes:
        bound_offset: added to each bound before it is rounded; 0 except to imitate the arithmetic of another machine.
    """

    def __init__(self, beta: float) -> None:
        """Create a surrogate whose bound is mean - beta x standard deviation."""
        self.bound_offset = 0.0
        self._beta = beta
        self._features = FeatureIndex()
        self._errors: dict[int, float] = {}
        self._vectors: Integers = np.zeros((0, 0), dtype=np.int32)  # one row per measured network
        self._distances: Integers = np.zeros((0, 0), dtype=np.int32)
        self._process: GaussianProcess | None = None

    def fit(self, errors: Mapping[int, float], graph_of: Callable[[int], Graph]) -> None:
        """Fit to a set of measured trials that replaces the one before; vectors and distances of known trials are kept.

        Args:
            errors: trial number -> error (fraction); at least one.
            graph_of: returns the network of a trial; called for trials that were not part of the last fit.
        """
        if errors == self._errors:
            return
        old_rows = {trial: row for row, trial in enumerate(self._errors)}
        added = {trial: self._features.vector(graph_of(trial)) for trial in errors if trial not in old_rows}
        columns = max(self._vectors.shape[1], *(vector.size for vector in added.values()), 0)
        before = padded(self._vectors, columns)
        vectors = np.stack([padded(added[t], columns) if t in added else before[old_rows[t]] for t in errors])
        distances = np.zeros((len(errors), len(errors)), dtype=np.int32)
        kept = [(row, old_rows[trial]) for row, trial in enumerate(errors) if trial in old_rows]
        new, old = [row for row, _ in kept], [row for _, row in kept]
        distances[np.ix_(new, new)] = self._distances[np.ix_(old, old)]
        for row, trial in enumerate(errors):
            if trial in added:
                distances[row] = distances[:, row] = _l1_distances(vectors, vectors[row])
        self._errors, self._vectors, self._distances = dict(errors), vectors, distances
        self._process = GaussianProcess(distances / UNIT, np.array(list(errors.values())))

    @property
    def scale(self) -> float:
        """Prior standard deviation of an error."""
        return self._fitted.scale

    def embed(self, graph: Graph) -> EmbeddedNetwork:
        """Embed a network from all its layers."""
        vector = self._features.vector(graph)
        self._vectors = padded(self._vectors, vector.size)
        return EmbeddedNetwork(vector, _l1_distances(self._vectors, padded(vector, self._vectors.shape[1])))

    def update(self, embedded: EmbeddedNetwork, parent: Graph, child: Graph) -> EmbeddedNetwork:
        """Embed a child that was made by one edit of `parent`, whose embedding is `embedded`; exact, and faster.

        A child that does not name the layers that the edit touched is embedded from all its layers.
        """
        if not child.touched:
            return self.embed(child)
        delta = self._features.delta(parent, child)
        vector = self._features.apply(embedded.vector, delta)
        self._vectors = padded(self._vectors, vector.size)
        columns = list(delta)
        measured, after = self._vectors[:, columns], vector[columns]
        before = after - np.fromiter(delta.values(), dtype=np.int32, count=len(columns))
        change = (np.abs(measured - after) - np.abs(measured - before)).sum(axis=1, dtype=np.int32)
        return EmbeddedNetwork(vector, embedded.distances + change)

    def bound(self, embedded: EmbeddedNetwork) -> float:
        """Lower confidence bound of the error of a network: mean - beta x standard deviation."""
        mean, deviation = self._fitted.predict(embedded.distances / UNIT)
        # rounded, so that the last bits of another machine's linear algebra do not decide
        return round(mean - self._beta * deviation + self.bound_offset, 6)

    @property
    def _fitted(self) -> GaussianProcess:
        if self._process is None:
            raise ValueError("the surrogate has no measured networks: call fit first")
        return self._process


def _l1_distances(vectors: Integers, vector: Integers) -> Integers:
    """L1 distances (n,) of a vector (m,) to vectors (n, m)."""
    distances: Integers = np.abs(vectors - vector).sum(axis=1, dtype=np.int32)
    return distances
