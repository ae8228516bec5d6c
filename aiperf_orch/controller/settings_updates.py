"""Changes of settings by the controller: checked, journalled, and which jobs they concern."""

from __future__ import annotations

from collections.abc import Iterable

from aiperf_orch.campaign.setting_rules import change_fault
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.records.journal import SettingChange, SettingsChanged
from aiperf_orch.records.requests import SetRequest
from aiperf_orch.schedulers.base import Scheduler
from aiperf_orch.settings.changes import apply_changes, value_of
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import now


def jobs_to_replace(state: CampaignState, attempts: Iterable[LiveAttempt], scheduler: Scheduler) -> list[LiveAttempt]:
    """Attempts whose jobs wait in the queue of a batch system with settings that have changed.

    Args:
        state: State of the campaign.
        attempts: Attempts that have not ended.
        scheduler: Their scheduler; one that starts jobs at once, or places attempts on agents, has none that wait.
    """
    if not (state.settings_changes and scheduler.has_queue):
        return []
    waiting = [live for live in attempts if live.attempt.outdated and live.attempt.job and live.begin is None]
    return [live for live in waiting if not live.attempt.cancelling and not live.unsubmitted]


def change_settings(campaign: HeldCampaign, request: SetRequest) -> bool:
    """Journal the changes of a request; returns whether there was anything to change.

    A request that the journal has is not carried out again: a controller was killed before it wrote the answer.

    Raises:
        UsageError: When the campaign or a value does not permit it; nothing is changed then.
        AiperfError: When the journal cannot be written.
    """
    if any(entry.request == request.id for entry in campaign.state.settings_changes):
        return True
    before = campaign.directory.settings
    after = apply_changes(before, request.changes)
    fault = change_fault(campaign.state, before, after, now())
    if fault is not None:
        raise UsageError(fault)
    changes = [
        SettingChange(key=key, before=value_of(before, key), after=value_of(after, key)) for key in request.changes
    ]
    changes = [change for change in changes if change.before != change.after]
    if not changes:
        return False
    campaign.append(SettingsChanged, request=request.id, user=request.user, host=request.host, changes=changes)
    campaign.adopt_settings()
    return True
