"""Messages about allocations and agents of a running campaign, and its summary of them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from agent_builder import AgentBuilder
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.commands.live_view import PlainLines, summary_lines
from aiperf_orch.commands.workforce_news import WorkforceNews
from aiperf_orch.commands.workforce_summary import count_slots, held_resources, summary_line, time_left
from aiperf_orch.controller.attempt_monitor import monitor_attempt
from aiperf_orch.records.journal import Finished, Stopped
from aiperf_orch.util.units import now
from terminal import in_terminal

Build = Callable[..., Any]
_AN_AGENT: dict[str, Any] = {"ends_at": 13 * 3600 + 1220, "slots": 8}


@pytest.fixture
def on_slurm(campaign: Build) -> Any:
    return campaign(
        campaign__duration="13h",
        campaign__concurrency=1472,
        scheduler__kind="slurm",
        scheduler__allocations={"nodes": 92, "time_limit": "12h", "at_once": 2},
    )


@pytest.fixture
def by_hand(campaign: Build) -> Any:
    return campaign(campaign__duration="13h", campaign__concurrency=4, scheduler__kind="agents")


def _state(made: Any) -> CampaignState:
    return CampaignState.of(read_journal(made.directory.journal))


def _controller(made: Any) -> Any:
    """What displays read of a controller."""
    state = _state(made)
    live = {key: monitor_attempt(made.directory, each, state.trials[each.trial]) for key, each in state.live.items()}
    for each in live.values():
        each.poll(made.directory)
    settings = made.directory.settings
    return SimpleNamespace(
        directory=made.directory,
        state=state,
        settings=settings,
        live_attempts=live,
        deadline=state.deadline(settings.campaign.duration),
    )


def _summary(made: Any) -> str:
    state = _state(made)
    running = [attempt for attempt in state.live.values() if attempt.began]
    return summary_line(made.directory, state, count_slots(state, made.directory.settings, running))


def test_the_summary_of_two_allocations_fits_a_line(on_slurm: Any) -> None:
    workforce = AgentBuilder(on_slurm)
    agents = [
        agent
        for number in (1, 2)
        for agent in workforce.join(
            *(f"n{number}{node:03}" for node in range(92)), allocation=workforce.allocate(number, nodes=92), **_AN_AGENT
        )
    ]
    workforce.run(0, agents[:1])
    workforce.run(1, agents[:1], slot=1)
    workforce.place(2, agents[1])
    line = _summary(on_slurm)
    assert line == "2 of 2 allocations, 184 agents, 1,472 slots: 2 at work, 1,470 idle; 11h20m left"
    assert len(line) <= 80
    heading = summary_lines(_controller(on_slurm))
    assert "2 running, 1 waiting, 0 ended" in heading[1]
    assert heading[3] == line


def test_trials_that_wait_for_slots_are_counted_without_reasons(by_hand: Any) -> None:
    workforce = AgentBuilder(by_hand)
    agents = workforce.join("n1", "n2")
    for trial, agent in enumerate(agents):
        workforce.place(trial, agent)
    controller = _controller(by_hand)
    for live, agent in zip(controller.live_attempts.values(), agents, strict=True):
        live.note = f"waits for a slot of {agent}"
    assert "0 running, 2 waiting" in summary_lines(controller)[1]
    assert len(summary_lines(controller)) == 4


def test_trials_of_several_nodes_take_all_slots_of_their_nodes(campaign: Build) -> None:
    made = campaign(scheduler__kind="agents", scheduler__nodes=2, campaign__concurrency=1)
    workforce = AgentBuilder(made)
    agents = workforce.join("n1", "n2", "n3", slots=2)
    workforce.run(0, agents[:2])
    assert _summary(made) == "3 agents, 6 slots: 4 at work, 2 idle"


def test_slots_beyond_the_concurrency_are_said(by_hand: Any) -> None:
    workforce = AgentBuilder(by_hand)
    [agent] = workforce.join("n1")
    for trial in range(3):
        workforce.run(trial, [agent], slot=trial)
    assert _summary(by_hand) == "1 agent, 8 slots: 3 at work, 5 idle (4 beyond the concurrency)"


def test_without_agents_the_view_says_how_to_start_one(by_hand: Any) -> None:
    [line] = summary_lines(_controller(by_hand))[3:]
    assert line.startswith("no agent yet; start one on each node: ")
    assert line.endswith(f"agent {by_hand.path}")


def test_after_the_last_agent_has_left_none_is_left(by_hand: Any) -> None:
    workforce = AgentBuilder(by_hand)
    workforce.leave(*workforce.join("n1"), reason="terminated", at=5)
    assert _summary(by_hand).startswith("no agent is left; start one on each node: ")


def test_a_pending_allocation_says_why_it_waits(on_slurm: Any) -> None:
    workforce = AgentBuilder(on_slurm)
    first = workforce.allocate(1)
    second = workforce.allocate(2, job="4712", after=first)
    controller = _controller(on_slurm)
    for name in (first, second):
        controller.state.workforce.allocations[name].note = "Priority: jobs of higher priority"
    assert summary_lines(controller)[3:] == [
        "0 of 2 allocations, no agent yet",
        f"allocation {first} waits: Priority: jobs of higher priority",
    ]


def test_what_is_still_held_is_said_until_it_is_released(on_slurm: Any) -> None:
    workforce = AgentBuilder(on_slurm)
    name = workforce.allocate()
    workforce.join("n1", allocation=name)
    [agent] = workforce.join("n2", job="by hand")
    on_slurm.write(Finished, reason="its 12h are over", by_deadline=True)
    assert summary_lines(_controller(on_slurm))[3:] == ["releasing 1 allocation and 1 agent"]
    workforce.leave(agent, reason="dismissed", at=5)
    assert held_resources(_state(on_slurm), on_slurm.directory.settings) == "1 allocation"
    workforce.end_allocation(name, "COMPLETED", at=9)
    assert summary_lines(_controller(on_slurm))[3:] == []


def test_a_campaign_of_jobs_has_no_line_of_agents(campaign: Build) -> None:
    assert len(summary_lines(_controller(campaign()))) == 3


@pytest.mark.parametrize(
    ("hours", "words"), [([], ""), ([None], ""), ([2, 2], "2h"), ([2, None, 5.5], "2h to 5h30m"), ([-1], "0s")]
)
def test_time_left_of_agents_whose_ends_differ(hours: list[float | None], words: str) -> None:
    ends = [None if each is None else now() + timedelta(hours=each, seconds=0.9) for each in hours]
    assert time_left(ends) == words


class _News:
    """News of a campaign, read again from its journal, with the levels of messages and a clock of its own."""

    def __init__(self, made: Any, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._made, self._caplog, self.time, self.only_warnings = made, caplog, 0.0, False
        self._news = WorkforceNews(lambda: self.time)

    def read(self) -> list[tuple[str, str]]:
        self._caplog.clear()
        self._news.show(_state(self._made).workforce, only_warnings=self.only_warnings)
        return [(record.levelname, record.getMessage()) for record in self._caplog.records]


def test_a_wave_of_agents_is_one_message(on_slurm: Any, caplog: pytest.LogCaptureFixture) -> None:
    workforce, news = AgentBuilder(on_slurm), _News(on_slurm, caplog)
    assert news.read() == []
    name = workforce.allocate(nodes=92)
    assert news.read() == [("INFO", f"allocation {name} submitted as job 4711: 92 nodes")]
    agents = workforce.join(*(f"n{node}" for node in range(92)), allocation=name)
    assert news.read() == [("INFO", "92 agents joined: n0.1, n1.1, n2.1 and 89 more; 736 slots")]
    assert news.read() == []
    workforce.leave(*agents[:2], reason="lost", at=9, message="no sign of life for 3m")
    assert news.read() == [("WARNING", "2 agents lost: n0.1, n1.1; no sign of life for 3m")]
    workforce.leave(*agents[2:], reason="time limit", at=9)
    workforce.end_allocation(name, "TIME_LIMIT", at=9)
    assert news.read() == [
        ("INFO", f"allocation {name} ended: TIME_LIMIT"),
        ("INFO", "90 agents ended (time limit): n2.1, n3.1, n4.1 and 87 more"),
    ]
    assert news.read() == []


def test_agents_that_trickle_in_are_counted_together(by_hand: Any, caplog: pytest.LogCaptureFixture) -> None:
    workforce, news = AgentBuilder(by_hand), _News(by_hand, caplog)
    assert news.read() == []
    seen = []
    for node in range(40):
        workforce.join(f"n{node}")
        seen += news.read()
        news.time += 0.5
    assert [text.partition(":")[0] for _, text in seen] == ["1 agent joined", "20 agents joined"]
    news.time += 10
    assert [text.partition(":")[0] for _, text in news.read()] == ["19 agents joined"]


def test_what_an_earlier_controller_has_said_is_not_new(by_hand: Any, caplog: pytest.LogCaptureFixture) -> None:
    workforce = AgentBuilder(by_hand)
    [one, two] = workforce.join("n1", "n2")
    workforce.leave(one, reason="failed", at=9)
    caplog.set_level(logging.INFO)
    lines = PlainLines()
    lines.show(_controller(by_hand))
    assert caplog.messages == []
    workforce.leave(two, reason="killed", at=10, message="n2.2 follows it")
    lines.show(_controller(by_hand))
    assert caplog.messages == ["1 agent killed: n2.1; n2.2 follows it"]


def test_the_live_view_of_a_narrow_terminal_shows_agents(on_slurm: Any) -> None:
    workforce = AgentBuilder(on_slurm)
    names = [workforce.allocate(number, nodes=92) for number in (1, 2)]
    agents = workforce.join(*(f"frontier{node:05}" for node in range(184)), allocation=names[0], **_AN_AGENT)
    workforce.run(0, agents[:1])
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
from commands.test_workforce_news import _controller
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.commands import live_view
from pathlib import Path
from types import SimpleNamespace
made = SimpleNamespace(directory=CampaignDirectory.open(Path({str(on_slurm.path)!r})))
with live_view.display() as view:
    view.show(_controller(made))
"""
    _, seen = in_terminal(sys.executable, "-c", script, columns=80)
    assert "Traceback" not in seen
    assert "1 of 2 allocations, 184 agents, 1,472 slots: 1 at work, 1,471 idle; 11h20m left" in seen


def test_a_stopped_campaign_without_agents_says_nothing_of_them(by_hand: Any) -> None:
    by_hand.write(Stopped)
    assert len(summary_lines(_controller(by_hand))) == 3


def test_on_one_machine_only_a_fault_of_its_agent_is_said(campaign: Build, caplog: pytest.LogCaptureFixture) -> None:
    made = campaign(scheduler__job_per_trial=False)
    workforce, news = AgentBuilder(made), _News(made, caplog)
    news.only_warnings = True
    assert news.read() == []
    [agent] = workforce.join("box", allocation=workforce.allocate(nodes=1), slots=2)
    assert news.read() == []
    assert len(summary_lines(_controller(made))) == 3
    assert held_resources(_state(made), made.directory.settings) == "1 agent"
    workforce.leave(agent, reason="killed", at=9)
    assert news.read() == [("WARNING", "1 agent killed: box.1")]
