"""Estimate of the cost of a campaign on a cluster, and the user's agreement to it before anything is submitted."""

from __future__ import annotations

import logging
import sys
from typing import Final

import click

from aiperf_orch.schedulers.node_sharing import NodeSharing
from aiperf_orch.settings.allocations import AllocationSettings
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings, PbsSettings, SlurmSettings
from aiperf_orch.util.errors import SchedulerUnreachableError, UsageError
from aiperf_orch.util.units import count, format_duration

_log: Final = logging.getLogger(__name__)


def confirm_cost(settings: SiteSettings, seconds: float, *, yes: bool) -> None:
    """Print how many nodes a campaign takes for how long, and ask the user to agree; on one machine nothing is asked.

    Args:
        settings: The campaign's settings.
        seconds: The time until its deadline.
        yes: The user has agreed beforehand.

    Raises:
        UsageError: when standard input is no terminal, or the user does not agree.
    """
    if not isinstance(settings.scheduler, ClusterSettings):
        return
    scheduler, trials = settings.scheduler, settings.campaign.concurrency
    if scheduler.allocations is not None:
        words = describe_allocations(scheduler, scheduler.allocations, trials, seconds)
    else:
        words = describe(scheduler, trials, seconds, _node_sharing(scheduler))
    agree(words, yes=yes)


def agree(words: str, *, yes: bool) -> None:
    """Print what is about to be submitted to a cluster, and ask the user to agree.

    Args:
        words: What it takes, as a sentence.
        yes: The user has agreed beforehand.

    Raises:
        UsageError: when standard input is no terminal, or the user does not agree.
    """
    _log.info("%s", words)
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to confirm this: give --yes")
    if not click.confirm("submit to the cluster?", default=False, err=True):
        raise UsageError("not confirmed: nothing was submitted")


def describe(scheduler: ClusterSettings, trials: int, seconds: float, sharing: NodeSharing) -> str:
    """The most that a campaign takes of a cluster, as a sentence.

    Args:
        scheduler: The site's settings of the scheduler.
        trials: The number of trials at once; pending jobs beyond them take no nodes.
        seconds: The time until the campaign's deadline.
        sharing: How trials share nodes.
    """
    nodes = sharing.nodes_for(trials, scheduler.nodes)
    shared = f", {sharing.trials_per_node:,} to a node" if sharing.trials_per_node > 1 else ""
    words = [f"{trials:,} trials of {_nodes(scheduler.nodes)} at once{shared}"]
    if nodes < NodeSharing(None, sharing.trials_per_node).nodes_for(trials, scheduler.nodes):
        words.append("more than there is room for")
    if scheduler.lookahead:
        words.append(f"{scheduler.lookahead:,} more wait in the queue")
    return (
        f"up to {_nodes(nodes)} ({'; '.join(words)}) for {format_duration(seconds)}: "
        f"at most {nodes * seconds / 3600:,.1f} node-hours; one trial runs first"
    )


def describe_allocations(
    scheduler: ClusterSettings, allocations: AllocationSettings, trials: int, seconds: float
) -> str:
    """The most that a campaign in few allocations takes of a cluster, as a sentence.

    Args:
        scheduler: The site's settings of the scheduler.
        allocations: Its settings of allocations.
        trials: The number of trials at once.
        seconds: The time until the campaign's deadline.
    """
    nodes, per_node = allocations.nodes * allocations.at_once, scheduler.slots_per_node
    room = allocations.at_once * (allocations.nodes // scheduler.nodes) * per_node
    held = nodes * seconds
    if allocations.total is not None:
        held = min(held, allocations.total * allocations.nodes * allocations.time_limit)
    shared = f", {per_node:,} to a node" if per_node > 1 else ""
    words = [
        f"{count(allocations.at_once, 'allocation')} of {_nodes(allocations.nodes)} at once",
        f"{trials:,} trials of {_nodes(scheduler.nodes)} at once{shared}",
    ]
    if room != trials:
        words.append(f"room for {room:,}" + (": a higher concurrency would use all of it" if room > trials else ""))
    return (
        f"up to {_nodes(nodes)} ({'; '.join(words)}) for {format_duration(seconds)}: "
        f"at most {held / 3600:,.1f} node-hours"
    )


def _node_sharing(scheduler: ClusterSettings) -> NodeSharing:
    """How trials share nodes; one trial per node if the scheduler does not answer."""
    try:
        if isinstance(scheduler, SlurmSettings):
            from aiperf_orch.schedulers.slurm.survey import node_sharing as slurm_node_sharing

            return slurm_node_sharing(scheduler)
        if isinstance(scheduler, PbsSettings):
            from aiperf_orch.schedulers.pbs.survey import node_sharing as pbs_node_sharing

            return pbs_node_sharing(scheduler)
    except SchedulerUnreachableError:
        pass  # reported when the first job is submitted
    return NodeSharing(None, 1)


def _nodes(number: int) -> str:
    return count(number, "node")
