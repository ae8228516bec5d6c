"""What is expected of networks, by those that were measured: vectors, distances and a Gaussian process together.

It is a cache: what it answers depends on the errors that it was last given and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from aiperf_orch.network.graph import Graph
from aiperf_orch.search.embedding import UNIT, Integers, Vocabulary, padded
from aiperf_orch.search.gaussian_process import GaussianProcess


class Place(NamedTuple):
    """Where a network lies: its vector, and its distances (n,) from the n measured ones, in parts of UNIT."""

    vector: Integers
    distances: Integers


class Surrogate:
    """A lower confidence bound of any network's error. `fit` comes before everything else."""

    def __init__(self, beta: float) -> None:
        """`beta`: how many standard deviations below the mean the bound lies."""
        self._beta = beta
        self._vocabulary = Vocabulary()
        self._errors: dict[int, float] = {}
        self._vectors: Integers = np.zeros((0, 0), dtype=np.int32)  # a row a trial
        self._distances: Integers = np.zeros((0, 0), dtype=np.int32)
        self._process: GaussianProcess | None = None

    def fit(self, errors: Mapping[int, float], graph_of: Callable[[int], Graph]) -> None:
        """Hold exactly these trials (at least one), by number in order; only what is new is computed."""
        if errors == self._errors:
            return
        old = {trial: row for row, trial in enumerate(self._errors)}
        fresh = {trial: self._vocabulary.vector(graph_of(trial)) for trial in errors if trial not in old}
        columns = max(self._vectors.shape[1], *(vector.size for vector in fresh.values()), 0)
        before = padded(self._vectors, columns)
        vectors = np.stack([padded(fresh[t], columns) if t in fresh else before[old[t]] for t in errors])
        distances = np.zeros((len(errors), len(errors)), dtype=np.int32)
        kept = [row for row, trial in enumerate(errors) if trial in old]
        were = [old[trial] for trial in errors if trial in old]
        distances[np.ix_(kept, kept)] = self._distances[np.ix_(were, were)]
        for row, trial in enumerate(errors):
            if trial in fresh:
                distances[row] = distances[:, row] = _distances(vectors, vectors[row])
        self._errors, self._vectors, self._distances = dict(errors), vectors, distances
        self._process = GaussianProcess(distances / UNIT, np.array(list(errors.values())))

    @property
    def scale(self) -> float:
        """Prior standard deviation of an error."""
        return self._fitted.scale

    def locate(self, graph: Graph) -> Place:
        """Where a network lies."""
        vector = self._vocabulary.vector(graph)
        self._vectors = padded(self._vectors, vector.size)
        return Place(vector, _distances(self._vectors, padded(vector, self._vectors.shape[1])))

    def moved(self, place: Place, parent: Graph, child: Graph) -> Place:
        """Where a child lies that was made by one edit of a parent that lies at `place`."""
        change = self._vocabulary.change(parent, child)
        vector = self._vocabulary.added(place.vector, change)
        self._vectors = padded(self._vectors, vector.size)
        columns = list(change)
        theirs, ours = self._vectors[:, columns], vector[columns]
        before = ours - np.fromiter(change.values(), dtype=np.int32, count=len(columns))
        closer = (np.abs(theirs - ours) - np.abs(theirs - before)).sum(axis=1, dtype=np.int32)
        return Place(vector, place.distances + closer)

    def bound(self, place: Place) -> float:
        """The lower confidence bound of the error of a network at a place."""
        mean, deviation = self._fitted.predict(place.distances / UNIT)
        # rounded, so that the last bits of another machine's linear algebra decide nothing
        return round(mean - self._beta * deviation, 6)

    @property
    def _fitted(self) -> GaussianProcess:
        if self._process is None:
            raise ValueError("nothing was measured yet: call fit first")
        return self._process


def _distances(vectors: Integers, vector: Integers) -> Integers:
    """L1 distances (n,) of a vector (m,) from vectors (n, m)."""
    found: Integers = np.abs(vectors - vector).sum(axis=1, dtype=np.int32)
    return found
