"""What placing trials on agents needs to know of the settings, the same for every kind of scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from aiperf_orch.settings.allocations import AllocationSettings
from aiperf_orch.settings.schedulers import (
    AgentsSettings,
    ClusterSettings,
    LocalSettings,
    SchedulerSettings,
)


@dataclass(frozen=True, slots=True)
class PlacementSettings:
    """How trials are placed on agents.

    Attributes:
        nodes: Number of nodes of a trial, each with an agent; a trial of several nodes takes whole nodes.
        cores: Cores of a trial on each of its nodes; None where the settings do not say.
        gpus: Accelerators of a trial on each of its nodes; None where trials share those of the node, or use none.
        workers: Training processes of a trial on each of its nodes; None for one for each accelerator.
        slots: Number of slots of an agent; None for as many as fit its node.
        share_cores: Whether slots share cores where a node has too few for all of them.
        lookahead: Number of trials that wait on each agent beyond those that run there; None for a quarter of its
            slots, at least one.
        interface: Network interface for the rendezvous of a trial's nodes; None for that of their host names.
        ports: First and last port of the rendezvous.
        warn_before: Seconds before the end of an allocation at which its trials are warned.
        stop_grace: Seconds that a trial has to end after SIGTERM.
        wait_for_controller: Seconds without a sign of the controller after which an idle agent ends.
        lost_after: Seconds without a sign of life after which an agent is lost.
    """

    nodes: int
    cores: int | None
    gpus: int | None
    workers: int | None
    slots: int | None
    share_cores: bool
    lookahead: int | None
    interface: str | None
    ports: tuple[int, int]
    warn_before: float
    stop_grace: float
    wait_for_controller: float
    lost_after: float

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two signs of life."""
        return min(15.0, self.lost_after / 4)

    @property
    def controller_interval(self) -> float:
        """Seconds between two signs of life of the controller."""
        return min(30.0, self.wait_for_controller / 4)


def placement_settings(scheduler: SchedulerSettings, concurrency: int) -> PlacementSettings | None:
    """How trials are placed on agents; None where each trial is a job of its own.

    Args:
        scheduler: The section `scheduler` of the settings.
        concurrency: Number of trials at once; the number of slots of the local scheduler's agent.
    """
    match scheduler:
        case LocalSettings() if not scheduler.job_per_trial:
            return PlacementSettings(
                nodes=1,
                cores=scheduler.cores_per_trial,
                gpus=scheduler.gpus_per_trial,
                workers=scheduler.workers_per_node,
                slots=concurrency,
                share_cores=True,
                lookahead=None,
                interface=None,
                ports=(29400, 29499),
                warn_before=0.0,
                stop_grace=scheduler.stop_grace,
                wait_for_controller=scheduler.wait_for_controller,
                lost_after=max(scheduler.lost_after, 60.0),
            )
        case AgentsSettings():
            return _on_nodes(
                scheduler, scheduler, cores=scheduler.cores_per_trial, gpus=scheduler.gpus_per_trial, slots=None
            )
        case ClusterSettings() if scheduler.allocations is not None:
            return _on_nodes(
                scheduler,
                scheduler.allocations,
                cores=scheduler.trial_cores,
                gpus=scheduler.trial_gpus,
                slots=scheduler.slots_per_node,
            )
        case _:
            return None


def _on_nodes(
    scheduler: AgentsSettings | ClusterSettings,
    agents: AgentsSettings | AllocationSettings,
    *,
    cores: int | None,
    gpus: int | None,
    slots: int | None,
) -> PlacementSettings:
    """Placement on the nodes of a cluster, with the settings of its agents."""
    return PlacementSettings(
        nodes=scheduler.nodes,
        cores=cores,
        gpus=gpus,
        workers=scheduler.workers_per_node or gpus,
        slots=slots,
        share_cores=False,
        lookahead=agents.lookahead,
        interface=scheduler.interface,
        ports=(scheduler.ports[0], scheduler.ports[1]),
        warn_before=scheduler.warn_before,
        stop_grace=scheduler.stop_grace,
        wait_for_controller=agents.wait_for_controller,
        lost_after=agents.lost_after,
    )
