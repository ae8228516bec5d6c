"""How long a proposal takes, by the number of trials that ended before it, on networks of ResNet-50's size.

Beside it the same proposals with distances computed pair by pair in plain Python, in the same run:

    python benchmarks/search.py [--history N] [--proposals N]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Sequence
from unittest import mock

import numpy as np

from aiperf_orch.config import SearchSettings
from aiperf_orch.network import morphisms, seeds
from aiperf_orch.network.morphisms import Limits
from aiperf_orch.search import Search, edit_distance
from aiperf_orch.search.edit_distance import Features, Floats

PLAIN_UP_TO = 50  # trials: the distances within a longer history would take minutes


class PlainNetworks:
    """Stands in for edit_distance.Networks; the Hungarian algorithm is SciPy's in both."""

    def __init__(self, networks: Sequence[Features]) -> None:
        self._networks = [(each.layers.tolist(), each.skips.tolist()) for each in networks]

    def distances(self, network: Features) -> Floats:
        """As edit_distance.Networks.distances, but for its rounding."""
        layers, skips = network.layers.tolist(), network.skips.tolist()
        return np.array(
            [
                _alignment(layers, their_layers) + _matching(skips, their_skips)
                for their_layers, their_skips in self._networks
            ]
        )


def _alignment(ours: list[list[int]], theirs: list[list[int]]) -> float:
    above = [float(column) for column in range(len(theirs) + 1)]
    for row, layer in enumerate(ours, start=1):
        here = [float(row)]
        for column, other in enumerate(theirs, start=1):
            cost = 1.0
            if layer[0] == other[0]:
                cost = max(abs(a - b) / max(a, b, 1) for a, b in zip(layer[1:], other[1:], strict=True))
            here.append(min(above[column] + 1, here[-1] + 1, above[column - 1] + cost))
        above = here
    return above[-1]


def _matching(ours: list[list[int]], theirs: list[list[int]]) -> float:
    costs = np.ones((len(ours), len(theirs)))
    for (row, (kind, *ranks)), (column, (other, *others)) in itertools.product(enumerate(ours), enumerate(theirs)):
        if kind == other:
            largest = sum(map(max, ranks, others))
            costs[row, column] = sum(abs(a - b) for a, b in zip(ranks, others, strict=True)) / max(largest, 1)
    matched = edit_distance.linear_sum_assignment(costs)
    return float(costs[matched].sum()) + abs(len(ours) - len(theirs))


def with_history(trials: int) -> Search:
    """A search after so many trials ended: each a ResNet-50 or one to three random edits of an earlier trial."""
    search = Search(seeds.resnet50(), SearchSettings(), Limits(), seed=0, concurrency=1, keep=64)
    generator = np.random.default_rng(0)
    point = search.propose(0).hyperparameters
    graphs = [seeds.resnet50()]
    search.started(0, None, (), point, graphs[0].hash)
    for trial in range(1, trials):
        parent = int(generator.integers(trial))
        edits, graph = [], graphs[parent]
        for _ in range(generator.integers(1, 4)):
            edit = morphisms.random_edit(graph, 3, generator)
            assert edit is not None
            edits.append(edit)
            graph = morphisms.apply(graph, edit)
        graphs.append(graph)
        search.started(trial, parent, edits, point, graph.hash)
    for trial in range(trials):
        search.ended(trial, float(generator.random()), None)
    return search


def proposal_seconds(history: int, proposals: int) -> list[float]:
    """Seconds of each proposal; the first also finds the distances within the history, as after a restart."""
    search = with_history(history)
    seconds = []
    for trial in range(history, history + proposals):
        begun = time.perf_counter()
        search.propose(trial)
        seconds.append(time.perf_counter() - begun)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=int, action="append", help="ended trials; may be given again (5 and 20)")
    parser.add_argument(
        "--proposals", type=int, default=10, help="proposals timed at each size, 2 at least (%(default)s)"
    )
    arguments = parser.parse_args()
    print("seconds a proposal")
    print(f"{'history':>8}{'first':>8}{'median':>8}{'max':>8}{'plain':>8}{'ratio':>8}")
    import optuna  # noqa: F401  or the first proposal would wait for it

    for history in arguments.history or [5, 20]:
        first, *others = proposal_seconds(history, arguments.proposals)
        median = statistics.median(others)
        print(f"{history:8}{first:8.3f}{median:8.3f}{max(others):8.3f}", end="", flush=True)
        if history > PLAIN_UP_TO:
            print(f"{'-':>8}{'-':>8}")
            continue
        with mock.patch.object(edit_distance, "Networks", PlainNetworks):
            plain = proposal_seconds(history, 2)[1]
        print(f"{plain:8.2f}{plain / median:8.1f}", flush=True)


if __name__ == "__main__":
    main()
