"""Asks a Slurm cluster what it has. What is asked and how the answers are read is `site`'s."""

from __future__ import annotations

from aiperf_orch.schedulers.command import ask
from aiperf_orch.schedulers.node_sharing import NodeSharing
from aiperf_orch.schedulers.slurm import accounting_limits, inventory, squeue
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util import users
from aiperf_orch.util.errors import SchedulerUnreachableError


def survey(name: str | None, *, timeout: float) -> inventory.Cluster:
    """What a cluster has; accounting may be silent.

    Args:
        name: the cluster's; None is the login node's own.
        timeout: seconds that each question may take.

    Raises:
        SchedulerUnreachableError: when the controller does not answer.
    """
    config = squeue.parse_config(ask(squeue.config_command(name), timeout=timeout))
    partitions = tuple(inventory.parse_partitions(ask(inventory.partitions_command(name), timeout=timeout)))
    nodes = tuple(inventory.parse_nodes(ask(inventory.nodes_command(name), timeout=timeout)))
    if not squeue.is_accounted(config):
        return inventory.Cluster(config, partitions, nodes, without_accounting="accounting is off here")
    user, cluster = users.current_user(), name or config.get("ClusterName", "")
    try:
        associations = ask(accounting_limits.associations_command(user, cluster), timeout=timeout)
        qos = ask(accounting_limits.qos_command(), timeout=timeout)
    except SchedulerUnreachableError as error:
        return inventory.Cluster(config, partitions, nodes, without_accounting=f"accounting does not answer: {error}")
    return inventory.Cluster(
        config,
        partitions,
        nodes,
        tuple(accounting_limits.parse_associations(associations)),
        tuple(accounting_limits.parse_qos(qos)),
        accounts=accounting_limits.parse_accounts(_answer(accounting_limits.accounts_command(cluster), timeout)),
        default_account=accounting_limits.parse_default_account(
            _answer(accounting_limits.default_account_command(user, cluster), timeout)
        ),
    )


def room(settings: SlurmSettings) -> NodeSharing:
    """How trials share the nodes of the partitions that they go to.

    Raises:
        SchedulerUnreachableError: when the controller does not answer.
    """
    timeout = settings.command_timeout
    partitions = list(inventory.parse_partitions(ask(inventory.partitions_command(settings.cluster), timeout=timeout)))
    chosen = inventory.chosen_partitions(settings, partitions)
    groups = inventory.parse_nodes(ask(inventory.nodes_command(settings.cluster), timeout=timeout))
    fitting = [group for group in groups if group.partition in chosen and not inventory.shortfalls(settings, group)]
    return NodeSharing(
        sum(group.count for group in fitting) or None,
        min((inventory.trials_per_node(settings, group) for group in fitting), default=1),
    )


def _answer(command: list[str], timeout: float) -> str:
    """What a command prints; nothing where it fails, as where a user may not ask that."""
    try:
        return ask(command, timeout=timeout)
    except SchedulerUnreachableError:
        return ""
