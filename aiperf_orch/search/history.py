"""History of the search: running and ended trials, their ranking, and the set of tried networks.

A trial is stored as its parent and edits; its graph is rebuilt on demand and cached. A proposal learns from a bounded
number of trials, so its cost does not grow with the history.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Reversible
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search.space import MORPHISMS, Space

MAX_OBSERVATIONS: Final = 128  # trials that a model is fitted to: one half are the best, the other half the newest
_CACHED_GRAPHS: Final = 512


@dataclass(frozen=True, slots=True)
class Observation:
    """A trial as the search knows it.

    Attributes:
        parent: number of the parent trial; None is the seed network.
        edits: edits of the parent's network.
        hyperparameters: point of the search space.
        running: whether the trial has not ended.
        error: best validation error (fraction); None while the trial runs and if it failed.
    """

    parent: int | None
    edits: tuple[Edit, ...]
    hyperparameters: Hyperparameters
    running: bool = True
    error: float | None = None


class History:
    """All trials, in the order in which they started and ended."""

    def __init__(self, seed_network: Graph, space: Space = MORPHISMS) -> None:
        self._seed_network = seed_network
        self._space = space
        # operations to train -> hashes of the networks that were tried or are running, and of the seed network
        self._tried: dict[int, set[str]] = {counts.count(seed_network).train: {seed_network.hash}}
        self._observations: dict[int, Observation] = {}
        self._running: dict[int, None] = {}  # ordered set: by start
        self._ended: list[int] = []
        self._ranked: list[tuple[float, int]] = []  # (rank value, trial), best first
        self._values: dict[int, float] = {}  # trial -> rank value, by end
        self._graphs: OrderedDict[int, Graph] = OrderedDict()  # least recently used first

    def __getitem__(self, trial: int) -> Observation:
        return self._observations[trial]

    def __len__(self) -> int:
        return len(self._observations)

    def is_new(self, graph: Graph) -> bool:
        """Whether no running or ended trial has this network.

        Equal networks have equal operations, which are cheaper to compute than the hash.
        """
        hashes = self._tried.get(counts.count(graph).train)
        return hashes is None or graph.hash not in hashes

    def start(self, trial: int, observation: Observation, network_hash: str, operations: int) -> None:
        """Record the start of a trial.

        Args:
            trial: number of the trial.
            observation: the trial, running.
            network_hash: hash of its network.
            operations: operations to train its network with one image.

        Raises:
            ValueError: if the trial was started before, or its parent was not.
        """
        if trial in self._observations:
            raise ValueError(f"trial {trial} was started before")
        if observation.parent is not None and observation.parent not in self._observations:
            raise ValueError(f"trial {trial} has the parent {observation.parent}, which was not started")
        self._observations[trial] = observation
        self._running[trial] = None
        self._tried.setdefault(operations, set()).add(network_hash)

    def end(self, trial: int, error: float | None, value: float | None) -> None:
        """Record the end of a trial.

        Args:
            trial: number of the trial.
            error: best validation error (fraction); None if the trial failed.
            value: rank value, lower is better; None excludes the trial from the ranking.

        Raises:
            ValueError: if the trial is not running.
        """
        if trial not in self._running:
            raise ValueError(f"trial {trial} ended, but it is not running")
        del self._running[trial]
        self._observations[trial] = replace(self._observations[trial], running=False, error=error)
        self._ended.append(trial)
        if value is not None:
            self._values[trial] = value
            insort(self._ranked, (value, trial))

    def best(self, number: int) -> list[tuple[float, int]]:
        """Rank value and trial of the best trials, best first; of equal values the older trial first."""
        return self._ranked[:number]

    def ranked_observations(self) -> dict[int, float]:
        """Trials that the surrogate is fitted to: trial -> rank value, by trial number."""
        return {trial: self._values[trial] for trial in sorted(self._best_and_newest(self._values))}

    def hyperparameter_observations(self) -> list[Observation]:
        """Trials that TPE is fitted to, by trial number: ended ones, and up to MAX_OBSERVATIONS running ones."""
        chosen = self._best_and_newest(self._ended)
        chosen.update(islice(reversed(self._running), MAX_OBSERVATIONS))
        return [self._observations[trial] for trial in sorted(chosen)]

    def graph(self, trial: int) -> Graph:
        """Network of a trial."""
        lineage: list[int] = []
        ancestor: int | None = trial
        while ancestor is not None and ancestor not in self._graphs:
            lineage.append(ancestor)
            ancestor = self._observations[ancestor].parent
        graph = self._seed_network if ancestor is None else self._graphs[ancestor]
        for descendant in reversed(lineage):
            for edit in self._observations[descendant].edits:
                graph = self._space.apply(graph, edit)
            self._graphs[descendant] = graph
        self._graphs.move_to_end(trial)
        while len(self._graphs) > _CACHED_GRAPHS:
            self._graphs.popitem(last=False)
        return graph

    def _best_and_newest(self, by_end: Reversible[int]) -> set[int]:
        """The best half and the newest others of some ended trials, MAX_OBSERVATIONS in total."""
        chosen = {trial for _, trial in self.best(MAX_OBSERVATIONS // 2)}
        others = (trial for trial in reversed(by_end) if trial not in chosen)
        chosen.update(islice(others, MAX_OBSERVATIONS - len(chosen)))
        return chosen
