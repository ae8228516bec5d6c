"""Size of a planned campaign: concurrent trials on a number of nodes, and accelerators of one trial."""

from __future__ import annotations

from dataclasses import dataclass

from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import AgentsSettings, ClusterSettings, LocalSettings
from aiperf_orch.util.errors import UsageError


@dataclass(frozen=True, slots=True)
class TrialSize:
    """What one trial takes.

    Attributes:
        nodes: number of its nodes.
        per_node: number of trials that a node holds at once.
        workers: number of its training processes on all of its nodes.
    """

    nodes: int
    per_node: int
    workers: int

    def slots(self, nodes: int) -> int:
        """Number of concurrent trials on this number of nodes."""
        return nodes // self.nodes * self.per_node


def trial_size(settings: SiteSettings) -> TrialSize:
    """The size of a trial by the settings. Without allocations a trial is alone on its nodes."""
    match settings.scheduler:
        case LocalSettings() as local:
            workers = local.workers_per_node or local.gpus_per_trial or 1
            return TrialSize(1, settings.campaign.concurrency, workers)
        case ClusterSettings() as cluster:
            workers = cluster.workers_per_node or cluster.trial_gpus or 1
            return TrialSize(cluster.nodes, cluster.slots_per_node, workers * cluster.nodes)
        case AgentsSettings() as agents:
            workers = agents.workers_per_node or agents.gpus_per_trial or 1
            return TrialSize(agents.nodes, 1, workers * agents.nodes)
        case _:
            raise AssertionError(settings.scheduler.kind)


def slots_on(settings: SiteSettings, nodes: int, concurrency: int | None) -> int:
    """Number of concurrent trials of a campaign.

    Args:
        settings: Of the site.
        nodes: Number of nodes.
        concurrency: As it was given; None for as many as the nodes hold.

    Raises:
        UsageError: The nodes do not hold one trial, or the scheduler has fewer.
    """
    size = trial_size(settings)
    if isinstance(settings.scheduler, LocalSettings) and nodes > 1:
        raise UsageError(f"--nodes: {nodes}, but scheduler.kind local has one, this machine: give --nodes 1")
    if nodes < size.nodes:
        raise UsageError(
            f"--nodes: {nodes}, but a trial takes {size.nodes} (scheduler.nodes): give at least --nodes {size.nodes}"
        )
    return concurrency or size.slots(nodes)
