"""`stop`: end the running trials of a campaign, by its live controller or in its place."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import Holder, read_holder
from aiperf_orch.campaign.snapshot import read_snapshot, read_state
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.command_output import CommandOutput, ExitStatus
from aiperf_orch.commands.foreground_controller import Outcome, run_controller
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.commands.workforce_summary import held_resources
from aiperf_orch.records.base import EndReason
from aiperf_orch.util.units import format_duration

_log: Final = logging.getLogger(__name__)


def stop_campaign(campaign_dir: Path, *, take_over: bool) -> CommandOutput:
    """Stop a campaign, which `run` can resume.

    Returns:
        The exit status: 0 stopped, 4 not stopped yet, 130 interrupted.
    """
    directory = CampaignDirectory.open(campaign_dir)
    state = read_state(directory)
    held_before = held_resources(state, directory.settings)
    over = state.phase is Phase.FINISHED or (state.phase is Phase.STOPPED and not state.live)
    if over and not held_before:
        _log.info("%s: is %s already", directory.path, state.phase.value)
        return CommandOutput()
    directory.request_stop()
    holder, ends_before, outcome = read_holder(directory.lock), len(state.ends), None
    if holder and holder.alive() is not False and not take_over:
        unfinished = _stop_by_controller(directory, holder, held_before)
        if unfinished:
            return unfinished
    snapshot = read_snapshot(directory)
    state = snapshot.state
    if state.live or state.phase is Phase.RUNNING or held_resources(state, directory.settings):
        _log.info(
            "%s: no controller runs: ending %d live trial(s) from this process%s",
            directory.path,
            len(state.live),
            _releasing(held_resources(state, directory.settings)),
        )
        outcome = run_controller(directory, take_over=take_over, resume=False, snapshot=snapshot)
        state = read_state(directory)
    if state.live:
        _log.info(
            "%s: not stopped: of %d live trial(s) %d were signalled to end, and none is known to have ended; "
            "end them: %s",
            directory.path,
            len(state.live),
            outcome.cancelled if outcome else 0,
            command_line(["stop", str(directory.path)]),
        )
        return _not_finished(outcome)
    stopped = sum(end.reason is EndReason.STOPPED for end in state.ends[ends_before:])
    held = held_resources(state, directory.settings)
    if state.workforce.live_allocations:
        _log.info(
            "%s: %s; %d trial(s) were ended, but %s not yet released; again: %s",
            directory.path,
            state.phase.value,
            stopped,
            held,
            command_line(["stop", str(directory.path)]),
        )
        return _not_finished(outcome)
    released = f", {held_before} released" if held_before and not held else ""
    if held:  # started by hand, and perhaps gone without a last line: there is nothing more to do than to dismiss them
        released = f", {held} dismissed, without an answer so far"
    _log.info("%s: %s; %d trial(s) were ended%s", directory.path, state.phase.value, stopped, released)
    return CommandOutput()


def _not_finished(outcome: Outcome | None) -> CommandOutput:
    interrupted = outcome is not None and outcome.interrupted
    return CommandOutput(exit_status=ExitStatus.INTERRUPTED if interrupted else ExitStatus.NOT_FINISHED)


def _releasing(held: str) -> str:
    """What else is done, where the campaign holds allocations or agents."""
    return f", and releasing {held}" if held else ""


def _stop_by_controller(directory: CampaignDirectory, holder: Holder, held: str) -> CommandOutput | None:
    """Wait until the live controller has left the campaign; returns None then, else the output of the command.

    Args:
        directory: The campaign.
        holder: Its controller.
        held: Allocations and agents that it holds, in words.
    """
    _log.info(
        "%s: asked its controller (process %s on %s) to stop%s; it reads the request every %s",
        directory.path,
        holder.pid,
        holder.host,
        f" and to release {held}" if held else "",
        format_duration(directory.settings.scheduler.poll_interval),
    )
    try:
        if _has_left(directory):
            return None
    except KeyboardInterrupt:
        _log.info("%s: not stopped yet, and no longer waited for: its controller goes on ending trials", directory.path)
        return CommandOutput(exit_status=ExitStatus.INTERRUPTED)
    state = read_state(directory)
    cancelled = sum(attempt.cancelling is not None for attempt in state.live.values())
    _log.info(
        "%s: not stopped yet: its controller is still ending %d of %d live trial(s)%s",
        directory.path,
        cancelled,
        len(state.live),
        _releasing(held_resources(state, directory.settings)),
    )
    return CommandOutput(exit_status=ExitStatus.NOT_FINISHED)


def _has_left(directory: CampaignDirectory) -> bool:
    """Whether the live controller leaves the campaign within the time that trials may take to end."""
    deadline = time.monotonic() + 3 * directory.settings.scheduler.stop_grace
    while time.monotonic() < deadline:
        holder = read_holder(directory.lock)
        if holder is None or holder.alive() is False:
            return True
        time.sleep(0.1)
    return False
