"""The search: proposes the next trial from those that ended and those that run, at any time and without waiting.

The method is that of AIPerf (Ren et al. 2021): network morphism with the Gaussian process of Auto-Keras (Jin et al.
2019) for the network, TPE for the hyperparameters. What each part keeps of its source and what it does differently
stands in its module. Networks that still run are never proposed again, but the Gaussian process does not know them.

A proposal takes as long after 10,000 trials as after 10: it learns from a bounded number of them (`history`), a child is
made, counted, measured and placed by what its edit changes (`network.graph`, `surrogate`), and what is kept in memory of
a trial is its parent and edits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from aiperf_orch.network.graph import Graph
from aiperf_orch.network.memory import Memory, estimate
from aiperf_orch.network.morphisms import Edit, MorphismLimits
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search import hyperparameters as points
from aiperf_orch.search.candidates import Candidate, Test, anneal, random_descendant, walk
from aiperf_orch.search.history import History, Trial
from aiperf_orch.search.surrogate import Surrogate
from aiperf_orch.settings.models import SearchSettings
from aiperf_orch.util.errors import NetworkError

_SMALLEST_BATCH: Final = 2  # a trial halves its batch down to it before it gives up for want of memory
_BELOW_FAILURE: Final = 0.9  # of the estimate for a network that did not fit: what may be proposed after it


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
        limits: MorphismLimits,
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
        self._surrogate = Surrogate(settings.beta)
        self._learnt: int | None = None  # bytes for the smallest batch that are believed to fit

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
        operations: int,
    ) -> None:
        """A trial runs now: what a Proposal or a TrialSpec says of it. Once a trial, however many attempts it takes.

        Args:
            trial: its number.
            parent: the trial that it descends from; None is the seed network.
            edits: what was changed.
            hyperparameters: its point.
            network_hash: its network's.
            operations: to train its network with one image.

        Raises:
            ValueError: when it was started before, or its parent was not.
        """
        self._history.start(trial, Trial(parent, tuple(edits), hyperparameters), network_hash, operations)

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

    def ran_out_of_memory(self, trial: int) -> None:
        """A trial that ended did not fit into memory, not even with the smallest batch: what it takes is too much.

        From now on networks are proposed that take at most nine tenths of it by the estimate, or what one of the best
        trials took. Only if there are no new ones does a proposal take no notice: an accelerator that somebody else
        had filled must not end a search.
        """
        learnt = int(_BELOW_FAILURE * self._least_memory(self._history.graph(trial)))
        if self._learnt is None or learnt < self._learnt:
            fitted = max((self._least_memory(self._history.graph(parent)) for parent in self.parents), default=0)
            self._learnt = max(learnt, fitted)

    def prepare(self) -> None:
        """Compute now what the next proposal would have to: after a rebuild that is the 128 networks it learns from."""
        errors = self._history.modelled()
        if errors:
            self._surrogate.fit(errors, self._history.graph)

    def propose(self, trial: int) -> Proposal:
        """What trial number `trial` is to be.

        Raises:
            NetworkError: when every network within the limits was tried.
        """
        number = trial // self._concurrency
        first = points.first_point(self._settings)
        if trial == 0:
            found, point = Candidate(None, self._seed_network, first.kernel_size), first
        else:
            generator = np.random.default_rng([self._seed, trial])
            sampled = None
            if number >= self._settings.tpe_from_round:
                sampled = points.sample(self._settings, self._history.sampled(), generator)
            found = self._child(sampled, generator)
            inherited = first if found.parent is None else self._history[found.parent].hyperparameters
            point = sampled or inherited
        fitting = {"kernel_size": found.kernel_size, "batch_size": self._fitting_batch(found.graph, point.batch_size)}
        return Proposal(trial, number, found.parent, found.edits, found.graph, point.model_copy(update=fitting))

    def _child(self, point: Hyperparameters | None, generator: np.random.Generator) -> Candidate:
        """A new network within the limits: promising, else any."""
        parents = self._history.best(self._keep)
        seed = Candidate(None, self._seed_network, (point or points.first_point(self._settings)).kernel_size)
        ways: list[Callable[[Test], Candidate | None]] = []
        if parents:
            starts = [(error, partial(self._start, trial, point)) for error, trial in parents]
            ways = [
                partial(self._most_promising, starts, generator=generator),
                lambda admits: self._any_near([*(start() for _, start in starts), seed], admits, generator),
            ]
        else:
            ways = [partial(self._any_near, [seed], generator=generator)]
        for admits in (self._fits, self._limits.admit)[self._learnt is None :]:
            for way in ways:
                found = way(admits)
                if found is not None:
                    return found
        raise NetworkError(
            f"the limits leave no new network, {len(self._history)} were tried: raise network.max_layers, "
            "network.max_parameters, network.max_operations or network.max_memory"
        )

    def _most_promising(
        self, starts: Sequence[tuple[float, Callable[[], Candidate]]], admits: Test, generator: np.random.Generator
    ) -> Candidate | None:
        """The most promising network near the parents."""
        self._surrogate.fit(self._history.modelled(), self._history.graph)
        return anneal(
            starts,
            self._surrogate,
            is_new=self._history.is_new,
            admits=admits,
            neighbours=self._settings.neighbours,
            number=self._settings.candidates,
            generator=generator,
        )

    def _any_near(self, starts: Sequence[Candidate], admits: Test, generator: np.random.Generator) -> Candidate | None:
        """Some random edits of a start; when there is nothing new so near, whatever the limits leave."""
        found = random_descendant(
            starts,
            is_new=self._history.is_new,
            admits=admits,
            max_edits=self._settings.max_edits,
            generator=generator,
        )
        if found is None:
            kernel_sizes = sorted(self._settings.kernel_sizes, key=lambda size: size != starts[0].kernel_size)
            found = walk(starts, kernel_sizes, is_new=self._history.is_new, admits=admits, generator=generator)
        return found

    def _start(self, trial: int, point: Hyperparameters | None) -> Candidate:
        point = point or self._history[trial].hyperparameters
        return Candidate(trial, self._history.graph(trial), point.kernel_size)

    def _fits(self, graph: Graph) -> bool:
        """Whether a network is within the limits, and smaller than what ran out of memory."""
        return self._limits.admit(graph) and (self._learnt is None or self._least_memory(graph) <= self._learnt)

    def _memory(self, graph: Graph) -> Memory:
        return estimate(graph, self._limits.precision)

    def _least_memory(self, graph: Graph) -> int:
        return self._memory(graph).at(_SMALLEST_BATCH)

    def _fitting_batch(self, graph: Graph, wanted: int) -> int:
        """The batch, or as much of it as is believed to fit; never below what the settings allow."""
        known = [limit for limit in (self._limits.max_memory, self._learnt) if limit is not None]
        fitting = min((self._memory(graph).largest_batch(limit) for limit in known), default=wanted)
        return max(min(wanted, fitting), min(self._settings.batch_size[0], wanted))
