"""Which scheduler a campaign's trials get, and the one that submits nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.schedulers.base import JobRequest
from aiperf_orch.schedulers.local import LocalScheduler
from aiperf_orch.schedulers.placement.hand_started import HandStartedAgents
from aiperf_orch.schedulers.placement.scheduler import PlacementScheduler
from aiperf_orch.schedulers.registry import make_scheduler, make_trial_scheduler
from aiperf_orch.schedulers.slurm.scheduler import SlurmScheduler
from aiperf_orch.settings.loading import load_site

pytestmark = pytest.mark.unit
ALLOCATIONS = {"nodes": 2, "time_limit": "1h"}


@pytest.mark.parametrize(
    ("scheduler", "trials", "batch"),
    [
        ({"kind": "local", "job_per_trial": True}, LocalScheduler, None),
        ({"kind": "local", "job_per_trial": False}, PlacementScheduler, LocalScheduler),
        ({"kind": "slurm"}, SlurmScheduler, None),
        ({"kind": "slurm", "allocations": ALLOCATIONS}, PlacementScheduler, SlurmScheduler),
        ({"kind": "agents"}, PlacementScheduler, None),
    ],
)
def test_trials_are_placed_where_the_settings_have_agents(
    tmp_path: Path, write_site: Callable[..., Path], scheduler: dict[str, Any], trials: type, batch: type | None
) -> None:
    settings = load_site(write_site(**{f"scheduler__{name}": value for name, value in scheduler.items()})).settings
    made = make_trial_scheduler(CampaignDirectory.create(tmp_path / "campaign", settings, {}))
    assert type(made) is trials
    assert type(getattr(made, "batch", None)) is (batch or type(None))
    assert made.free_places() == (0 if trials is PlacementScheduler else None)


def test_hand_started_agents_are_no_jobs(tmp_path: Path, write_site: Callable[..., Path]) -> None:
    scheduler = make_scheduler(load_site(write_site(scheduler__kind="agents")).settings.scheduler)
    assert isinstance(scheduler, HandStartedAgents)
    request = JobRequest("abc-00000-1", tmp_path, tmp_path, tmp_path, ("true",))
    assert "aiperf-orch agent" in scheduler.submit([request]).refused["abc-00000-1"]
    assert f"aiperf-orch agent {tmp_path}" in scheduler.render(request)
    assert (scheduler.query(["abc-00000-1"]), scheduler.check(3)) == ({}, [])
