"""Comparison of the search's embedding with the edit distance: distances, ranks, and the final error of searches.

The exact method is the edit distance by alignment and matching (`edit_distance.py`), and a Gaussian process whose
covariance is made valid by clipping negative eigenvalues.

Ranks: histories of random descendants with random errors are given to the search's surrogate and to the exact method.
Both then rank the same children of these networks by their confidence bounds.

Final error: searches of 60 trials, one at a time, that differ only in the surrogate: the embedding, the exact method,
and random bounds, with which random children of the best trials are tried. The error of a network is synthetic,
computed from its parameters, layers and merges; its optimum has 8 times the parameters, 40 layers and 4 merges more
than the seed network. Equal seeds are compared, none of which was used to select beta. Results are in
docs/research/search.md:

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
FIRST_SEED = 100  # of searches; beta was selected with smaller seeds
EMPTY = np.zeros(0, dtype=np.int32)


class ExactSurrogate:
    """The exact method with the interface of the search's surrogate; its distances are in layers."""

    def __init__(self, beta: float) -> None:
        self._beta = beta
        self._known = edit_distance.KnownNetworks()

    def fit(self, errors: Mapping[int, float], graph_of: Callable[[int], Graph]) -> None:
        """Fit to a set of trials."""
        self._known.update(list(errors), lambda trial: edit_distance.features(graph_of(trial)))
        values, within = np.array(list(errors.values())), self._known.matrix
        between = within[np.triu_indices(len(errors), 1)]
        self._length = max(float(np.median(between)), 1.0) if between.size else 1.0
        eigenvalues, eigenvectors = np.linalg.eigh(np.exp(-within / self._length))
        kept = eigenvalues > 1e-9
        self._basis = eigenvectors[:, kept] / np.sqrt(eigenvalues[kept] + NOISE)
        self._mean, self.scale = float(values.mean()), max(float(values.std()), SMALLEST_SCALE)
        self._weights = self._basis.T @ ((values - self._mean) / self.scale)

    def embed(self, graph: Graph) -> EmbeddedNetwork:
        """Distances of a network."""
        return EmbeddedNetwork(EMPTY, self._known.distances(edit_distance.features(graph)))

    def update(self, _embedded: EmbeddedNetwork, _parent: Graph, child: Graph) -> EmbeddedNetwork:
        """Distances of a child."""
        return self.embed(child)

    def bound(self, embedded: EmbeddedNetwork) -> float:
        """Lower confidence bound of a network's error."""
        projected = np.exp(-embedded.distances / self._length) @ self._basis
        deviation = math.sqrt(max(1 - float(projected @ projected), 0.0))
        return self._mean + self.scale * (float(projected @ self._weights) - self._beta * deviation)


class RandomSurrogate(ExactSurrogate):
    """Surrogate with random bounds."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self.scale = 1.0

    def fit(self, errors: Mapping[int, float], graph_of: Callable[[int], Graph]) -> None:
        """Ignore the errors."""

    def embed(self, _graph: Graph) -> EmbeddedNetwork:
        """Return an empty embedding."""
        return EmbeddedNetwork(EMPTY, EMPTY)

    def bound(self, _embedded: EmbeddedNetwork) -> float:
        """Return a random number."""
        return float(self._generator.random())


def bounds_and_distances(
    surrogate: Surrogate | ExactSurrogate, graphs: list[Graph], errors: Floats, children: list[Graph]
) -> Floats:
    """Bounds of the children, and in the further columns their distances to the graphs, in layers."""
    surrogate.fit(dict(enumerate(errors.tolist())), graphs.__getitem__)
    embedded = [surrogate.embed(child) for child in children]
    bounds = [surrogate.bound(each) for each in embedded]
    unit = UNIT if isinstance(surrogate, Surrogate) else 1
    far = [each.distances / unit for each in embedded]
    return np.column_stack([bounds, np.array(far)])


def edited(graph: Graph, number: int, generator: np.random.Generator) -> Graph:
    for _ in range(number):
        edit = morphisms.random_edit(graph, int(generator.choice([3, 5, 7])), generator)
        assert edit is not None
        graph = morphisms.apply(graph, edit)
    return graph


def ranks(histories: int) -> None:
    print("Spearman's rank correlation with the exact method, median of histories (smallest); ratio of distances")
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
                    bounds_and_distances(each, graphs, errors, children)
                    for each in (ExactSurrogate(BETA), Surrogate(BETA))
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


def synthetic_error(first: Graph, graph: Graph) -> float:
    """Synthetic error: grows with the distance of a network from the optimum."""
    merges = sum(len(network.by_kind[kind]) * sign for network, sign in ((graph, 1), (first, -1)) for kind in MERGES)
    off = (
        math.log2(graph.parameters / first.parameters) - 3,
        (graph.depth - first.depth - 40) / 20,
        (merges - 4) / 4,
    )
    return min(0.02 + 0.03 * sum(each**2 for each in off), 1.0)


def final_error(first: Graph, seed: int, surrogate: Surrogate | ExactSurrogate) -> float:
    """Best error of a search."""
    search = Search(first, SearchSettings(), MorphismLimits(), seed=seed, concurrency=1, keep=64)
    search._surrogate = surrogate  # type: ignore[assignment]
    best = 1.0
    for trial in range(TRIALS):
        made = search.propose(trial)
        train = counts.count(made.graph).train
        search.started(trial, made.parent, made.edits, made.hyperparameters, made.graph.hash, train)
        error = synthetic_error(first, made.graph)
        search.ended(trial, error, None)
        best = min(best, error)
    return best


def interval(values: Floats) -> str:
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return f"{100 * values.mean():6.2f} ±{100 * half:5.2f}"


def final_errors(searches: int) -> None:
    print(f"best synthetic error in % after {TRIALS} trials, mean and 95 % confidence interval of {searches} searches")
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
    parser.add_argument("--histories", type=int, default=5, help="histories per size (default: %(default)s)")
    parser.add_argument("--searches", type=int, default=24, help="searches per surrogate (default: %(default)s)")
    arguments = parser.parse_args()
    ranks(arguments.histories)
    print()
    final_errors(arguments.searches)


if __name__ == "__main__":
    main()
