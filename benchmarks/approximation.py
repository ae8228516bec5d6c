"""How well the search's vectors stand for the edit distance: distances, ranks, and what a search finds in the end.

The exact method is the edit distance by alignment and matching (`edit_distance.py`), and a Gaussian process whose
covariance is made valid by clipping negative eigenvalues.

Ranks: histories of random descendants with random errors are given to the search's surrogate and to the exact method.
Both then rank the same children of these networks by their confidence bounds.

Final error: searches of 60 trials, one at a time, that differ in nothing but the surrogate: ours, the exact method, and
one whose bounds are random, so that children of the best trials are tried blindly. The error of a network is invented,
from its parameters, layers and merges; it is best at 8 times the seed network's parameters, and 40 layers and 4 merges
more than it has. Equal seeds are compared, and none by which the bound's beta was chosen:

    python benchmarks/approximation.py [--histories 5] [--searches 24]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping

import edit_distance
import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr, t

from aiperf_orch.network import counts, morphisms, seeds
from aiperf_orch.network.graph import MERGES, Graph
from aiperf_orch.network.morphisms import MorphismLimits
from aiperf_orch.search import Search
from aiperf_orch.search.embedding import UNIT
from aiperf_orch.search.gaussian_process import NOISE, SMALLEST_SCALE
from aiperf_orch.search.surrogate import EmbeddedNetwork, Surrogate
from aiperf_orch.settings.models import SearchSettings

Floats = npt.NDArray[np.float64]
BETA, PAPERS_BETA = SearchSettings().beta, 2.576
CHILDREN = 60
TRIALS = 60
FIRST_SEED = 100  # of searches; beta was chosen by some below it
NOTHING = np.zeros(0, dtype=np.int32)


class ExactSurrogate:
    """The exact method behind the calls of the search's surrogate; the distances of its places are in layers."""

    def __init__(self, beta: float) -> None:
        self._beta = beta
        self._known = edit_distance.KnownNetworks()

    def fit(self, errors: Mapping[int, float], graph_of: Callable[[int], Graph]) -> None:
        """Hold exactly these trials."""
        self._known.update(list(errors), lambda trial: edit_distance.features(graph_of(trial)))
        values, within = np.array(list(errors.values())), self._known.matrix
        between = within[np.triu_indices(len(errors), 1)]
        self._length = max(float(np.median(between)), 1.0) if between.size else 1.0
        eigenvalues, eigenvectors = np.linalg.eigh(np.exp(-within / self._length))
        kept = eigenvalues > 1e-9
        self._basis = eigenvectors[:, kept] / np.sqrt(eigenvalues[kept] + NOISE)
        self._mean, self.scale = float(values.mean()), max(float(values.std()), SMALLEST_SCALE)
        self._weights = self._basis.T @ ((values - self._mean) / self.scale)

    def locate(self, graph: Graph) -> Place:
        """Where a network lies."""
        return Place(NOTHING, self._known.distances(edit_distance.features(graph)))

    def moved(self, _place: Place, _parent: Graph, child: Graph) -> Place:
        """Where a child lies."""
        return self.locate(child)

    def bound(self, place: Place) -> float:
        """The lower confidence bound of a network's error."""
        projected = np.exp(-place.distances / self._length) @ self._basis
        deviation = math.sqrt(max(1 - float(projected @ projected), 0.0))
        return self._mean + self.scale * (float(projected @ self._weights) - self._beta * deviation)


class RandomSurrogate(ExactSurrogate):
    """Bounds that say nothing."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self.scale = 1.0

    def fit(self, errors: Mapping[int, float], graph_of: Callable[[int], Graph]) -> None:
        """Learn nothing."""

    def locate(self, _graph: Graph) -> Place:
        """Nowhere."""
        return Place(NOTHING, NOTHING)

    def bound(self, _place: Place) -> float:
        """Any number."""
        return float(self._generator.random())


def judged(surrogate: Surrogate | ExactSurrogate, graphs: list[Graph], errors: Floats, children: list[Graph]) -> Floats:
    """Bounds of the children, and below them their distances from the graphs, in layers."""
    surrogate.fit(dict(enumerate(errors.tolist())), graphs.__getitem__)
    places = [surrogate.locate(child) for child in children]
    bounds = [surrogate.bound(place) for place in places]
    unit = UNIT if isinstance(surrogate, Surrogate) else 1
    far = [place.distances / unit for place in places]
    return np.column_stack([bounds, np.array(far)])


def edited(graph: Graph, number: int, generator: np.random.Generator) -> Graph:
    for _ in range(number):
        edit = morphisms.random_edit(graph, int(generator.choice([3, 5, 7])), generator)
        assert edit is not None
        graph = morphisms.apply(graph, edit)
    return graph


def ranks(histories: int) -> None:
    print(
        "Spearman's rank correlation with the exact method, median of histories (least); and our distances, in theirs"
    )
    print(f"{'seed network':<16}{'history':>8}{'distances':>18}{'bounds':>18}{'median (5 % to 95 %)':>26}")
    for name in ("small_residual", "resnet50"):
        for size in (10, 30):
            found, relative = [], []
            for seed in range(histories):
                generator = np.random.default_rng(seed)
                graphs = [seeds.SEEDS[name]()]
                while len(graphs) < size:
                    parent = graphs[generator.integers(len(graphs))]
                    graphs.append(edited(parent, int(generator.integers(1, 4)), generator))
                children = [edited(graphs[generator.integers(size)], 1, generator) for _ in range(CHILDREN)]
                errors = generator.random(size)
                exact, ours = (
                    judged(each, graphs, errors, children) for each in (ExactSurrogate(BETA), Surrogate(BETA))
                )
                far, near = exact[:, 1:].ravel(), ours[:, 1:].ravel()
                found.append([spearmanr(far, near).statistic, spearmanr(exact[:, 0], ours[:, 0]).statistic])
                relative.append(near[far > 0] / far[far > 0])
            (distances, bound), least = np.median(found, axis=0), np.min(found, axis=0)
            low, middle, high = np.percentile(np.concatenate(relative), [5, 50, 95])
            print(
                f"{name:<16}{size:>8}{distances:>10.2f} ({least[0]:.2f}){bound:>10.2f} ({least[1]:.2f})"
                f"{middle:>12.2f} ({low:.2f} to {high:.2f})",
                flush=True,
            )


def invented_error(first: Graph, graph: Graph) -> float:
    """An error, from how far a network is from what we call best."""
    merges = sum(len(network.by_kind[kind]) * sign for network, sign in ((graph, 1), (first, -1)) for kind in MERGES)
    off = (
        math.log2(graph.parameters / first.parameters) - 3,
        (graph.depth - first.depth - 40) / 20,
        (merges - 4) / 4,
    )
    return min(0.02 + 0.03 * sum(each**2 for each in off), 1.0)


def final_error(first: Graph, seed: int, surrogate: Surrogate | ExactSurrogate) -> float:
    """The best error of a search."""
    search = Search(first, SearchSettings(), MorphismLimits(), seed=seed, concurrency=1, keep=64)
    search._surrogate = surrogate  # type: ignore[assignment]
    best = 1.0
    for trial in range(TRIALS):
        made = search.propose(trial)
        train = counts.count(made.graph).train
        search.started(trial, made.parent, made.edits, made.hyperparameters, made.graph.hash, train)
        error = invented_error(first, made.graph)
        search.ended(trial, error, None)
        best = min(best, error)
    return best


def interval(values: Floats) -> str:
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return f"{100 * values.mean():6.2f} ±{100 * half:5.2f}"


def final_errors(searches: int) -> None:
    print(
        f"best invented error in percent after {TRIALS} trials, mean and 95 % confidence interval of {searches} searches"
    )
    names = ("ours", "exact", "random bounds", "ours - exact", "ours - random")
    print(f"{'seed network':<16}{'beta':>8}{''.join(f'{name:>16}' for name in names)}")
    for name, beta in (("small_residual", BETA), ("small_residual", PAPERS_BETA), ("resnet50", BETA)):
        first, numbers = seeds.SEEDS[name](), range(FIRST_SEED, FIRST_SEED + searches)
        ours = np.array([final_error(first, seed, Surrogate(beta)) for seed in numbers])
        exact = np.array([final_error(first, seed, ExactSurrogate(beta)) for seed in numbers])
        blind = np.array([final_error(first, seed, RandomSurrogate(seed)) for seed in numbers])
        columns = "".join(f"{interval(each):>16}" for each in (ours, exact, blind, ours - exact, ours - blind))
        print(f"{name:<16}{beta:>8}{columns}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=5, help="of each size (%(default)s)")
    parser.add_argument("--searches", type=int, default=24, help="with each surrogate (%(default)s)")
    arguments = parser.parse_args()
    ranks(arguments.histories)
    print()
    final_errors(arguments.searches)


if __name__ == "__main__":
    main()
