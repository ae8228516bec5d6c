"""`set`: change settings of a campaign, by its live controller or in its place."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.requests import requester
from aiperf_orch.campaign.setting_rules import change_fault
from aiperf_orch.campaign.snapshot import read_snapshot
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.controller_requests import request_of_controller
from aiperf_orch.commands.foreground_controller import restrict_umask
from aiperf_orch.records.requests import SetRequest
from aiperf_orch.results.setting_changes import format_setting
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.changeable import CHANGEABLE
from aiperf_orch.settings.changes import apply_changes, parse_changes, value_of
from aiperf_orch.util.errors import UsageError
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
    fault = change_fault(state, after, now())
    if fault is not None:
        raise UsageError(f"{directory.path}: {fault}")
    if not changes:
        _log.info("%s: nothing to change: the settings in force have these values", directory.path)
        return CommandOutput()
    for warning in make_scheduler(after.scheduler).check(after.campaign.concurrency):
        _log.warning("%s", warning)
    response = request_of_controller(directory, SetRequest(**requester(), changes=changes), take_over=take_over)
    if response.message is not None:
        resume = "" if state.phase is Phase.RUNNING else f"; the campaign is {state.phase.value}"
        by = f"by its controller (process {response.by.pid} on {response.by.host})" if response.by else ""
        _log.info("%s: changed %s", directory.path, by or f"for the next controller: none runs{resume}")
        for key, value in changes.items():
            former, now_set = format_setting(value_of(before, key)), format_setting(value)
            _log.info("  %s: %s -> %s, for %s", key, former, now_set, CHANGEABLE[key].value)
    return CommandOutput(exit_status=response.exit_status)
