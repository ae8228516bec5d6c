"""How well the search's vectors stand for the edit distance: rank correlations on small histories.

Histories of random descendants with random errors are given to the search's surrogate and to the exact method: the
edit distance by alignment and matching (`edit_distance.py`), and a Gaussian process whose covariance is made valid by
clipping negative eigenvalues. Both then rank the same children of these networks by their confidence bounds:

    python benchmarks/approximation.py [--histories 5]
"""

from __future__ import annotations

import argparse

import edit_distance
import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from aiperf_orch.config import SearchSettings
from aiperf_orch.network import morphisms, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.search.gaussian_process import NOISE
from aiperf_orch.search.surrogate import Surrogate

Floats = npt.NDArray[np.float64]
BETA = SearchSettings().beta
CHILDREN = 60


def exact_bounds(graphs: list[Graph], errors: Floats, children: list[Graph]) -> tuple[Floats, Floats]:
    """Bounds of the children by the exact method, and their distances from the graphs."""
    networks = edit_distance.Networks([edit_distance.features(graph) for graph in graphs])
    within = np.array([networks.distances(edit_distance.features(graph)) for graph in graphs])
    to = np.array([networks.distances(edit_distance.features(child)) for child in children])
    length = max(float(np.median(within[np.triu_indices(len(graphs), 1)])), 1.0)
    eigenvalues, eigenvectors = np.linalg.eigh(np.exp(-within / length))
    kept = eigenvalues > 1e-9
    basis = eigenvectors[:, kept] / np.sqrt(eigenvalues[kept] + NOISE)
    scale = errors.std()
    projected = np.exp(-to / length) @ basis
    mean = errors.mean() + scale * projected @ (basis.T @ ((errors - errors.mean()) / scale))
    return mean - BETA * scale * np.sqrt(np.maximum(1 - (projected**2).sum(1), 0)), to


def our_bounds(graphs: list[Graph], errors: Floats, children: list[Graph]) -> tuple[Floats, Floats]:
    """The same by the search's surrogate."""
    surrogate = Surrogate(BETA)
    surrogate.fit(dict(enumerate(errors.tolist())), graphs.__getitem__)
    places = [surrogate.locate(child) for child in children]
    return np.array([surrogate.bound(place) for place in places]), np.array([place.distances for place in places])


def edited(graph: Graph, number: int, generator: np.random.Generator) -> Graph:
    for _ in range(number):
        edit = morphisms.random_edit(graph, int(generator.choice([3, 5, 7])), generator)
        assert edit is not None
        graph = morphisms.apply(graph, edit)
    return graph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=5, help="of each size (%(default)s)")
    arguments = parser.parse_args()
    print("Spearman's rank correlation with the exact method, median of histories (least)")
    print(f"{'seed network':<16}{'history':>8}{'distances':>18}{'bounds':>18}")
    for name in ("small_residual", "resnet50"):
        for size in (10, 30):
            found = []
            for seed in range(arguments.histories):
                generator = np.random.default_rng(seed)
                graphs = [seeds.SEEDS[name]()]
                while len(graphs) < size:
                    parent = graphs[generator.integers(len(graphs))]
                    graphs.append(edited(parent, int(generator.integers(1, 4)), generator))
                children = [edited(graphs[generator.integers(size)], 1, generator) for _ in range(CHILDREN)]
                errors = generator.random(size)
                (exact, far), (ours, near) = (bounds(graphs, errors, children) for bounds in (exact_bounds, our_bounds))
                found.append([spearmanr(far.ravel(), near.ravel()).statistic, spearmanr(exact, ours).statistic])
            (distances, bound), least = np.median(found, axis=0), np.min(found, axis=0)
            print(f"{name:<16}{size:>8}{distances:>10.2f} ({least[0]:.2f}){bound:>10.2f} ({least[1]:.2f})", flush=True)


if __name__ == "__main__":
    main()
