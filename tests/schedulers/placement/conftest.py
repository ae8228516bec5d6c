"""A campaign on agents of which only the files exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulers.placement.fake_agents import FakeAgent, Placed


@pytest.fixture
def placed(tmp_path: Path) -> Placed:
    return Placed(tmp_path)


@pytest.fixture
def n1(placed: Placed) -> FakeAgent:
    """An agent with two slots, and a controller that has read its files."""
    agent = placed.agent("n1.1", slots=2)
    placed.control()
    return agent
