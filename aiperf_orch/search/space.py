"""Space of networks that a search explores: the edits of a network, and the networks that they result in.

Campaigns search by network morphism. The benchmarks search public tables of networks, whose edits are other ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from aiperf_orch.network import morphisms
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit


class Space(Protocol):
    """Edits of networks. Only the space interprets an edit; `Edit.kernel` is 0 for those without a kernel size."""

    def random_edit(self, graph: Graph, kernel: int, generator: np.random.Generator) -> Edit | None:
        """Draw an edit that fits the network; None if no edit fits."""

    def all_edits(self, graph: Graph, kernel_sizes: Sequence[int]) -> list[Edit]:
        """List all edits of the network."""

    def apply(self, graph: Graph, edit: Edit) -> Graph:
        """Make the network after an edit.

        Raises:
            NetworkError: If the edit does not fit the network.
        """


class MorphismSpace:
    """The space of campaigns: edits are morphisms."""

    def random_edit(self, graph: Graph, kernel: int, generator: np.random.Generator) -> Edit | None:
        """Draw a morphism; `kernel` is the kernel size of the convolution that `deeper` inserts."""
        return morphisms.random_edit(graph, kernel, generator)

    def all_edits(self, graph: Graph, kernel_sizes: Sequence[int]) -> list[Edit]:
        """List all morphisms; only `deeper` has a kernel size."""
        return [
            edit
            for kind in morphisms.KINDS
            for kernel in (kernel_sizes if kind == "deeper" else kernel_sizes[:1])
            for edit in morphisms.candidates(graph, kind, kernel)
        ]

    def apply(self, graph: Graph, edit: Edit) -> Graph:
        """Make the child of a morphism.

        Raises:
            NetworkError: If the morphism does not fit the network.
        """
        return morphisms.apply(graph, edit)


MORPHISMS: Final = MorphismSpace()
