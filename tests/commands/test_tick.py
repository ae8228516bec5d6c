"""What a step of a campaign says of its trials."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from agent_builder import AgentBuilder
from aiperf_orch.commands.command_output import ExitStatus
from aiperf_orch.commands.tick import step_campaign


def test_trials_that_wait_for_a_slot_do_not_run(campaign: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    made = campaign(campaign__duration="12h", campaign__concurrency=2, scheduler__kind="agents")
    workforce = AgentBuilder(made)
    [agent] = workforce.join("n1")
    workforce.run(0, [agent])
    workforce.place(1, agent)
    workforce.place(2, agent)
    with caplog.at_level(logging.INFO):
        assert step_campaign(made.path, take_over=False).exit_status is ExitStatus.NOT_FINISHED
    assert f"{made.path}: running, 1 running, 2 waiting, 0 ended; " in caplog.text
