"""When settings may change: not after the end, and not to a deadline before what has counted."""

from datetime import datetime, timedelta, timezone

import pytest

from aiperf_orch.campaign.setting_rules import change_fault
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.records.journal import AttemptEnd
from aiperf_orch.settings.models import SiteSettings

pytestmark = pytest.mark.unit
BEGAN = datetime(2026, 1, 2, 3, tzinfo=timezone.utc)


def at(minutes):
    return BEGAN + timedelta(minutes=minutes)


def state(*, phase=Phase.RUNNING, last_end=None):
    end = AttemptEnd(trial=0, attempt=1, reason="COMPLETED", message="", final=True, last_end=last_end)
    return CampaignState(first_begin=BEGAN, phase=phase, ends=[end])


@pytest.mark.parametrize(
    ("known", "duration", "minutes", "tolerance", "said"),
    [
        (state(), "1h", 30, 0, None),
        (state(), "20m", 30, 0, "campaign.duration: 20m ended"),
        (state(), "20m", 20, 0, None),
        (state(), "20m", 21, 60, None),  # clocks may differ
        (state(last_end=at(25)), "20m", 10, 0, "give more than 25m"),  # an epoch counts that would not
        (state(last_end=at(15)), "20m", 10, 0, None),
        (state(phase=Phase.FINISHED), "1h", 30, 0, "is finished"),
        (state(phase=Phase.PAUSED), "1h", 30, 0, None),
        (state(phase=Phase.STOPPED), "1h", 30, 0, None),
        (state(), "90m", 91, 0, "the 1h30m of the campaign are over: nothing can be changed"),
        (CampaignState(), "1s", 0, 0, None),  # nothing has begun
    ],
)
def test_when_settings_may_come_into_force(known, duration, minutes, tolerance, said):
    before, after = (SiteSettings.model_validate({"campaign": {"duration": each}}) for each in ("90m", duration))
    fault = change_fault(known, before, after, at(minutes), timedelta(seconds=tolerance))
    assert (said is None and fault is None) or (said is not None and said in fault)
