"""Networks for the tests of the search."""

from collections.abc import Callable

import numpy as np
import pytest

from aiperf_orch.network import morphisms, seeds
from aiperf_orch.network.graph import Graph

Descendant = Callable[[int, int], Graph]


@pytest.fixture(scope="session")
def descendant() -> Descendant:
    """The small seed network after a number of random edits; arguments are the seed and that number."""

    def make(seed: int, edits: int) -> Graph:
        generator = np.random.default_rng(seed)
        graph = seeds.small_residual()
        for _ in range(edits):
            edit = morphisms.random_edit(graph, int(generator.choice([3, 5, 7])), generator)
            assert edit is not None
            graph = morphisms.apply(graph, edit)
        return graph

    return make
