"""`set`: change settings of a campaign, by its live controller or in its place."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import Holder
from aiperf_orch.campaign.requests import requester
from aiperf_orch.campaign.setting_rules import change_fault
from aiperf_orch.campaign.snapshot import read_snapshot, read_state
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.controller_requests import request_of_controller
from aiperf_orch.commands.foreground_controller import restrict_umask
from aiperf_orch.records.requests import SetRequest
from aiperf_orch.results.setting_changes import format_setting
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.changeable import CHANGEABLE
from aiperf_orch.settings.changes import apply_changes, parse_changes
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.units import now

_log: Final = logging.getLogger(__name__)


def change_campaign(campaign_dir: Path, assignments: Sequence[str], *, take_over: bool) -> CommandOutput:
    """Change settings of a campaign.

    Args:
        campaign_dir: The campaign.
        assignments: `KEY=VALUE` each.
        take_over: Change them in place of a controller on another host that has died.

    Returns:
        The exit status: 0 changed, or nothing to change; 4 requested, not taken up yet; 130 interrupted.

    Raises:
        UsageError: When a key or a value is wrong or may not change, or the campaign is finished.
        AiperfError: When the controller refused it.
    """
    directory = CampaignDirectory.open(campaign_dir)
    restrict_umask(directory.settings)
    state = read_snapshot(directory).state
    before = state.settings(directory.config.settings)
    changes = parse_changes(before, assignments, directory.path)
    after = apply_changes(before, changes)
    fault = change_fault(state, before, after, now())
    if fault is not None:
        raise UsageError(f"{directory.path}: {fault}")
    if not changes:
        _log.info("%s: nothing to change: the settings in force have these values", directory.path)
        return CommandOutput()
    _ask_scheduler(after)
    request = SetRequest(**requester(), changes=changes)
    response = request_of_controller(directory, request, take_over=take_over)
    if response.message is not None:
        _report(directory, request, response.by)
    return CommandOutput(exit_status=response.exit_status)


def _ask_scheduler(settings: SiteSettings) -> None:
    """Log what the scheduler says of settings; they may be what puts right that it cannot be asked."""
    try:
        warnings = make_scheduler(settings.scheduler).check(settings.campaign.concurrency)
    except AiperfError as error:
        warnings = [f"the scheduler was not asked about the settings: {error}"]
    for warning in warnings:
        _log.warning("%s", warning)


def _report(directory: CampaignDirectory, request: SetRequest, by: Holder | None) -> None:
    """Log what the journal has of a request that was carried out: others may have changed the same settings before."""
    state = read_state(directory)
    made = next((entry for entry in state.settings_changes if entry.request == request.id), None)
    if made is None:
        _log.info("%s: nothing to change: another request has set these values in the meantime", directory.path)
        return
    resume = "" if state.phase is Phase.RUNNING else f"; the campaign is {state.phase.value}"
    who = f"by its controller (process {by.pid} on {by.host})" if by else f"for the next controller: none runs{resume}"
    _log.info("%s: changed %s", directory.path, who)
    for change in made.changes:
        former, now_set = format_setting(change.before), format_setting(change.after)
        _log.info("  %s: %s -> %s, for %s", change.key, former, now_set, CHANGEABLE[change.key].value)
