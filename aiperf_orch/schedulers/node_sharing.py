"""How many trials share a node, by the cluster's inventory: the basis of a campaign's cost estimate."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeSharing:
    """Sharing of nodes by trials.

    Attributes:
        nodes: number of nodes that fit a trial; None where it is not known.
        trials_per_node: minimum number of trials that share a node.
    """

    nodes: int | None
    trials_per_node: int

    def nodes_for(self, trials: int, nodes_each: int) -> int:
        """Return the maximum number of nodes that `trials` trials of `nodes_each` nodes occupy."""
        needed = math.ceil(trials / max(self.trials_per_node, 1)) * nodes_each
        return needed if self.nodes is None else min(needed, self.nodes)
