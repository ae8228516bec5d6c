"""Ways to a network that was not tried yet: simulated annealing, random edits, and a walk that misses nothing.

Kept from Auto-Keras (Jin et al. 2019): a priority queue that begins with the parents; the most promising network is
taken out and edited at random, a child goes into the queue by the rule of simulated annealing, and the best child of
all is proposed. Different: the number of children in all is bounded, and the temperature falls with their number, from
1 to 0.01 prior standard deviations of the Gaussian process, not by a factor a step.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from aiperf_orch.errors import NetworkError
from aiperf_orch.network import morphisms
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, Limits

LAST_TEMPERATURE: Final = 0.01
RANDOM_TRIES: Final = 64


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


def anneal(
    starts: Iterable[tuple[float, Candidate]],
    bound: Callable[[Graph], float],
    *,
    tried: AbstractSet[str],
    limits: Limits,
    scale: float,
    neighbours: int,
    number: int,
    generator: np.random.Generator,
) -> Candidate | None:
    """The new network with the lowest bound that simulated annealing meets.

    Args:
        starts: parents with their errors.
        bound: lower confidence bound of a network's error.
        tried: hashes of the networks that are not new.
        limits: what a network may not exceed.
        scale: the first temperature, in units of the error.
        neighbours: children tried of each network that is taken from the queue.
        number: children weighed in all, at most.
        generator: where all randomness comes from.

    Returns:
        None when no child of what was taken from the queue is new and within the limits.
    """
    queue = [(error, order, start) for order, (error, start) in enumerate(starts)]
    heapq.heapify(queue)
    pushed = len(queue)
    weighed: set[str] = set()
    best, lowest = None, math.inf
    while queue and len(weighed) < number:
        _, _, taken = heapq.heappop(queue)
        for _ in range(min(neighbours, number - len(weighed))):
            child = taken.random_child(generator)
            if child is None or not limits.admit(child.graph):
                continue
            if child.graph.hash in tried or child.graph.hash in weighed:
                continue
            temperature = scale * LAST_TEMPERATURE ** (len(weighed) / number)
            weighed.add(child.graph.hash)
            value = bound(child.graph)
            if value < lowest or generator.random() < math.exp((lowest - value) / temperature):
                heapq.heappush(queue, (value, pushed, child))
                pushed += 1
            if value < lowest:
                best, lowest = child, value
    return best


def random_descendant(
    start: Candidate, *, tried: AbstractSet[str], limits: Limits, max_edits: int, generator: np.random.Generator
) -> Candidate | None:
    """A new network some random edits (at most `max_edits`) away; None when no try of 64 found one."""
    for _ in range(RANDOM_TRIES):
        found: Candidate | None = start
        for _ in range(generator.integers(1, max_edits, endpoint=True)):
            found = found and found.random_child(generator)
        if found and limits.admit(found.graph) and found.graph.hash not in tried:
            return found
    return None


def walk(
    starts: Iterable[Candidate],
    kernel_sizes: Sequence[int],
    *,
    tried: AbstractSet[str],
    limits: Limits,
    generator: np.random.Generator,
) -> Candidate:
    """The first new network that is met by every edit of the starts, then every edit of those, and so on.

    Edits only let a network grow, so what is beyond the limits need not be followed, and what is within them was
    either tried or is what we look for: the walk goes only through networks that were tried, and ends. A chain of
    edits may deepen with several kernel sizes; the candidate's is then the last.

    Raises:
        NetworkError: when every network within the limits was tried.
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
            if child is None or not limits.admit(child.graph) or child.graph.hash in met:
                continue
            if child.graph.hash not in tried:
                return child
            met.add(child.graph.hash)
            queue.append(child)
    raise NetworkError(
        f"the limits leave no new network, {len(tried)} were tried: raise network.max_layers, network.max_parameters "
        "or network.max_operations"
    )
