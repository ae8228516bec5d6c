"""`run --campaign-dir DIR` without a site file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.site_options import load_or_resume
from aiperf_orch.records.journal import Finished
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import now

Build = Callable[..., Any]
Aiperf = Callable[..., Any]


@pytest.mark.unit
def test_settings_come_from_the_campaign(campaign: Build) -> None:
    made = campaign(campaign__seed=5)
    loaded = load_or_resume(None, made.path, [], {})
    assert loaded.settings.campaign.seed == 5
    assert "campaign.seed" in loaded.origins


@pytest.mark.unit
def test_what_cannot_be_resumed_is_refused(campaign: Build, tmp_path: Path) -> None:
    made = campaign()
    with pytest.raises(UsageError, match=r"^SITE: give a site file for a new campaign, or --campaign-dir"):
        load_or_resume(None, None, [], {})
    with pytest.raises(UsageError, match="holds no campaign"):
        load_or_resume(None, tmp_path / "none", [], {})
    with pytest.raises(UsageError, match=r"^--duration: a campaign that exists keeps its settings"):
        load_or_resume(None, made.path, [], {"campaign.duration": ("--duration", "2h")})
    with pytest.raises(UsageError, match=r"^--set: a campaign that exists keeps its settings"):
        load_or_resume(None, made.path, ["campaign.duration=2h"], {})


@pytest.mark.local
def test_a_campaign_goes_on_by_its_directory_alone(
    aiperf: Aiperf, write_site: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "campaign"
    site = write_site(campaign__max_trials=2)
    assert aiperf("run", site, "--campaign-dir", path, "--set", "campaign.seed=9", "--prepare").returncode == 0
    done = aiperf("run", "--campaign-dir", path)
    assert done.returncode == 0, done.stderr
    assert f"going on with the campaign in {path}" in done.stderr
    assert "trial 1 ended: COMPLETED" in done.stderr
    again = aiperf("run", "--campaign-dir", path)
    assert again.returncode == 0
    assert f"{path}: is finished: its 2 trials have ended" in again.stderr


@pytest.mark.local
@pytest.mark.parametrize("recorded", [True, False])
def test_after_the_deadline_the_time_is_said_to_be_over(aiperf: Aiperf, campaign: Build, recorded: bool) -> None:
    made = campaign(training__warmup_epochs=[1])
    assert made.at(0) < now() - timedelta(hours=1)
    made.submit()
    made.events(made.begin(1), made.epoch(1, 5, 0.2, 1), made.end(6))
    made.began(1)
    made.ended()
    if recorded:
        made.write(Finished, reason="its 1h are over", by_deadline=True)
    done = aiperf("run", "--campaign-dir", made.path)
    assert "its time is over: its 1h ended at 20" in done.stderr
    assert "going on" not in done.stderr
    assert done.returncode == 0, done.stderr
