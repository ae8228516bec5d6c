"""Ways to a network that was not tried yet: simulated annealing, random edits, and a walk that misses nothing.

Kept from Auto-Keras (Jin et al. 2019): a priority queue that begins with the parents; the most promising network is
taken out and edited at random, a child goes into the queue by the rule of simulated annealing, and the best child of
all is proposed. Different: the number of children in all is bounded, and the temperature falls with their number, from
1 to 0.01 prior standard deviations of the Gaussian process, not by a factor a step. Whether a child is new is asked
only when it would be taken: its bound costs less than its hash.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from aiperf_orch.network import counts, morphisms
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.search.surrogate import Place, Surrogate
from aiperf_orch.util.errors import NetworkError

LAST_TEMPERATURE: Final = 0.01
RANDOM_TRIES: Final = 64
_TRIES_A_CHILD: Final = 4  # children made for each that is weighed, at most: the others are beyond the limits

Test = Callable[[Graph], bool]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network, and how it comes from a trial (or, without a parent, from the seed network).

    `kernel_size` is that of the convolutions that deepening adds.
    """

    parent: int | None
    graph: Graph
    kernel_size: int
    edits: tuple[Edit, ...] = ()

    def child(self, edit: Edit) -> Candidate | None:
        """The candidate after one more edit; None when the edit makes no valid network (too many channels)."""
        try:
            graph = morphisms.apply(self.graph, edit)
        except NetworkError:
            return None
        return replace(self, graph=graph, edits=(*self.edits, edit), kernel_size=edit.kernel or self.kernel_size)

    def random_child(self, generator: np.random.Generator) -> Candidate | None:
        """The candidate after a random edit; None when none fits."""
        edit = morphisms.random_edit(self.graph, self.kernel_size, generator)
        return None if edit is None else self.child(edit)


class Distinct:
    """Some networks, no two of equal structure."""

    def __init__(self) -> None:
        self._by_operations: dict[int, list[Graph]] = {}

    def add(self, graph: Graph) -> bool:
        """Take a network in, unless there is an equal one; whether it was taken."""
        alike = self._by_operations.setdefault(counts.count(graph).train, [])
        if any(other.hash == graph.hash for other in alike):
            return False
        alike.append(graph)
        return True


def anneal(
    starts: Sequence[tuple[float, Callable[[], Candidate]]],
    surrogate: Surrogate,
    *,
    is_new: Test,
    admits: Test,
    neighbours: int,
    number: int,
    generator: np.random.Generator,
) -> Candidate | None:
    """The new network with the lowest bound that simulated annealing meets.

    Args:
        starts: errors of the parents, and what makes each: most are never taken.
        surrogate: bounds the error of a network from below.
        is_new: whether a network was not tried.
        admits: whether a network is within the limits.
        neighbours: children tried of each network that is taken from the queue.
        number: children weighed in all, at most.
        generator: where all randomness comes from.

    Returns:
        None when no child of what was taken from the queue is new and within the limits.
    """
    queue: list[tuple[float, int, Callable[[], Candidate], Place | None]] = [
        (error, order, start, None) for order, (error, start) in enumerate(starts)
    ]
    heapq.heapify(queue)
    pushed = len(queue)
    queued = Distinct()
    best, lowest = None, math.inf
    weighed = made = 0
    while queue and weighed < number and made < _TRIES_A_CHILD * number:
        _, _, make, place = heapq.heappop(queue)
        taken = make()
        place = place or surrogate.locate(taken.graph)
        for _ in range(min(neighbours, number - weighed)):
            child, made = taken.random_child(generator), made + 1
            if child is None or not admits(child.graph):
                continue
            there = surrogate.moved(place, taken.graph, child.graph)
            value = surrogate.bound(there)
            temperature = surrogate.scale * LAST_TEMPERATURE ** (weighed / number)
            weighed += 1
            if value >= lowest and generator.random() >= math.exp((lowest - value) / temperature):
                continue
            if not is_new(child.graph) or not queued.add(child.graph):
                continue
            heapq.heappush(queue, (value, pushed, _as_it_is(child), there))
            pushed += 1
            if value < lowest:
                best, lowest = child, value
    return best


def _as_it_is(candidate: Candidate) -> Callable[[], Candidate]:
    return lambda: candidate


def random_descendant(
    starts: Sequence[Candidate], *, is_new: Test, admits: Test, max_edits: int, generator: np.random.Generator
) -> Candidate | None:
    """A new network some random edits (at most `max_edits`) from one of the starts; None when no try of 64 found one."""
    for _ in range(RANDOM_TRIES):
        found: Candidate | None = starts[int(generator.integers(len(starts)))] if len(starts) > 1 else starts[0]
        for _ in range(generator.integers(1, max_edits, endpoint=True)):
            found = found and found.random_child(generator)
        if found and admits(found.graph) and is_new(found.graph):
            return found
    return None


def walk(
    starts: Iterable[Candidate],
    kernel_sizes: Sequence[int],
    *,
    is_new: Test,
    admits: Test,
    generator: np.random.Generator,
) -> Candidate | None:
    """The first new network that is met by every edit of the starts, then every edit of those, and so on.

    Edits only let a network grow, so what is beyond the limits need not be followed, and what is within them was
    either tried or is what we look for: the walk goes only through networks that were tried, and ends. A chain of
    edits may deepen with several kernel sizes; the candidate's is then the last.

    Returns:
        None when every network within the limits was tried.
    """
    queue = deque(starts)
    met = {start.graph.hash for start in queue}
    while queue:
        taken = queue.popleft()
        edits = [
            edit
            for kind in morphisms.KINDS
            for kernel in (kernel_sizes if kind == "deeper" else kernel_sizes[:1])
            for edit in morphisms.candidates(taken.graph, kind, kernel)
        ]
        for index in generator.permutation(len(edits)):
            child = taken.child(edits[index])
            if child is None or not admits(child.graph) or child.graph.hash in met:
                continue
            if is_new(child.graph):
                return child
            met.add(child.graph.hash)
            queue.append(child)
    return None
