"""What the search knows: the trials that run and that ended, what they are worth, and which networks are taken.

A trial is kept as its parent and edits; its graph is made again when it is asked for, and only some graphs are kept.
Everything that a proposal learns from is a bounded number of trials, so that a long history costs it nothing.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from aiperf_orch.network import counts, morphisms
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.trial import Hyperparameters

MODELLED: Final = 128  # how many trials of a long history are learned from: half of them the best, half the newest
_KEPT_GRAPHS: Final = 512


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that was started. `error` is the best it measured (a fraction), None while it runs and if it failed."""

    parent: int | None
    edits: tuple[Edit, ...]
    hyperparameters: Hyperparameters
    running: bool = True
    error: float | None = None


class History:
    """All trials in the order in which they were started and ended."""

    def __init__(self, seed_network: Graph) -> None:
        self._seed = seed_network
        # hashes of the networks that were tried or are running, and of the seed network, by operations to train
        self._tried: dict[int, set[str]] = {counts.count(seed_network).train: {seed_network.hash}}
        self._trials: dict[int, Trial] = {}
        self._running: dict[int, None] = {}  # in the order in which they were started
        self._ended: list[int] = []
        self._valued: list[int] = []  # those of the ended that have a rank value
        self._ranked: list[tuple[float, int]] = []  # rank value and trial, best first
        self._values: dict[int, float] = {}
        self._graphs: OrderedDict[int, Graph] = OrderedDict()

    def __getitem__(self, trial: int) -> Trial:
        return self._trials[trial]

    def __len__(self) -> int:
        return len(self._trials)

    def is_new(self, graph: Graph) -> bool:
        """Whether a network was not tried and does not run.

        Equal networks have equal operations, and most others have not: few hashes need be computed.
        """
        hashes = self._tried.get(counts.count(graph).train)
        return hashes is None or graph.hash not in hashes

    def start(self, trial: int, begun: Trial, network_hash: str, operations: int) -> None:
        """A trial runs now; `operations` are those to train its network with one image.

        Raises:
            ValueError: when it was started before, or its parent was not.
        """
        if trial in self._trials:
            raise ValueError(f"trial {trial} was started before")
        if begun.parent is not None and begun.parent not in self._trials:
            raise ValueError(f"trial {trial} has the parent {begun.parent}, which was not started")
        self._trials[trial] = begun
        self._running[trial] = None
        self._tried.setdefault(operations, set()).add(network_hash)

    def end(self, trial: int, error: float | None, value: float | None) -> None:
        """A trial ended, with an error and a rank value, or without both.

        Raises:
            ValueError: when it does not run.
        """
        if trial not in self._running:
            raise ValueError(f"trial {trial} ended, but it does not run")
        del self._running[trial]
        self._trials[trial] = replace(self._trials[trial], running=False, error=error)
        self._ended.append(trial)
        if value is not None:
            self._values[trial] = value
            self._valued.append(trial)
            insort(self._ranked, (value, trial))

    def best(self, number: int) -> list[tuple[float, int]]:
        """Rank value and number of the best trials, best first; of equals the older one."""
        return self._ranked[:number]

    def modelled(self) -> dict[int, float]:
        """Rank values of the trials to learn networks from, by trial number in ascending order."""
        return {trial: self._values[trial] for trial in sorted(self._half_best_half_newest(self._valued))}

    def sampled(self) -> list[Trial]:
        """The trials to learn hyperparameters from, by trial number: ended ones, and as many of those that run."""
        chosen = self._half_best_half_newest(self._ended)
        chosen.update(islice(reversed(self._running), MODELLED))
        return [self._trials[trial] for trial in sorted(chosen)]

    def graph(self, trial: int) -> Graph:
        """The network of a trial."""
        lineage: list[int] = []
        ancestor: int | None = trial
        while ancestor is not None and ancestor not in self._graphs:
            lineage.append(ancestor)
            ancestor = self._trials[ancestor].parent
        graph = self._seed if ancestor is None else self._graphs[ancestor]
        for descendant in reversed(lineage):
            self._graphs[descendant] = graph = morphisms.apply_all(graph, self._trials[descendant].edits)
        self._graphs.move_to_end(trial)
        while len(self._graphs) > _KEPT_GRAPHS:
            self._graphs.popitem(last=False)
        return graph

    def _half_best_half_newest(self, newest: Sequence[int]) -> set[int]:
        chosen = {trial for _, trial in self.best(MODELLED // 2)}
        others = (trial for trial in reversed(newest) if trial not in chosen)
        chosen.update(islice(others, MODELLED - len(chosen)))
        return chosen
