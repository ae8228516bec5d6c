"""Says what a campaign on a cluster will take, and asks before anything is submitted."""

from __future__ import annotations

import sys

import click

from aiperf_orch.schedulers.node_sharing import NodeSharing
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings, PbsSettings, SlurmSettings
from aiperf_orch.util.errors import SchedulerUnreachableError, UsageError
from aiperf_orch.util.units import format_duration


def confirm(settings: SiteSettings, seconds: float, *, yes: bool) -> None:
    """Say how many nodes a campaign takes for how long, and go on only when the person agrees; at once on one machine.

    Args:
        settings: of the campaign.
        seconds: that it may still take.
        yes: the person agreed beforehand.

    Raises:
        UsageError: when nobody can be asked, or the person does not agree.
    """
    if not isinstance(settings.scheduler, ClusterSettings):
        return
    cost = describe(settings.scheduler, settings.campaign.concurrency, seconds, _room(settings.scheduler))
    print(cost, file=sys.stderr, flush=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm this: give --yes")
    if not click.confirm("submit to the cluster?", default=False, err=True):
        raise UsageError("not confirmed: nothing was submitted")


def describe(scheduler: ClusterSettings, trials: int, seconds: float, room: NodeSharing) -> str:
    """What a campaign takes of a cluster at most, in words.

    Args:
        scheduler: the site's settings.
        trials: that train at once; those that wait in the queue beyond them take nothing.
        seconds: that the campaign may still take.
        room: how trials share nodes.
    """
    nodes = room.nodes_for(trials, scheduler.nodes)
    shared = f", {room.trials_per_node:,} to a node" if room.trials_per_node > 1 else ""
    words = [f"{trials:,} trials of {_nodes(scheduler.nodes)} at once{shared}"]
    if nodes < NodeSharing(None, room.trials_per_node).nodes_for(trials, scheduler.nodes):
        words.append("more than have room")
    if scheduler.lookahead:
        words.append(f"{scheduler.lookahead:,} more wait in the queue")
    return (
        f"up to {_nodes(nodes)} ({'; '.join(words)}) for {format_duration(seconds)}: "
        f"at most {nodes * seconds / 3600:,.1f} node-hours; one trial runs first"
    )


def _room(scheduler: ClusterSettings) -> NodeSharing:
    """How trials share nodes; a node for each where that cannot be asked."""
    try:
        if isinstance(scheduler, SlurmSettings):
            from aiperf_orch.schedulers.slurm.survey import node_sharing as slurm_node_sharing

            return slurm_node_sharing(scheduler)
        if isinstance(scheduler, PbsSettings):
            from aiperf_orch.schedulers.pbs.survey import room as room_of_pbs

            return room_of_pbs(scheduler)
    except SchedulerUnreachableError:
        pass  # it is said when the first job is submitted
    return NodeSharing(None, 1)


def _nodes(number: int) -> str:
    return f"{number:,} node{'s' if number != 1 else ''}"
