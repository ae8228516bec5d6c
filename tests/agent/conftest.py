"""Fixtures of a campaign that lives on agents, with a controller that holds it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.running_agent import RunningAgent, hold
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.settings.loading import load_site


@pytest.fixture
def make_campaign(tmp_path: Path, write_site: Callable[..., Path]) -> Iterator[Callable[..., CampaignDirectory]]:
    """Makes a simulated campaign on agents, held by a controller; `training__epochs=9` changes a setting."""
    with contextlib.ExitStack() as closing:

        def make(**changes: Any) -> CampaignDirectory:
            site = write_site("agents.yaml", **{"scheduler__kind": "agents"} | changes)
            loaded = load_site(site)
            directory = CampaignDirectory.create(tmp_path / "campaign", loaded.settings, loaded.origins)
            closing.callback(hold(directory).release)
            return directory

        yield make


@pytest.fixture
def directory(make_campaign: Callable[..., CampaignDirectory]) -> CampaignDirectory:
    return make_campaign()


@pytest.fixture
def agent(directory: CampaignDirectory) -> Iterator[RunningAgent]:
    """An agent with two slots."""
    with RunningAgent(directory, "--slots", "2") as running:
        yield running
