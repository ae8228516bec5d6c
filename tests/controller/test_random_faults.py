"""Campaigns under random faults at random times, each repeatable in kind by its seed.

After the faults a campaign is continued to its end: a scorer that shares no code with the package agrees, no epoch is
lost, the package verifies, and nothing of it is left. `AIPERF_ORCH_FAULT_SEEDS=7,8` runs other seeds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pbs.instance import Pbs

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.results.result import compute_result
from controller.faulted import OnPbs, OnSlurm, faulted_settings
from controller.following import check_verifies
from controller.independent_score import check_result
from controller.random_faults import FaultyCampaign
from waiting import wait_for

SEEDS = [int(seed) for seed in os.environ.get("AIPERF_ORCH_FAULT_SEEDS", "1").split(",")]
SECONDS = float(os.environ.get("AIPERF_ORCH_FAULT_SECONDS", "4"))
END = 240  # seconds
TRIALS = 6 + int(SECONDS)


class Here:
    """This machine, without a batch system."""

    concurrency = 2

    def __init__(self, scheduler: dict[str, Any]) -> None:
        self.scheduler = scheduler

    def jobs(self) -> list[str]:
        return []


@pytest.fixture(
    params=[
        pytest.param("local", marks=pytest.mark.local),
        pytest.param("allocations", marks=[pytest.mark.local, pytest.mark.long]),
        pytest.param("slurm", marks=[pytest.mark.slurm, pytest.mark.long]),
        pytest.param("pbs", marks=[pytest.mark.pbs, pytest.mark.long]),
    ]
)
def batch_system(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    match request.param:
        case "local":
            yield Here({"kind": "local", "job_per_trial": True})
        case "allocations":
            yield Here({"kind": "local"})
        case "slurm":
            yield OnSlurm(request.getfixturevalue("slurm"))
        case _:
            with Pbs(tmp_path / "pbs", nodes=4) as instance:
                monkeypatch.setenv("PATH", instance.environment["PATH"])
                yield OnPbs(instance)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_campaign_under_random_faults_ends_with_a_true_score(
    batch_system: Any, tmp_path: Path, preload: Callable[[str], Path], seed: int
) -> None:
    settings = faulted_settings(
        dict(batch_system.scheduler), concurrency=batch_system.concurrency, trials=TRIALS, epoch_seconds=0.3
    )
    if isinstance(batch_system, Here):
        del settings["scheduler"]["query_interval"], settings["scheduler"]["time_limit"]
    campaign = FaultyCampaign(tmp_path, settings, seed, preload("random_errors"))
    try:
        campaign.disturb(SECONDS)
        campaign.finish(END)
        wait_for(lambda: not campaign.processes(), "no process is left")
        wait_for(lambda: not batch_system.jobs(), "no job is left")
    finally:
        campaign.close()
        print(sorted(campaign.faults().items()))
    assert sum(campaign.faults().values()) > 3
    assert "Traceback" not in campaign.everything_said(), campaign.everything_said()
    found = check_result(campaign.path, timedelta(hours=1))
    result = compute_result(CampaignDirectory.open(campaign.path))
    assert len(result.state.trials) == TRIALS
    counted = [(epoch.trial, epoch.epoch) for epoch in result.collected.epochs]
    assert (sorted(counted), found.operations > 0) == (sorted(found.epochs), True)
    check_verifies(campaign.path)
