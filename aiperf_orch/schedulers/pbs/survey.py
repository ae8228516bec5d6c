"""Query of a PBS server for its inventory; `inventory` has the commands and parsers."""

from __future__ import annotations

from aiperf_orch.schedulers.command import checked_output
from aiperf_orch.schedulers.node_sharing import NodeSharing
from aiperf_orch.schedulers.pbs import inventory, qstat
from aiperf_orch.settings.schedulers import PbsSettings
from aiperf_orch.util.errors import SchedulerUnreachableError


def survey(*, timeout: float) -> inventory.Complex:
    """Query the inventory. A failure of pbsnodes is recorded in it, since some sites let no user run that.

    Args:
        timeout: time limit of each command in seconds.

    Raises:
        SchedulerUnreachableError: if the server does not answer.
    """
    server = inventory.parse_server(checked_output(qstat.server_command(), timeout=timeout))
    queues = inventory.parse_queues(checked_output(inventory.queues_command(), timeout=timeout))
    try:
        nodes = tuple(inventory.parse_nodes(checked_output(inventory.nodes_command(), timeout=timeout)))
    except SchedulerUnreachableError as error:
        return inventory.Complex(server, queues, (), without_nodes=str(error))
    return inventory.Complex(server, queues, nodes)


def node_sharing(settings: PbsSettings) -> NodeSharing:
    """Number of nodes in the trials' queue that fit a trial, and number of trials that share one.

    Raises:
        SchedulerUnreachableError: if the server does not answer.
    """
    found = survey(timeout=settings.command_timeout)
    if settings.resources or found.without_nodes is not None:
        return NodeSharing(None, 1)
    nodes = found.nodes_of(found.execution_queues(settings.queue or found.default_queue or ""))
    fitting = [node for node in nodes if not inventory.shortfalls(settings, node)]
    return NodeSharing(
        len(fitting) or None, min((inventory.trials_per_node(settings, node) for node in fitting), default=1)
    )
