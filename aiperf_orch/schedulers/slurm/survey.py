"""Queries of a Slurm cluster's inventory and accounting limits, by the commands and parsers of those modules."""

from __future__ import annotations

from aiperf_orch.schedulers.command import checked_output
from aiperf_orch.schedulers.node_sharing import NodeSharing
from aiperf_orch.schedulers.slurm import accounting_limits, inventory, squeue
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util import users
from aiperf_orch.util.errors import SchedulerUnreachableError


def survey(name: str | None, *, timeout: float) -> inventory.Cluster:
    """Query what a cluster has; accounting is optional.

    Args:
        name: name of the cluster; None is the login node's own.
        timeout: time-out of each command, in seconds.

    Raises:
        SchedulerUnreachableError: when slurmctld does not answer.
    """
    config = squeue.parse_config(checked_output(squeue.config_command(name), timeout=timeout))
    partitions = tuple(inventory.parse_partitions(checked_output(inventory.partitions_command(name), timeout=timeout)))
    nodes = tuple(inventory.parse_nodes(checked_output(inventory.nodes_command(name), timeout=timeout)))
    if not squeue.is_accounted(config):
        return inventory.Cluster(config, partitions, nodes, without_accounting="accounting is disabled on this cluster")
    user, cluster = users.current_user(), name or config.get("ClusterName", "")
    try:
        associations = checked_output(accounting_limits.associations_command(user, cluster), timeout=timeout)
        qos = checked_output(accounting_limits.qos_command(), timeout=timeout)
    except SchedulerUnreachableError as error:
        return inventory.Cluster(config, partitions, nodes, without_accounting=f"accounting does not answer: {error}")
    return inventory.Cluster(
        config,
        partitions,
        nodes,
        tuple(accounting_limits.parse_associations(associations)),
        tuple(accounting_limits.parse_qos(qos)),
        accounts=accounting_limits.parse_accounts(_output(accounting_limits.accounts_command(cluster), timeout)),
        default_account=accounting_limits.parse_default_account(
            _output(accounting_limits.default_account_command(user, cluster), timeout)
        ),
    )


def node_sharing(settings: SlurmSettings) -> NodeSharing:
    """Query how trials share the nodes of their partitions.

    Raises:
        SchedulerUnreachableError: when slurmctld does not answer.
    """
    timeout = settings.command_timeout
    partitions = list(
        inventory.parse_partitions(checked_output(inventory.partitions_command(settings.cluster), timeout=timeout))
    )
    chosen = inventory.chosen_partitions(settings, partitions)
    groups = inventory.parse_nodes(checked_output(inventory.nodes_command(settings.cluster), timeout=timeout))
    fitting = [group for group in groups if group.partition in chosen and not inventory.shortfalls(settings, group)]
    return NodeSharing(
        sum(group.count for group in fitting) or None,
        min((inventory.trials_per_node(settings, group) for group in fitting), default=1),
    )


def _output(command: list[str], timeout: float) -> str:
    """Return the output of a command; empty where it fails, such as for a user without permission."""
    try:
        return checked_output(command, timeout=timeout)
    except SchedulerUnreachableError:
        return ""
