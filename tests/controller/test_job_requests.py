"""What is asked of the scheduler for an attempt: no longer a time than the campaign has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.consistency import read_state
from aiperf_orch.controller.job_requests import make_request
from aiperf_orch.doctor import probe_job
from aiperf_orch.settings.models import SiteSettings

SLURM = {"kind": "slurm", "time_limit": "4h", "warn_before": "1m", "stop_grace": "30s"}


@pytest.mark.parametrize(("duration", "seconds"), [("10m", 690), ("12h", 14400)])
def test_the_canary_asks_for_no_longer_than_the_campaign(
    campaign: Callable[..., Any], duration: str, seconds: float
) -> None:
    fields = {f"scheduler__{key}": value for key, value in SLURM.items()}
    made = campaign(campaign__duration=duration, **fields)
    made.submit()
    state = read_state(made.directory)
    (attempt,) = state.live.values()
    assert make_request(made.directory, state, attempt).time_limit == seconds


@pytest.mark.parametrize(("duration", "limit", "seconds"), [("5m", "4h", 390), ("12h", "4h", 900), ("12h", "10m", 600)])
def test_checks_job_asks_for_no_longer_than_it_needs(tmp_path: Path, duration: str, limit: str, seconds: float) -> None:
    settings = SiteSettings.model_validate(
        {"scheduler": SLURM | {"time_limit": limit}, "campaign": {"duration": duration}}
    )
    assert probe_job.probe_request(settings, tmp_path / "check-abcde").time_limit == seconds
