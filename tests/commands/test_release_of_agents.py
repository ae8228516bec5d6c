"""What `stop`, `tick` and `run` say of allocations and agents that a campaign holds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from agent_builder import AgentBuilder
from aiperf_orch.campaign.lock import Lock
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands import detach, foreground_controller, run, stop, tick
from aiperf_orch.commands.command_output import ExitStatus
from aiperf_orch.commands.foreground_controller import Outcome
from aiperf_orch.records.journal import Finished, Stopped

Build = Callable[..., Any]


@pytest.fixture
def made(campaign: Build, caplog: pytest.LogCaptureFixture) -> Any:
    """A campaign of allocations on Slurm."""
    caplog.set_level(logging.INFO)
    return campaign(
        campaign__duration="12h",
        campaign__concurrency=16,
        scheduler__kind="slurm",
        scheduler__stop_grace="50ms",
        scheduler__warn_before="20ms",
        scheduler__allocations={"nodes": 2, "time_limit": "12h"},
    )


@pytest.fixture
def workforce(made: Any) -> AgentBuilder:
    return AgentBuilder(made)


@pytest.fixture
def control(made: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], list[bool]]:
    """Replaces the controller that `stop` and `run` start by a function; returns whether each was to resume."""

    def replace(work: Callable[[], None]) -> list[bool]:
        calls: list[bool] = []

        def controller(_directory: Any, *, resume: bool = True, **_: Any) -> Outcome:
            calls.append(resume)
            work()
            return Outcome(read_state(made.directory).phase, interrupted=False, live=0, cancelled=0)

        for module in (stop, run):
            monkeypatch.setattr(module, "run_controller", controller)
        return calls

    return replace


def _stop(made: Any) -> int:
    return stop.stop_campaign(made.path, take_over=False).exit_status


def test_a_live_controller_is_asked_to_release_allocations(
    made: Any, workforce: AgentBuilder, caplog: pytest.LogCaptureFixture
) -> None:
    workforce.allocate()
    Lock.acquire(made.directory.lock, take_over=False)
    assert _stop(made) == ExitStatus.NOT_FINISHED
    asked, waited = caplog.messages
    assert "to stop and to release 1 allocation; it reads the request every " in asked
    assert waited.endswith("its controller is still ending 0 of 0 live trial(s), and releasing 1 allocation")


def test_without_a_controller_stop_releases_allocations(
    made: Any, workforce: AgentBuilder, control: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name = workforce.allocate()

    def release() -> None:
        made.write(Stopped)
        workforce.end_allocation(name, "CANCELLED", at=9)

    assert control(release) == []
    assert _stop(made) == ExitStatus.DONE
    begun, ended = caplog.messages
    assert begun.endswith("ending 0 live trial(s) from this process, and releasing 1 allocation")
    assert ended.endswith(": stopped; 0 trial(s) were ended, 1 allocation released")


@pytest.mark.parametrize("entry", [(Stopped, {}), (Finished, {"reason": "its 12h are over", "by_deadline": True})])
def test_stop_releases_what_a_campaign_that_is_over_still_holds(
    made: Any, workforce: AgentBuilder, control: Any, caplog: pytest.LogCaptureFixture, entry: Any
) -> None:
    name = workforce.allocate()
    made.write(entry[0], **entry[1])
    calls = control(lambda: None)
    assert _stop(made) == ExitStatus.NOT_FINISHED
    assert calls == [False]
    assert "but 1 allocation not yet released; again: " in caplog.messages[-1]
    workforce.end_allocation(name, "CANCELLED", at=9)
    assert _stop(made) == ExitStatus.DONE
    assert caplog.messages[-1].endswith(" already")
    assert len(calls) == 1


def test_agents_that_do_not_answer_keep_no_campaign_from_stopping(
    made: Any, workforce: AgentBuilder, control: Any, caplog: pytest.LogCaptureFixture
) -> None:
    [agent] = workforce.join("n1", job="by hand")
    made.write(Stopped)
    assert control(lambda: None) == []
    assert _stop(made) == ExitStatus.DONE
    assert caplog.messages[-1].endswith("0 trial(s) were ended, 1 agent dismissed, without an answer so far")
    workforce.leave(agent, reason="lost", at=9)
    assert _stop(made) == ExitStatus.DONE
    assert caplog.messages[-1].endswith(": is stopped already")


def test_a_first_interrupt_says_what_is_released(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    signals = foreground_controller._Signals()
    signals.interrupts = 1
    foreground_controller._acknowledge(signals, 3, "2 allocations")
    foreground_controller._acknowledge(signals, 3, "")
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "stopping: 3 live trial(s) are being ended, and 2 allocations released",
        "stopping: 3 live trial(s) are being ended",
    ]


def test_a_controller_that_leaves_says_what_stays(made: Any, workforce: AgentBuilder, caplog: Any) -> None:
    name = workforce.allocate()
    [agent] = workforce.join("n1", allocation=name)
    workforce.run(0, [agent])
    output = run._finish(made.directory, Phase.RUNNING, Outcome(Phase.RUNNING, interrupted=False, live=1, cancelled=0))
    assert output.exit_status == ExitStatus.NOT_FINISHED
    assert (
        "left; 1 live trial(s) run on; kept: 1 allocation; idle agents end after 15m without a " in caplog.messages[-1]
    )


def test_a_detached_controller_has_started_with_its_first_allocation(made: Any, workforce: AgentBuilder) -> None:
    workforce.allocate(job=None)
    assert not detach._has_started(made.directory)
    workforce.allocate(2, job="4712")
    assert detach._has_started(made.directory)


def test_a_detached_controller_does_not_wait_for_agents(campaign: Build) -> None:
    assert detach._has_started(campaign(scheduler__kind="agents").directory)
    assert not detach._has_started(campaign("other").directory)


def test_the_command_for_agents_is_said_at_the_start(
    campaign: Build, caplog: pytest.LogCaptureFixture, made: Any
) -> None:
    by_hand = campaign("by-hand", scheduler__kind="agents")
    run._explain_agents(made.directory)
    run._explain_agents(by_hand.directory)
    [message] = caplog.messages
    assert message.startswith("trials run on agents, and this campaign submits none; start one on each node: ")
    assert message.endswith(f"agent {by_hand.path}")


@pytest.fixture
def stepped(made: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces the controller of `tick`; one number for each step."""
    steps: list[int] = []

    class Controller:
        directory, settings = made.directory, made.directory.settings
        live_attempts: dict[Any, Any] = {}
        busy, deadline = True, None

        def __init__(self, *_: Any, **__: Any) -> None:
            self.state = read_state(made.directory)

        def tick(self) -> Phase:
            steps.append(1)
            return self.state.phase

        def close(self) -> None:
            pass

    monkeypatch.setattr(tick, "Controller", Controller)
    monkeypatch.setattr(tick, "restrict_umask", lambda _: None)
    return steps


def test_a_step_tells_of_allocations_and_agents(
    made: Any, workforce: AgentBuilder, stepped: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    workforce.join("n1", "n2", allocation=workforce.allocate())
    assert tick.step_campaign(made.path, take_over=False).exit_status == ExitStatus.NOT_FINISHED
    assert stepped == [1]
    words = "running, 0 running, 0 ended; 1 of 1 allocation, 2 agents, 16 slots: 0 at work, 16 idle"
    assert caplog.messages[-1].endswith(words)


def test_steps_go_on_until_a_finished_campaign_has_released_all(
    made: Any, workforce: AgentBuilder, stepped: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    name = workforce.allocate()
    made.write(Finished, reason="its 12h are over", by_deadline=True)
    assert tick.step_campaign(made.path, take_over=False).exit_status == ExitStatus.NOT_FINISHED
    assert caplog.messages[-1].endswith("finished, 0 running, 0 ended; releasing 1 allocation")
    workforce.end_allocation(name, "CANCELLED", at=9)
    assert tick.step_campaign(made.path, take_over=False).exit_status == ExitStatus.DONE
    assert stepped == [1]
