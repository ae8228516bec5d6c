"""Asks a Slurm cluster what it has. What is asked and how the answers are read is `site`'s."""

from __future__ import annotations

from aiperf_orch import users
from aiperf_orch.errors import SchedulerUnreachable
from aiperf_orch.schedulers.command import ask
from aiperf_orch.schedulers.slurm import queue, site


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
    user = users.own_name()
    try:
        associations = ask(site.associations_command(user, name or config.get("ClusterName", "")), timeout=timeout)
        qos = ask(site.qos_command(), timeout=timeout)
    except SchedulerUnreachable as error:
        return site.Cluster(config, partitions, nodes, without_accounting=f"accounting does not answer: {error}")
    return site.Cluster(
        config, partitions, nodes, tuple(site.parse_associations(associations)), tuple(site.parse_qos(qos))
    )
