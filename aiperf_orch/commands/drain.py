"""`drain`: keep trials of a campaign off nodes, or let them back, by its live controller or in its place."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.drained_nodes import is_same_node, must_leave, nodes_to_change
from aiperf_orch.campaign.requests import requester
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.controller_requests import Response, request_of_controller
from aiperf_orch.commands.foreground_controller import restrict_umask
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.records.requests import DrainRequest
from aiperf_orch.schedulers.registry import make_trial_scheduler
from aiperf_orch.settings.drainable import why_not_drainable
from aiperf_orch.util.errors import SchedulerUnreachableError, UsageError

_log: Final = logging.getLogger(__name__)


def drain_nodes(
    campaign_dir: Path, nodes: Sequence[str], *, end_running: bool, undo: bool, take_over: bool
) -> CommandOutput:
    """Keep further trials off nodes, or let them back.

    Args:
        campaign_dir: The campaign.
        nodes: Names of the nodes.
        end_running: Whether trials that run on the nodes end, too, and go on elsewhere.
        undo: Whether the nodes may get trials again.
        take_over: Do so in place of a controller on another host that has died.

    Returns:
        The exit status: 0 done, 4 left for a controller that has not answered yet, 130 interrupted.
    """
    directory = CampaignDirectory.open(campaign_dir)
    state, settings = read_state(directory), directory.settings
    reason = why_not_drainable(settings.scheduler)
    if reason is not None:
        raise UsageError(f"{directory.path}: {reason}")
    if state.phase is Phase.FINISHED:
        raise UsageError(f"{directory.path}: is finished: no trial of it can be moved")
    try:
        request = DrainRequest(**requester(), nodes=list(nodes), now=end_running, undo=undo)
    except ValidationError:
        raise UsageError(
            f"NODE: {' '.join(nodes)!r:.120}: not names of nodes; lists are written out: n1 n2 n3"
        ) from None
    if undo:
        _check_drained(state, nodes)
    else:
        _check_known(directory, state, nodes)
    if not nodes_to_change(state.drained, request):
        _log.info("%s: %s: is drained already", directory.path, ", ".join(nodes))
        return CommandOutput()
    restrict_umask(settings)
    response = request_of_controller(directory, request, take_over=take_over)
    if response.message is not None:
        _report(directory, response)
    return CommandOutput(exit_status=response.exit_status)


def _report(directory: CampaignDirectory, response: Response) -> None:
    _log.info("%s: %s", directory.path, response.message)
    state = read_state(directory)
    leaving = any(must_leave(state.drained, each, state.workforce.agents) for each in state.live.values())
    if leaving and response.by is None:
        _log.info(
            "%s: no controller runs; the trials end as soon as one does: %s",
            directory.path,
            command_line(["tick", str(directory.path)]),
        )


def _check_drained(state: CampaignState, nodes: Sequence[str]) -> None:
    """Refuse nodes that are not drained."""
    for node in nodes:
        if state.drained.find(node) is None:
            drained = ", ".join(state.drained.entries) or "none"
            raise UsageError(f"NODE: {node}: is not drained{_hint(node, state.drained.entries)} (drained: {drained})")


def _check_known(directory: CampaignDirectory, state: CampaignState, nodes: Sequence[str]) -> None:
    """Refuse nodes that the scheduler does not have, where it has an inventory."""
    seen = {agent.record.host for agent in state.workforce.agents.values()}
    seen |= {host for attempt in state.begins if attempt.began for host in attempt.began.hosts}
    unseen = [node for node in nodes if not any(is_same_node(node, host) for host in seen)]
    if not unseen:
        return
    try:
        inventory = make_trial_scheduler(directory).node_names()
    except SchedulerUnreachableError as error:
        _log.warning("%s: not compared with the nodes of the cluster: %s", ", ".join(unseen), error)
        return
    if inventory is None:
        _log.warning("%s: no trial of the campaign ran there so far: check the name", ", ".join(unseen))
        return
    for node in unseen:
        if not any(is_same_node(node, name) for name in inventory):
            raise UsageError(f"NODE: {node}: the cluster has no such node{_hint(node, {*inventory, *seen})}")


def _hint(node: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(node, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
