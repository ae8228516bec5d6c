"""When settings may change: the rule on the state of a campaign that controller and `verify` share."""

from __future__ import annotations

from datetime import datetime, timedelta

from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.units import format_duration, format_time


def change_fault(
    state: CampaignState,
    before: SiteSettings,
    after: SiteSettings,
    time: datetime,
    tolerance: timedelta = timedelta(0),
) -> str | None:
    """Why settings cannot come into force in a campaign; None where they can.

    A deadline that has passed would drop epochs that have counted: it could be chosen by its result.

    Args:
        state: State of the campaign.
        before: The settings in force.
        after: The settings.
        time: When the latter come into force.
        tolerance: By how much a deadline may precede that time.
    """
    if state.phase is Phase.FINISHED:
        return "the campaign is finished: nothing can be changed"
    deadline = state.deadline(after.campaign.duration)
    if deadline is None or state.first_begin is None:
        return None
    earliest = max([time, *(end.last_end for end in state.ends if end.last_end is not None)])
    if deadline >= earliest - tolerance:
        return None
    if after.campaign.duration == before.campaign.duration:
        over = format_duration(after.campaign.duration)
        return f"the {over} of the campaign are over: nothing can be changed, `aiperf-orch run` records its end"
    shortest = format_duration((earliest - state.first_begin).total_seconds())
    return (
        f"campaign.duration: {format_duration(after.campaign.duration)} ended {format_time(deadline)}: what has been "
        f"reached counts; give more than {shortest}"
    )
