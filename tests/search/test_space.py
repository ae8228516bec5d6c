"""Another space than that of morphisms: the whole search follows its edits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, MorphismLimits
from aiperf_orch.network.seeds import small_residual
from aiperf_orch.search import Search
from aiperf_orch.search.surrogate import Surrogate
from aiperf_orch.settings.models import SearchSettings

pytestmark = pytest.mark.unit

WIDTHS = (2, 3, 4, 6)
SEED_NETWORK = small_residual(width=2)


class Widths:
    """Networks of one structure; `to` of an edit is the width, which may also fall."""

    def __init__(self) -> None:
        self.applied: list[Edit] = []

    def random_edit(self, graph: Graph, kernel: int, generator: np.random.Generator) -> Edit:
        edits = self.all_edits(graph, ())
        return edits[generator.integers(len(edits))]

    def all_edits(self, graph: Graph, kernel_sizes: Sequence[int]) -> list[Edit]:
        return [Edit("wider", 0, to=width) for width in WIDTHS]

    def apply(self, graph: Graph, edit: Edit) -> Graph:
        self.applied.append(edit)
        return small_residual(width=edit.to)


def test_the_search_proposes_the_networks_of_the_space_until_all_were_tried():
    """The last one is found exhaustively or by annealing; its parents are made again from the edits."""
    space = Widths()
    search = Search(SEED_NETWORK, SearchSettings(), MorphismLimits(), seed=0, concurrency=1, keep=8, space=space)
    found = []
    for trial in range(len(WIDTHS)):
        search._history._graphs.clear()
        made = search.propose(trial)
        found.append(made.graph)
        train = counts.count(made.graph).train
        search.started(trial, made.parent, made.edits, made.hyperparameters, made.graph.hash, train)
        search.ended(trial, 1 / train, None)
    assert {graph.hash for graph in found} == {small_residual(width=width).hash for width in WIDTHS}
    assert {edit.kind for edit in space.applied} == {"wider"}


def test_a_child_that_names_no_touched_layers_is_embedded_from_all_of_them():
    surrogate = Surrogate(0.5)
    surrogate.fit({0: 0.1, 1: 0.2}, lambda trial: small_residual(width=WIDTHS[trial]))
    parent, child = SEED_NETWORK, small_residual(width=6)
    updated, embedded = surrogate.update(surrogate.embed(parent), parent, child), surrogate.embed(child)
    assert (updated.vector == embedded.vector).all()
    assert (updated.distances == embedded.distances).all()
    assert (updated.distances != surrogate.embed(parent).distances).any()
