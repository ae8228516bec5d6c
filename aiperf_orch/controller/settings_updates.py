"""Changes of settings by the controller: requests are checked, journalled and answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiperf_orch.campaign.setting_requests import SettingsRequest, answer_request, read_request
from aiperf_orch.campaign.setting_rules import change_fault
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.records.journal import SettingChange, SettingsChanged
from aiperf_orch.schedulers.base import Scheduler
from aiperf_orch.settings.changes import apply_changes, value_of
from aiperf_orch.util.errors import RecordError, TransientError, UsageError
from aiperf_orch.util.units import now


def take_request(campaign: HeldCampaign, warn: Callable[[str], None]) -> bool:
    """Journal the changes that a waiting request asks for, and answer it; returns whether settings have changed.

    A request that was journalled before its answer was written, as the controller was killed, changes nothing again.

    Raises:
        AiperfError: When the journal or the answer cannot be written.
    """
    try:
        request = read_request(campaign.directory)
    except TransientError:
        return False  # read again at the next step
    except RecordError as error:
        warn(f"{error}; the request is dropped")
        campaign.directory.settings_request.unlink(missing_ok=True)
        return False
    if request is None:
        return False
    refused, changed = None, False
    try:
        changed = change_settings(campaign, request)
    except UsageError as error:
        refused = str(error)
        warn(f"a request to change settings is refused: {refused}")
    answer_request(campaign.directory, request.id, refused)
    return changed


def jobs_to_replace(attempts: Iterable[LiveAttempt], scheduler: Scheduler) -> list[LiveAttempt]:
    """Attempts whose jobs wait in the queue of a batch system with settings that have changed.

    Args:
        attempts: Attempts that have not ended.
        scheduler: Their scheduler; one that starts jobs at once, or places attempts on agents, has none that wait.
    """
    if not scheduler.has_queue:
        return []
    waiting = [live for live in attempts if live.attempt.outdated and live.attempt.job and live.begin is None]
    return [live for live in waiting if not live.attempt.cancelling and not live.unsubmitted]


def change_settings(campaign: HeldCampaign, request: SettingsRequest) -> bool:
    """Journal the changes of a request; returns whether there was anything to change.

    Raises:
        UsageError: When the campaign or a value does not permit it; nothing is changed then.
        AiperfError: When the journal cannot be written.
    """
    before = campaign.directory.settings
    after = apply_changes(before, request.changes)
    fault = change_fault(campaign.state, after, now())
    if fault is not None:
        raise UsageError(fault)
    changes = [
        SettingChange(key=key, before=value_of(before, key), after=value_of(after, key)) for key in request.changes
    ]
    changes = [change for change in changes if change.before != change.after]
    if not changes:
        return False
    campaign.append(SettingsChanged, user=request.user, host=request.host, changes=changes)
    campaign.adopt_settings()
    return True
