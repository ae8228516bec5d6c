"""How trials share the nodes of a cluster, as far as its inventory tells: what a campaign costs is counted by it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeSharing:
    """The `nodes` that fit a trial, None where that is not known, and how many trials share one, at least."""

    nodes: int | None
    trials_per_node: int

    def nodes_for(self, trials: int, nodes_each: int) -> int:
        """How many nodes `trials` trials of `nodes_each` nodes take at most."""
        needed = math.ceil(trials / max(self.trials_per_node, 1)) * nodes_each
        return needed if self.nodes is None else min(needed, self.nodes)
