"""Nodes that an administrator took out of use: a fold over the journal, and which attempts leave them.

The controller cancels the attempts for which `must_leave` holds, with the reason PREEMPTED, and `verify` reports any
other cancellation with that reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.campaign.workforce import AgentState, agents_in
from aiperf_orch.records.journal import Drained
from aiperf_orch.records.requests import DrainRequest


@dataclass
class DrainedNodes:
    """Nodes that get no further trials.

    Attributes:
        entries: The journal entry that drained each node, by the node's name as the administrator wrote it.
        requests: Names of the requests that the journal has.
        history: All entries of the journal, in its order.
    """

    entries: dict[str, Drained] = field(default_factory=dict)
    requests: set[str] = field(default_factory=set)
    history: list[Drained] = field(default_factory=list)

    def apply(self, entry: Drained) -> None:
        """Apply an entry of the journal."""
        self.requests.add(entry.request)
        self.history.append(entry)
        for node in entry.nodes:
            known = self.find(node)
            if known is not None:
                del self.entries[known]
            if not entry.undo:
                self.entries[node] = entry

    def find(self, host: str) -> str | None:
        """The drained node that is this host; None where it is not drained."""
        return next((node for node in self.entries if is_same_node(node, host)), None)

    def among(self, hosts: Iterable[str]) -> list[str]:
        """The drained nodes among these hosts."""
        return [node for host in hosts if (node := self.find(host)) is not None] if self.entries else []


def nodes_to_change(drained: DrainedNodes, request: DrainRequest) -> list[str]:
    """The nodes of a request that are not yet as it demands, each once."""
    changed = []
    for node in dict.fromkeys(request.nodes):
        known = drained.find(node)
        as_demanded = (
            known is None if request.undo else known is not None and (drained.entries[known].now or not request.now)
        )
        if not as_demanded:
            changed.append(node)
    return changed


def is_same_node(one: str, other: str) -> bool:
    """Whether two host names are of one node: `n1` and `N1.cluster.example` are."""
    one, other = one.casefold(), other.casefold()
    if "." in one and "." in other:
        return one == other
    return one.partition(".")[0] == other.partition(".")[0]


def must_leave(drained: DrainedNodes, attempt: AttemptState, agents: Mapping[str, AgentState]) -> bool:
    """Whether an attempt ends because of drained nodes, and its trial goes on elsewhere.

    Attempts that have begun leave nodes that were drained with `now`. One that has not begun leaves the agents of a
    drained node; as a job of its own it leaves the queue, where it was submitted with other nodes excluded.

    Args:
        drained: The drained nodes.
        attempt: A live attempt.
        agents: Agents of the campaign, by name.
    """
    if attempt.job is None:
        return False
    if attempt.began is not None:
        return any(drained.entries[node].now for node in drained.among(attempt.began.hosts))
    placed = agents_in(attempt.job)
    if placed:
        return bool(drained.among(agents[name].record.host for name in placed if name in agents))
    return attempt.nodes_changed
