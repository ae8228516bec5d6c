"""Asynchronous search: proposes the next trial from the trials that ended and those that run, at any time.

The method is that of AIPerf (Ren et al. 2021): network morphism with the Gaussian process of Auto-Keras (Jin et al.
2019) for the network, TPE for the hyperparameters. The docstring of each module says what is kept from its source and
what differs. Networks of running trials are not proposed again, but are not part of the Gaussian process: with them
the search was worse (docs/research/search.md).

A proposal takes as long after 10,000 trials as after 10: models are fitted to a bounded number of trials (`history`), a
child is counted and embedded incrementally from its edit (`network.graph`, `surrogate`), and only the parent and edits
of a trial are kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from aiperf_orch.campaign.training_rules import MIN_BATCH, trial_round
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.memory import Memory, estimate
from aiperf_orch.network.morphisms import Edit, MorphismLimits
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search import hyperparameters as points
from aiperf_orch.search.candidates import Candidate, GraphTest, anneal, breadth_first, random_descendant
from aiperf_orch.search.history import History, Observation
from aiperf_orch.search.space import MORPHISMS, Space
from aiperf_orch.search.surrogate import Surrogate
from aiperf_orch.settings.models import SearchSettings
from aiperf_orch.util.errors import NetworkError

SEARCH_VERSION: Final = 2
"""Version of the search, which the journal names. Raise it with every change after which any campaign could get another
proposal; tests/search/test_search_version.py finds most of them."""
_MEMORY_FRACTION: Final = 0.9  # of the estimate for a network that ran out of memory: limit of later proposals


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial that the search proposes.

    Attributes:
        trial: number of the trial.
        round: round of the trial; it decides the number of epochs.
        parent: number of the parent trial; None is the seed network.
        edits: edits of the parent's network.
        graph: the network after the edits.
        hyperparameters: point of the search space.
    """

    trial: int
    round: int
    parent: int | None
    edits: tuple[Edit, ...]
    graph: Graph
    hyperparameters: Hyperparameters


class Search:
    """Proposes trials; `started`, `ended` and `ran_out_of_memory` report their progress to it.

    Proposal k depends only on the seed, k, and the calls before it. A search that is rebuilt with the same calls, after
    a restart, makes the same proposals. `propose` does not change the state. Not thread-safe.
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
        space: Space = MORPHISMS,
    ) -> None:
        """Create a search without trials.

        Args:
            seed_network: network of trial 0, from which all others descend.
            settings: bounds and parameters of the search.
            limits: limits of proposed networks.
            seed: seed of all randomness, not negative.
            concurrency: number of trials that run at the same time; also the number of trials in a round.
            keep: number of trials, the best ones, that can be parents because their weights are kept.
            space: edits of networks.

        Raises:
            NetworkError: if the seed network exceeds the limits.
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
        self._space = space
        self._history = History(seed_network, space)
        self._surrogate = Surrogate(settings.beta)
        self._learnt_memory: int | None = None  # bytes for the smallest batch that are assumed to fit

    @property
    def parents(self) -> list[int]:
        """Trials that a child may descend from, best first; their weights must be kept."""
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
        """Record the start of a trial, with the fields of a Proposal or TrialSpec; once for all of its attempts.

        Args:
            trial: number of the trial.
            parent: number of the parent trial; None is the seed network.
            edits: edits of the parent's network.
            hyperparameters: point of the search space.
            network_hash: hash of the network.
            operations: operations to train the network with one image.

        Raises:
            ValueError: if the trial was started before, or its parent was not.
        """
        self._history.start(trial, Observation(parent, tuple(edits), hyperparameters), network_hash, operations)

    def ended(self, trial: int, error: float | None, predicted_error: float | None) -> None:
        """Record the final end of a trial. Trials are ranked by the smaller of error and forecast.

        Args:
            trial: number of the trial.
            error: best validation error (fraction); None if no epoch ended.
            predicted_error: forecast of the error; None if it is not usable.

        Raises:
            ValueError: if the trial is not running.
        """
        value = error if error is None or predicted_error is None else min(error, predicted_error)
        self._history.end(trial, error, value)

    def ran_out_of_memory(self, trial: int) -> None:
        """Record that an ended trial ran out of memory with the smallest batch.

        Later proposals are limited to nine tenths of its estimated memory, or to the largest estimate of the best
        trials if that is more. The limit is ignored if it leaves no new network: an accelerator that was filled by
        another process must not end the search.
        """
        learnt = int(_MEMORY_FRACTION * self._least_memory(self._history.graph(trial)))
        if self._learnt_memory is None or learnt < self._learnt_memory:
            fitted = max((self._least_memory(self._history.graph(parent)) for parent in self.parents), default=0)
            self._learnt_memory = max(learnt, fitted)

    def prepare(self) -> None:
        """Fit the surrogate before the next proposal: after a rebuild this embeds up to 128 networks."""
        errors = self._history.ranked_observations()
        if errors:
            self._surrogate.fit(errors, self._history.graph)

    def propose(self, trial: int, *, bound_offset: float = 0.0) -> Proposal:
        """Propose the trial with this number.

        Args:
            trial: number of the trial.
            bound_offset: added to the bounds of networks before they are rounded. With a tiny number the proposal is
                the one of a machine whose linear algebra differs in the last bits, and rounds a bound differently.

        Raises:
            NetworkError: if all networks within the limits were tried.
        """
        self._surrogate.bound_offset = bound_offset
        number = trial_round(trial, self._concurrency)
        first = points.first_point(self._settings)
        if trial == 0:
            found, point = self._seed_candidate(None), first
        else:
            generator = np.random.default_rng([self._seed, trial])
            sampled = None
            if number >= self._settings.tpe_from_round:
                sampled = points.sample(self._settings, self._history.hyperparameter_observations(), generator)
            found = self._new_candidate(sampled, generator)
            inherited = first if found.parent is None else self._history[found.parent].hyperparameters
            point = sampled or inherited
        fitting = {"kernel_size": found.kernel_size, "batch_size": self._fitting_batch(found.graph, point.batch_size)}
        return Proposal(trial, number, found.parent, found.edits, found.graph, point.model_copy(update=fitting))

    def _new_candidate(self, point: Hyperparameters | None, generator: np.random.Generator) -> Candidate:
        """A new network within the limits: by annealing from the parents, otherwise by random or exhaustive edits."""
        parents = self._history.best(self._keep)
        seed = self._seed_candidate(point)
        starts = [(error, partial(self._start_candidate, trial, point)) for error, trial in parents]
        tests: list[GraphTest] = [self._limits.admit]
        if self._learnt_memory is not None:
            tests.insert(0, self._fits_memory)
        for admits in tests:
            found = self._anneal(starts, admits, generator) if starts else None
            if found is None:
                found = self._random_or_exhaustive([*(start() for _, start in starts), seed], admits, generator)
            if found is not None:
                return found
        raise NetworkError(
            f"the limits leave no new network, {len(self._history)} were tried: raise network.max_layers, "
            "network.max_parameters, network.max_operations or network.max_memory"
        )

    def _anneal(
        self,
        starts: Sequence[tuple[float, Callable[[], Candidate]]],
        admits: GraphTest,
        generator: np.random.Generator,
    ) -> Candidate | None:
        """The new network with the lowest bound that annealing from the parents finds."""
        self._surrogate.fit(self._history.ranked_observations(), self._history.graph)
        return anneal(
            starts,
            self._surrogate,
            is_new=self._history.is_new,
            admits=admits,
            neighbours=self._settings.neighbours,
            max_children=self._settings.candidates,
            generator=generator,
        )

    def _random_or_exhaustive(
        self, starts: Sequence[Candidate], admits: GraphTest, generator: np.random.Generator
    ) -> Candidate | None:
        """A random descendant of a start; if none is new, the first one that the exhaustive search finds."""
        found = random_descendant(
            starts,
            is_new=self._history.is_new,
            admits=admits,
            max_edits=self._settings.max_edits,
            generator=generator,
        )
        if found is None:
            kernel_sizes = sorted(self._settings.kernel_sizes, key=lambda size: size != starts[0].kernel_size)
            found = breadth_first(starts, kernel_sizes, is_new=self._history.is_new, admits=admits, generator=generator)
        return found

    def _start_candidate(self, trial: int, point: Hyperparameters | None) -> Candidate:
        point = point or self._history[trial].hyperparameters
        return Candidate(trial, self._history.graph(trial), point.kernel_size, space=self._space)

    def _seed_candidate(self, point: Hyperparameters | None) -> Candidate:
        point = point or points.first_point(self._settings)
        return Candidate(None, self._seed_network, point.kernel_size, space=self._space)

    def _fits_memory(self, graph: Graph) -> bool:
        """Whether a network is within the limits, and smaller than those that ran out of memory."""
        if not self._limits.admit(graph):
            return False
        return self._learnt_memory is None or self._least_memory(graph) <= self._learnt_memory

    def _memory(self, graph: Graph) -> Memory:
        return estimate(graph, self._limits.precision)

    def _least_memory(self, graph: Graph) -> int:
        return self._memory(graph).at(MIN_BATCH)

    def _fitting_batch(self, graph: Graph, wanted: int) -> int:
        """The wanted batch, or the largest one that fits by the estimate; not below the smallest of the settings."""
        known = [limit for limit in (self._limits.max_memory, self._learnt_memory) if limit is not None]
        fitting = min((self._memory(graph).largest_batch(limit) for limit in known), default=wanted)
        return max(min(wanted, fitting), min(self._settings.batch_size[0], wanted))
