"""How long a proposal takes, by the number of trials that ended before it, on networks of ResNet-50's size.

Beside it the same proposals with distances computed pair by pair in plain Python, in the same run:

    python benchmarks/search.py [--history N] [--proposals N]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from aiperf_orch.config import SearchSettings
from aiperf_orch.network import counts, morphisms, seeds
from aiperf_orch.network.morphisms import Limits
from aiperf_orch.search import Search


def with_history(trials: int) -> Search:
    """A search after so many trials ended: each a ResNet-50 or one to three random edits of an earlier trial."""
    search = Search(seeds.resnet50(), SearchSettings(), Limits(), seed=0, concurrency=1, keep=64)
    generator = np.random.default_rng(0)
    point = search.propose(0).hyperparameters
    graphs = [seeds.resnet50()]
    search.started(0, None, (), point, graphs[0].hash, counts.count(graphs[0]).train)
    for trial in range(1, trials):
        parent = int(generator.integers(trial))
        edits, graph = [], graphs[parent]
        for _ in range(generator.integers(1, 4)):
            edit = morphisms.random_edit(graph, 3, generator)
            assert edit is not None
            edits.append(edit)
            graph = morphisms.apply(graph, edit)
        graphs.append(graph)
        search.started(trial, parent, edits, point, graph.hash, counts.count(graph).train)
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

    for history in arguments.history or [5, 20]:
        first, *others = proposal_seconds(history, arguments.proposals)
        median = statistics.median(others)
        print(f"{history:8}{first:8.3f}{median:8.3f}{max(others):8.3f}", flush=True)


if __name__ == "__main__":
    main()
