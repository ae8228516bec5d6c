"""`set`: change settings of a campaign, by its live controller or in its place."""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import Holder, read_holder
from aiperf_orch.campaign.setting_requests import SettingsRequest, leave_request, read_answer, read_request
from aiperf_orch.campaign.setting_rules import change_fault
from aiperf_orch.campaign.snapshot import CampaignSnapshot, read_snapshot
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.command_output import CommandOutput, ExitStatus
from aiperf_orch.commands.foreground_controller import restrict_umask
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.controller.settings_updates import change_settings, take_request
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.changeable import CHANGEABLE
from aiperf_orch.settings.changes import apply_changes, parse_changes, value_of
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import format_duration, now
from aiperf_orch.util.users import current_user

_log: Final = logging.getLogger(__name__)
_ANSWER_SECONDS: Final = 15.0
"""Seconds for which an answer of the controller is waited for, beyond two of its steps."""


def change_campaign(campaign_dir: Path, assignments: Sequence[str], *, take_over: bool) -> CommandOutput:
    """Change settings of a campaign.

    Args:
        campaign_dir: The campaign.
        assignments: `KEY=VALUE` each.
        take_over: Change them in place of a controller on another host that has died.

    Returns:
        The exit status: 0 changed, or nothing to change; 1 refused by the controller; 4 requested, not taken up yet.

    Raises:
        UsageError: When a key or a value is wrong or may not change, or the campaign is finished.
    """
    directory = CampaignDirectory.open(campaign_dir)
    restrict_umask(directory.settings)
    snapshot = read_snapshot(directory)
    before = snapshot.state.settings(directory.config.settings)
    changes = parse_changes(before, assignments, directory.path)
    after = apply_changes(before, changes)
    fault = change_fault(snapshot.state, after, now())
    if fault is not None:
        raise UsageError(f"{directory.path}: {fault}")
    if not changes:
        _log.info("%s: nothing to change: the settings in force have these values", directory.path)
        return CommandOutput()
    for warning in make_scheduler(after.scheduler).check(after.campaign.concurrency):
        _log.warning("%s", warning)
    request = SettingsRequest(
        id=secrets.token_hex(8), time=now(), user=current_user(), host=socket.gethostname(), changes=changes
    )
    holder = read_holder(directory.lock)
    if holder and holder.alive() is not False and not take_over:
        return _change_by_controller(directory, holder, request, before)
    _change_here(directory, request, snapshot, take_over=take_over)
    resume = "" if snapshot.state.phase is Phase.RUNNING else f"; the campaign is {snapshot.state.phase.value}"
    _announce(directory, before, changes, f"for the next controller: none runs{resume}")
    return CommandOutput()


def _change_here(
    directory: CampaignDirectory, request: SettingsRequest, snapshot: CampaignSnapshot, *, take_over: bool
) -> None:
    """Journal the changes from this process; a request that an earlier controller has not taken up comes first."""
    campaign = HeldCampaign(directory, resume=False, take_over=take_over, snapshot=snapshot)
    try:
        take_request(campaign, _log.warning)
        change_settings(campaign, request)
    finally:
        campaign.close()


def _change_by_controller(
    directory: CampaignDirectory, holder: Holder, request: SettingsRequest, before: SiteSettings
) -> CommandOutput:
    """Leave a request for the controller, and wait for its answer."""
    leave_request(directory, request)
    deadline = time.monotonic() + 2 * before.scheduler.poll_interval + _ANSWER_SECONDS
    while time.monotonic() < deadline:
        answer = read_answer(directory, request.id)
        if answer is not None and answer.refused is not None:
            _log.error("%s: its controller refused the change: %s", directory.path, answer.refused)
            return CommandOutput(exit_status=ExitStatus.FAILED)
        if answer is not None:
            _announce(directory, before, request.changes, f"by its controller (process {holder.pid} on {holder.host})")
            return CommandOutput()
        if read_request(directory) is not None and read_holder(directory.lock) != holder:
            break
        time.sleep(0.1)
    _log.info(
        "%s: requested, and not taken up within %s by its controller (process %s on %s): it will be at its next step, "
        "or by the next controller",
        directory.path,
        format_duration(2 * before.scheduler.poll_interval + _ANSWER_SECONDS),
        holder.pid,
        holder.host,
    )
    return CommandOutput(exit_status=ExitStatus.NOT_FINISHED)


def _announce(directory: CampaignDirectory, before: SiteSettings, changes: dict[str, Any], how: str) -> None:
    _log.info("%s: changed %s", directory.path, how)
    for key, value in changes.items():
        _log.info("  %s: %s -> %s, for %s", key, value_of(before, key), value, CHANGEABLE[key].value)
