"""`drain`: keep trials of a campaign off nodes, or let them back, by its live controller or in its place."""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.drained_nodes import is_same_node, must_leave, nodes_to_change
from aiperf_orch.campaign.lock import Holder, read_holder
from aiperf_orch.campaign.requests import PendingRequest, leave_request, requester, take_answer
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.commands.command_output import CommandOutput, ExitStatus
from aiperf_orch.commands.foreground_controller import restrict_umask
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.controller.requests import carry_out
from aiperf_orch.records.requests import Answer, DrainRequest
from aiperf_orch.schedulers.registry import make_trial_scheduler
from aiperf_orch.settings.drainable import why_not_drainable
from aiperf_orch.util.errors import AiperfError, LockedError, SchedulerUnreachableError, UsageError
from aiperf_orch.util.units import format_duration

_log: Final = logging.getLogger(__name__)
_LEAST_WAIT: Final = 60.0
"""Seconds that an answer of the controller is waited for, at least: one step of it may take that long."""


def drain_nodes(campaign_dir: Path, nodes: Sequence[str], *, end_running: bool, undo: bool) -> CommandOutput:
    """Keep further trials off nodes, or let them back.

    Args:
        campaign_dir: The campaign.
        nodes: Names of the nodes.
        end_running: Whether trials that run on the nodes end, too, and go on elsewhere.
        undo: Whether the nodes may get trials again.

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
    holder = read_holder(directory.lock)
    if holder is None or holder.alive() is False:
        answer = _carry_out_here(directory, request)
        if answer is not None:
            return _report(directory, answer, by_controller=False)
    leave_request(directory, request)
    return _wait(directory, request, read_holder(directory.lock))


def _carry_out_here(directory: CampaignDirectory, request: DrainRequest) -> Answer | None:
    """Journal the request in the place of a controller; None where one has begun in the meantime."""
    try:
        held = HeldCampaign(directory, resume=False)
    except LockedError:
        return None
    try:
        return carry_out(held, PendingRequest(request.id, request))
    finally:
        held.close()


def _wait(directory: CampaignDirectory, request: DrainRequest, holder: Holder | None) -> CommandOutput:
    """Wait for the answer of the controller."""
    interval = directory.settings.scheduler.poll_interval
    who = f"process {holder.pid} on {holder.host}" if holder else "a process that is starting"
    _log.info(
        "%s: asked its controller (%s), which reads requests every %s", directory.path, who, format_duration(interval)
    )
    deadline = time.monotonic() + max(3 * interval, _LEAST_WAIT)
    try:
        while time.monotonic() < deadline:
            answer = take_answer(directory, request.id)
            if answer is not None:
                return _report(directory, answer, by_controller=True)
            time.sleep(0.1)
    except KeyboardInterrupt:
        _log.info("%s: no answer yet, and no longer waited for: its controller will carry it out", directory.path)
        return CommandOutput(exit_status=ExitStatus.INTERRUPTED)
    _log.info(
        "%s: no answer yet; the request stays in %s for this controller or the next one: %s",
        directory.path,
        directory.request(request.id),
        command_line(["status", str(directory.path)]),
    )
    return CommandOutput(exit_status=ExitStatus.NOT_FINISHED)


def _report(directory: CampaignDirectory, answer: Answer, *, by_controller: bool) -> CommandOutput:
    if not answer.accepted:
        raise AiperfError(f"{directory.path}: refused: {answer.message}")
    _log.info("%s: %s", directory.path, answer.message)
    state = read_state(directory)
    leaving = any(must_leave(state.drained, each, state.workforce.agents) for each in state.live.values())
    if leaving and not by_controller:
        _log.info(
            "%s: no controller runs; the trials end as soon as one does: %s",
            directory.path,
            command_line(["tick", str(directory.path)]),
        )
    return CommandOutput()


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
