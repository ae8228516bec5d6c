"""A package of a campaign whose trials were placed on agents, with every kind of history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.package.packing import write_package
from aiperf_orch.records.journal import Finished
from aiperf_orch.settings.models import SiteSettings
from package_fixtures import TRUE_SETTINGS
from placed_campaign import PlacedCampaignBuilder

SLURM: dict[str, Any] = {
    "kind": "slurm",
    "cpus_per_task": 1,
    "allocations": {"nodes": 2, "time_limit": "1h", "cpus_per_node": 2},
}


HISTORY: dict[str, Any] = {"duration": "365s", "concurrency": 100}
"""The section `campaign` of a campaign with the histories of `add_history`."""


def build_placed_campaign(path: Path, scheduler: dict[str, Any] = SLURM, **sections: Any) -> PlacedCampaignBuilder:
    """A campaign without trials; sections replace those of its settings."""
    campaign = {"duration": "1h", "concurrency": 100}
    training = TRUE_SETTINGS["training"] | {"warmup_epochs": [1]}
    settings = TRUE_SETTINGS | {"scheduler": scheduler, "campaign": campaign, "training": training} | sections
    return PlacedCampaignBuilder(path, SiteSettings.model_validate(settings))


def add_history(made: PlacedCampaignBuilder) -> None:
    """Every kind of history: completed, retried on other agents, killed, lost and returned, never begun, by hand.

    The duration of the campaign is that of `HISTORY`.
    """
    first = made.allocate(1, nodes=2)
    second = made.allocate(2, nodes=2)
    made.join("n1.example.org.1", 0, allocation=first)
    made.join("n2.example.org.1", 0, allocation=first)
    for trial in (0, 1):
        made.place(trial, on="n1.example.org.1", at=20)
    made.run_on("n1.example.org.1", 0, 39, 49, at=30)
    made.run_on(
        "n1.example.org.1", 1, 48, at=31, slot=1, reason="TRIAL_ERROR", message="died on n1.example.org", final=False
    )
    made.place(2, on="n2.example.org.1", at=50)  # never started there: the agent was about to end
    made.leave("n2.example.org.1", 55, "time limit")
    made.place(2, on="n1.example.org.1", again=True)
    begin = made.placed_begin(60, 2, on="n1.example.org.1")
    made.began(60, 2)
    made.events(begin, made.epoch(1, 70, trial=2, start=61), trial=2)  # killed with its agent
    made.join("n1.example.org.2", 77, allocation=first)
    made.leave("n1.example.org.1", 65, "killed", recorded=80)
    made.events(made.end(85, 2, run=1, reason="LOST"), trial=2, run=1)
    made.ended(2, runs=2, reason="LOST", final=False, at=86)
    made.run_on("n1.example.org.2", 2, 100, at=90, attempt=2, first_epoch=2)
    made.leave("n1.example.org.2", 101, "lost", recorded=280)
    made.rejoin("n1.example.org.2", 330)
    made.run_on("n1.example.org.2", 3, 345, 350, at=340)
    made.join("gpu7.1", 335)
    made.run_on("gpu7.1", 4, 360, at=350, slot=1, reason="STOPPED")
    made.place(5, on="gpu7.1", at=361)
    made.events(made.end(395, 5, reason="CAMPAIGN_ENDED"), trial=5)
    made.ended(5, reason="CAMPAIGN_ENDED", at=396)
    made.leave("n1.example.org.2", 397)
    made.write(Finished, at=400, reason="its 365s are over", by_deadline=True)
    made.write_accounting(
        [
            {"name": first, "job": "7001", "state": "COMPLETED", "exit_code": "0:0", "start": time_in(made, -10),
             "end": time_in(made, 398), "nodes": ["n1", "n2"]},
            {"name": second, "job": "7002", "state": "CANCELLED by 7", "exit_code": "0:0", "nodes": []},
        ]
    )  # fmt: skip


def time_in(made: PlacedCampaignBuilder, seconds: float) -> str:
    """A time after the campaign's start, as records have it."""
    return made.at(seconds).isoformat()


@pytest.fixture(scope="session")
def placed_campaign(tmp_path_factory: pytest.TempPathFactory) -> CampaignDirectory:
    """A campaign with true records, whose trials were placed on agents."""
    training = TRUE_SETTINGS["training"] | {"warmup_epochs": [2]}
    made = build_placed_campaign(tmp_path_factory.mktemp("placed") / "campaign", training=training, campaign=HISTORY)
    add_history(made)
    return made.directory


@pytest.fixture(scope="session")
def placed_package(placed_campaign: CampaignDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of `placed_campaign`."""
    path = tmp_path_factory.mktemp("packed") / "placed.tar.gz"
    write_package(placed_campaign, path, with_pseudonyms=False)
    return path
