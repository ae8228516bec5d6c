"""Generators of new networks: simulated annealing, random edits, and an exhaustive breadth-first search.

Kept from Auto-Keras (Jin et al. 2019): a priority queue starts with the parents; the most promising network is taken
out and edited at random, a child enters the queue by the rule of simulated annealing, and the child with the lowest
bound is proposed. Different: the number of children is bounded, and the temperature falls with their number from 1 to
0.01 prior standard deviations of the Gaussian process, instead of by a constant factor per step. Whether a child is new
is tested last, because its bound is cheaper to compute than its hash.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.search.space import MORPHISMS, Space
from aiperf_orch.search.surrogate import EmbeddedNetwork, Surrogate
from aiperf_orch.util.errors import NetworkError

LAST_TEMPERATURE: Final = 0.01  # in prior standard deviations; the first temperature is 1
RANDOM_ATTEMPTS: Final = 64
_EDITS_PER_CHILD: Final = 4  # random edits per evaluated child, at most: children beyond the limits are discarded

GraphTest = Callable[[Graph], bool]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network with its derivation from a trial or, without a parent, from the seed network.

    Attributes:
        parent: number of the parent trial; None is the seed network.
        graph: the network after all edits.
        kernel_size: kernel size of the convolutions that further deepening adds.
        edits: edits from the parent's network to `graph`, in order.
        space: the space of the edits.
    """

    parent: int | None
    graph: Graph
    kernel_size: int
    edits: tuple[Edit, ...] = ()
    space: Space = MORPHISMS

    def child(self, edit: Edit) -> Candidate | None:
        """Candidate after one more edit; None if the edit results in an invalid network (too many channels)."""
        try:
            graph = self.space.apply(self.graph, edit)
        except NetworkError:
            return None
        return replace(self, graph=graph, edits=(*self.edits, edit), kernel_size=edit.kernel or self.kernel_size)

    def random_child(self, generator: np.random.Generator) -> Candidate | None:
        """Candidate after one random edit; None if no edit is possible."""
        edit = self.space.random_edit(self.graph, self.kernel_size, generator)
        return None if edit is None else self.child(edit)


class GraphSet:
    """Set of networks that are distinct in structure."""

    def __init__(self) -> None:
        self._by_operations: dict[int, list[Graph]] = {}

    def add(self, graph: Graph) -> bool:
        """Add a network; returns False, and changes nothing, if the set contains an equal one.

        Hashes are computed only for networks with equal operations.
        """
        equal_operations = self._by_operations.setdefault(counts.count(graph).train, [])
        if any(other.hash == graph.hash for other in equal_operations):
            return False
        equal_operations.append(graph)
        return True


def anneal(
    starts: Sequence[tuple[float, Callable[[], Candidate]]],
    surrogate: Surrogate,
    *,
    is_new: GraphTest,
    admits: GraphTest,
    neighbours: int,
    max_children: int,
    generator: np.random.Generator,
) -> Candidate | None:
    """Search by simulated annealing for the new network with the lowest confidence bound.

    Args:
        starts: error of each parent, and a function that makes its candidate; most are never called.
        surrogate: computes the lower confidence bound of a network's error.
        is_new: returns whether a network was not proposed before.
        admits: returns whether a network is within the limits.
        neighbours: number of random children of each network that is taken from the queue.
        max_children: number of children that are evaluated in total, at most.
        generator: source of all randomness.

    Returns:
        The candidate; None if no evaluated child is new and within the limits.
    """
    queue: list[tuple[float, int, Callable[[], Candidate], EmbeddedNetwork | None]] = [
        (error, order, make_start, None) for order, (error, make_start) in enumerate(starts)
    ]
    heapq.heapify(queue)
    pushed = len(queue)
    queued = GraphSet()
    best, lowest = None, math.inf
    evaluated = edited = 0
    while queue and evaluated < max_children and edited < _EDITS_PER_CHILD * max_children:
        _, _, make_candidate, known_embedding = heapq.heappop(queue)
        candidate = make_candidate()
        embedding = known_embedding or surrogate.embed(candidate.graph)
        for _ in range(min(neighbours, max_children - evaluated)):
            child, edited = candidate.random_child(generator), edited + 1
            if child is None or not admits(child.graph):
                continue
            child_embedding = surrogate.update(embedding, candidate.graph, child.graph)
            bound = surrogate.bound(child_embedding)
            temperature = surrogate.scale * LAST_TEMPERATURE ** (evaluated / max_children)
            evaluated += 1
            if bound >= lowest and generator.random() >= math.exp((lowest - bound) / temperature):
                continue
            if not is_new(child.graph) or not queued.add(child.graph):
                continue
            heapq.heappush(queue, (bound, pushed, _returning(child), child_embedding))
            pushed += 1
            if bound < lowest:
                best, lowest = child, bound
    return best


def _returning(candidate: Candidate) -> Callable[[], Candidate]:
    return lambda: candidate


def random_descendant(
    starts: Sequence[Candidate],
    *,
    is_new: GraphTest,
    admits: GraphTest,
    max_edits: int,
    generator: np.random.Generator,
) -> Candidate | None:
    """Apply 1 to `max_edits` random edits to a random start; None if 64 attempts find no new network."""
    for _ in range(RANDOM_ATTEMPTS):
        found: Candidate | None = starts[int(generator.integers(len(starts)))] if len(starts) > 1 else starts[0]
        for _ in range(generator.integers(1, max_edits, endpoint=True)):
            found = found and found.random_child(generator)
        if found and admits(found.graph) and is_new(found.graph):
            return found
    return None


def breadth_first(
    starts: Iterable[Candidate],
    kernel_sizes: Sequence[int],
    *,
    is_new: GraphTest,
    admits: GraphTest,
    generator: np.random.Generator,
) -> Candidate | None:
    """Search exhaustively for a new network: all edits of the starts, then all edits of their children, and so on.

    Networks beyond the limits are not expanded: morphisms only enlarge a network. Networks within the limits that are
    not new were tried before; their number is finite, so the search ends. A sequence of edits may contain several
    kernel sizes; the candidate's is the last one.

    Args:
        starts: networks to expand first.
        kernel_sizes: kernel sizes of added convolutions.
        is_new: returns whether a network was not proposed before.
        admits: returns whether a network is within the limits.
        generator: shuffles the edits of each network.

    Returns:
        The candidate; None if all networks within the limits were tried.
    """
    queue = deque(starts)
    visited = {start.graph.hash for start in queue}
    while queue:
        candidate = queue.popleft()
        edits = candidate.space.all_edits(candidate.graph, kernel_sizes)
        for index in generator.permutation(len(edits)):
            child = candidate.child(edits[index])
            if child is None or not admits(child.graph) or child.graph.hash in visited:
                continue
            if is_new(child.graph):
                return child
            visited.add(child.graph.hash)
            queue.append(child)
    return None
