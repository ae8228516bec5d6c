"""The search: proposes the next trial from those that ended and those that run, at any time and without waiting.

The method is that of AIPerf (Ren et al. 2021): network morphism with the Gaussian process of Auto-Keras (Jin et al.
2019) for the network, TPE for the hyperparameters. What each part keeps of its source and what it does differently
stands in its module. Networks that still run are never proposed again, but the Gaussian process does not know them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from aiperf_orch.config import SearchSettings
from aiperf_orch.errors import NetworkError
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, Limits
from aiperf_orch.records import Hyperparameters
from aiperf_orch.search import hyperparameters as points
from aiperf_orch.search.candidates import Candidate, anneal, random_descendant, walk
from aiperf_orch.search.edit_distance import KnownNetworks, features
from aiperf_orch.search.gaussian_process import GaussianProcess
from aiperf_orch.search.history import History, Trial


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to try next: `graph` is the parent's network (without a parent: the seed network) after `edits`."""

    trial: int
    round: int
    parent: int | None
    edits: tuple[Edit, ...]
    graph: Graph
    hyperparameters: Hyperparameters


class Search:
    """Proposes trials, and is told what became of them.

    Proposal k depends on the seed, k, and the calls of `started` and `ended` before it: who makes the same calls again,
    after a restart, gets the same proposals. `propose` itself changes nothing. Not for several threads at once.
    """

    def __init__(
        self,
        seed_network: Graph,
        settings: SearchSettings,
        limits: Limits,
        *,
        seed: int,
        concurrency: int,
        keep: int,
    ) -> None:
        """Begin a search.

        Args:
            seed_network: trial 0, from which all others descend.
            settings: bounds and parameters of the search.
            limits: what a proposed network may not exceed.
            seed: of all randomness, not negative.
            concurrency: trials that run at once, which is how many make a round.
            keep: how many best trials can be parents, because their weights are kept.

        Raises:
            NetworkError: when the seed network itself exceeds the limits.
        """
        exceeded = limits.exceeded(seed_network)
        if exceeded:
            raise NetworkError(f"network.{exceeded}, in the seed network already")
        self._seed_network = seed_network
        self._settings = settings
        self._limits = limits
        self._seed = seed
        self._concurrency = concurrency
        self._keep = keep
        self._history = History(seed_network)
        self._known = KnownNetworks()

    @property
    def parents(self) -> list[int]:
        """The trials that a child may descend from, best first: their weights must be kept."""
        return [trial for _, trial in self._history.best(self._keep)]

    def started(
        self,
        trial: int,
        parent: int | None,
        edits: Iterable[Edit],
        hyperparameters: Hyperparameters,
        network_hash: str,
    ) -> None:
        """A trial runs now: what a Proposal or a TrialSpec says of it. Once a trial, however many attempts it takes.

        Raises:
            ValueError: when it was started before, or its parent was not.
        """
        self._history.start(trial, Trial(parent, tuple(edits), hyperparameters), network_hash)

    def ended(self, trial: int, error: float | None, predicted_error: float | None) -> None:
        """A trial ended for good.

        Args:
            trial: its number.
            error: the best validation error it measured; None when no epoch ended.
            predicted_error: its forecast, None when that is not usable. A trial is ranked by the smaller of the two.

        Raises:
            ValueError: when it does not run.
        """
        value = error if error is None or predicted_error is None else min(error, predicted_error)
        self._history.end(trial, error, value)

    def propose(self, trial: int) -> Proposal:
        """What trial number `trial` is to be.

        Raises:
            NetworkError: when every network within the limits was tried.
        """
        number = trial // self._concurrency
        first = points.first_point(self._settings)
        if trial == 0:
            return Proposal(trial, number, None, (), self._seed_network, first)
        generator = np.random.default_rng([self._seed, trial])
        point = None
        if number >= self._settings.tpe_from_round:
            point = points.sample(self._settings, self._history.sampled(), int(generator.integers(1 << 31)))
        parents = self._history.best(self._keep)
        found = self._child_of(parents, point, generator) if parents else self._child_of_seed(point, generator)
        if point is None:
            point = first if found.parent is None else self._history[found.parent].hyperparameters
        point = point.model_copy(update={"kernel_size": found.kernel_size})
        return Proposal(trial, number, found.parent, found.edits, found.graph, point)

    def _child_of_seed(self, point: Hyperparameters | None, generator: np.random.Generator) -> Candidate:
        """While nothing is known: some random edits of the seed network."""
        kernel_size = (point or points.first_point(self._settings)).kernel_size
        start = Candidate(None, self._seed_network, kernel_size)
        found = random_descendant(
            start,
            tried=self._history.hashes,
            limits=self._limits,
            max_edits=self._settings.max_edits,
            generator=generator,
        )
        return found or self._any_child([start], generator)

    def _child_of(
        self, parents: list[tuple[float, int]], point: Hyperparameters | None, generator: np.random.Generator
    ) -> Candidate:
        """The most promising network near the parents (error and trial of each)."""
        starts = [(error, self._start(trial, point)) for error, trial in parents]
        process = self._fit()

        def bound(graph: Graph) -> float:
            mean, deviation = process.predict(self._known.distances(features(graph)))
            # rounded, so that the last bits of another machine's linear algebra decide nothing
            return round(mean - self._settings.beta * deviation, 6)

        found = anneal(
            starts,
            bound,
            tried=self._history.hashes,
            limits=self._limits,
            scale=process.scale,
            neighbours=self._settings.neighbours,
            number=self._settings.candidates,
            generator=generator,
        )
        if found is None:
            seed = Candidate(None, self._seed_network, starts[0][1].kernel_size)
            found = self._any_child([*(start for _, start in starts), seed], generator)
        return found

    def _start(self, trial: int, point: Hyperparameters | None) -> Candidate:
        point = point or self._history[trial].hyperparameters
        return Candidate(trial, self._history.graph(trial), point.kernel_size)

    def _fit(self) -> GaussianProcess:
        errors = self._history.modelled()
        self._known.update(list(errors), lambda trial: features(self._history.graph(trial)))
        return GaussianProcess(self._known.matrix, np.array(list(errors.values())))

    def _any_child(self, starts: list[Candidate], generator: np.random.Generator) -> Candidate:
        """When nothing new was found near: whatever the limits leave."""
        kernel_sizes = sorted(self._settings.kernel_sizes, key=lambda size: size != starts[0].kernel_size)
        return walk(starts, kernel_sizes, tried=self._history.hashes, limits=self._limits, generator=generator)
