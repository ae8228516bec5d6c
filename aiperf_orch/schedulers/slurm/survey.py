"""Asks a Slurm cluster what it has. What is asked and how the answers are read is `site`'s."""

from __future__ import annotations

from aiperf_orch import users
from aiperf_orch.config_schedulers import SlurmSettings
from aiperf_orch.errors import SchedulerUnreachable
from aiperf_orch.schedulers.command import ask
from aiperf_orch.schedulers.room import Room
from aiperf_orch.schedulers.slurm import limits, queue, site


def survey(name: str | None, *, timeout: float) -> site.Cluster:
    """What a cluster has; accounting may be silent.

    Args:
        name: the cluster's; None is the login node's own.
        timeout: seconds that each question may take.

    Raises:
        SchedulerUnreachable: when the controller does not answer.
    """
    config = queue.parse_config(ask(queue.config_command(name), timeout=timeout))
    partitions = tuple(site.parse_partitions(ask(site.partitions_command(name), timeout=timeout)))
    nodes = tuple(site.parse_nodes(ask(site.nodes_command(name), timeout=timeout)))
    if not queue.is_accounted(config):
        return site.Cluster(config, partitions, nodes, without_accounting="accounting is off here")
    user, cluster = users.own_name(), name or config.get("ClusterName", "")
    try:
        associations = ask(limits.associations_command(user, cluster), timeout=timeout)
        qos = ask(limits.qos_command(), timeout=timeout)
    except SchedulerUnreachable as error:
        return site.Cluster(config, partitions, nodes, without_accounting=f"accounting does not answer: {error}")
    return site.Cluster(
        config,
        partitions,
        nodes,
        tuple(limits.parse_associations(associations)),
        tuple(limits.parse_qos(qos)),
        accounts=limits.parse_accounts(_answer(limits.accounts_command(cluster), timeout)),
        default_account=limits.parse_default_account(_answer(limits.default_account_command(user, cluster), timeout)),
    )


def room(settings: SlurmSettings) -> Room:
    """How trials share the nodes of the partitions that they go to.

    Raises:
        SchedulerUnreachable: when the controller does not answer.
    """
    timeout = settings.command_timeout
    partitions = list(site.parse_partitions(ask(site.partitions_command(settings.cluster), timeout=timeout)))
    chosen = site.chosen_partitions(settings, partitions)
    groups = site.parse_nodes(ask(site.nodes_command(settings.cluster), timeout=timeout))
    fitting = [group for group in groups if group.partition in chosen and not site.lacks(settings, group)]
    return Room(
        sum(group.count for group in fitting) or None,
        min((site.trials_a_node(settings, group) for group in fitting), default=1),
    )


def _answer(command: list[str], timeout: float) -> str:
    """What a command prints; nothing where it fails, as where a user may not ask that."""
    try:
        return ask(command, timeout=timeout)
    except SchedulerUnreachable:
        return ""
