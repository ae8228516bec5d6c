"""Trials that an agent forks from its template process, in simulated campaigns and on the digits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.running_agent import RunningAgent, is_gone
from aiperf_orch.agent import template_client
from aiperf_orch.agent.processes import environment_of, process_info, process_table
from aiperf_orch.agent.template_client import TemplateClient
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch, event_adapter
from aiperf_orch.schedulers.base import trial_command
from aiperf_orch.util.units import now
from waiting import wait_for

Event = Begin | Epoch | End


class Trial:
    """The first trial of a campaign, whose attempts are placed on an agent."""

    def __init__(self, directory: CampaignDirectory) -> None:
        self.directory = directory
        self.sha256 = directory.write_spec(SearchAdapter(directory, []).propose(0, CampaignState())[0])

    def place(self, agent: RunningAgent, attempt: int = 1, python: str | None = None) -> str:
        name = self.directory.attempt_name(0, attempt)
        spec = self.directory.spec(0)
        command = trial_command(python, spec, attempt, now())
        agent.place(name, list(command), spec=str(spec), spec_sha256=self.sha256)
        return name

    def events(self, attempt: int = 1) -> list[Event]:
        path = self.directory.events(0, attempt, 0)
        lines = path.read_text().splitlines() if path.exists() else []
        return [event_adapter.validate_json(line) for line in lines]

    def begin(self, attempt: int = 1) -> Begin:
        """Wait for the begin line of an attempt."""
        begin = wait_for(lambda: self.events(attempt), f"attempt {attempt} has begun")[0]
        assert isinstance(begin, Begin)
        return begin

    def end(self, attempt: int = 1) -> End:
        """The end line of an attempt that is over."""
        end = self.events(attempt)[-1]
        assert isinstance(end, End)
        return end


def template_of(agent: RunningAgent) -> int:
    """Wait for the template process of an agent that is ready; returns its process id."""
    agent.wait_ready()
    children = [info for info in process_table().values() if info.parent == agent.process.pid]
    found = [info.pid for info in children if info.session != info.pid]  # trials lead sessions of their own
    assert len(found) == 1
    assert b"aiperf_orch.trial.template" in Path(f"/proc/{found[0]}/cmdline").read_bytes()
    return found[0]


@pytest.fixture
def slow(make_campaign: Callable[..., CampaignDirectory]) -> Callable[..., Trial]:
    """Makes a simulated trial of long epochs."""

    def make(seconds: float = 0.3, **changes: Any) -> Trial:
        simulated = {"epoch_seconds": seconds}
        return Trial(make_campaign(training__warmup_epochs=[50], training__simulated=simulated, **changes))

    return make


def test_a_simulated_trial_knows_its_slot_and_runs_to_its_end(make_campaign: Callable[..., CampaignDirectory]) -> None:
    trial = Trial(make_campaign())
    with RunningAgent(trial.directory, "--slots", "2", "--allocation", "tag-a00001") as agent:
        name = trial.place(agent)
        exited = agent.exited(name)
        assert (exited.status, exited.signal, exited.message) == (0, None, "")
        begin, started = trial.begin(), agent.started(name)
        assert (begin.agent, begin.allocation, begin.slot) == (agent.name, "tag-a00001", started.slot)
        assert (begin.started, begin.job, begin.hosts) == (started.time, "by hand", [agent.begin.host])
        assert trial.end().reason is EndReason.COMPLETED
        assert "epoch 2" in agent.log(name)


def test_a_forked_trial_is_like_a_process_of_its_own(slow: Callable[..., Trial]) -> None:
    trial = slow()
    with RunningAgent(trial.directory, "--slots", "1") as agent:
        template = template_of(agent)
        name = trial.place(agent)
        trial.begin()
        pid = agent.started(name).pid
        info = process_info(pid)
        assert info is not None
        assert (info.session, info.parent) == (pid, agent.process.pid)
        assert Path(f"/proc/{pid}/cwd").resolve() == trial.directory.jobs_folder / name
        files = {path.name: str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
        assert [files["1"], files["2"]] == [str(trial.directory.jobs_folder / name / "log")] * 2
        assert not [file for file in files.values() if file.startswith("socket:")]
        assert Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == name
        assert os.sched_getaffinity(pid) == {agent.begin.core_ids[0]}
        assert b"torch" not in Path(f"/proc/{template}/maps").read_bytes()
        agent.stop(name)
        assert agent.exited(name).status == 0
        assert trial.end().reason is EndReason.STOPPED


def test_a_killed_template_costs_no_trial_and_is_replaced(slow: Callable[..., Trial]) -> None:
    trial = slow()
    with RunningAgent(trial.directory, "--slots", "2") as agent:
        first = trial.place(agent, 1)
        trial.begin(1)
        killed = template_of(agent)
        os.kill(killed, signal.SIGKILL)
        second = trial.place(agent, 2)
        trial.begin(2)
        assert is_gone(killed)
        assert not is_gone(agent.started(first).pid)
        for name in (first, second):
            agent.stop(name)
            assert agent.exited(name).status == 0


def test_no_process_of_a_trial_outlives_a_killed_agent(slow: Callable[..., Trial]) -> None:
    trial = slow()
    with RunningAgent(trial.directory, "--slots", "1") as agent:
        name = trial.place(agent)
        trial.begin()
        pids = [template_of(agent), agent.started(name).pid]
        agent.kill()
        wait_for(lambda: all(is_gone(pid) for pid in pids), "template and trial have died with the agent")
    with RunningAgent(trial.directory, "--slots", "1") as successor:
        assert successor.begin.predecessor == agent.name
        assert not [
            pid
            for pid in process_table()
            if environment_of(pid).get("AIPERF_ORCH_AGENT_FOLDER") == str(trial.directory.agent_folder(agent.name))
        ]


def test_without_a_template_trials_are_processes_of_their_own(make_campaign: Callable[..., CampaignDirectory]) -> None:
    trial = Trial(make_campaign(scheduler__python="/does/not/exist"))
    with RunningAgent(trial.directory, "--slots", "1") as agent:
        name = trial.place(agent, python="/does/not/exist")
        assert agent.exited(name).status == 127
        assert "/does/not/exist: cannot be run" in agent.log(name)
        assert "/does/not/exist: cannot be run" in agent.output.read_text()


def test_a_template_that_never_becomes_ready_is_given_up(
    make_campaign: Callable[..., CampaignDirectory], tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *trial.template*) exit 3;; esac\nexec {sys.executable} "$@"\n', encoding="utf-8"
    )
    python.chmod(0o755)
    trial = Trial(make_campaign(scheduler__python=str(python)))
    with RunningAgent(trial.directory, "--slots", "1") as agent:
        name = trial.place(agent, python=str(python))
        assert agent.exited(name).status == 0
        assert trial.end().reason is EndReason.COMPLETED
        assert "no template process can be started" in agent.output.read_text()


def test_a_template_that_has_grown_is_replaced(directory: CampaignDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    client = TemplateClient(directory.settings, os.environ, sys.executable)
    try:
        wait_for(lambda: client.receive() or client.is_ready, "the template process is ready")
        first = client.pids()
        monkeypatch.setattr(template_client, "_memory", lambda _pid: 1 << 40)
        assert client.request(["spec"], {}, [0], 0, 0) is None
        assert not client.is_ready
        wait_for(lambda: client.receive() or client.is_ready, "a new template process is ready")
        second = client.pids()
        assert second != first
        client.close()
        for pid in (*first, *second):
            os.waitpid(pid, 0)
    finally:
        client.close()


@pytest.mark.long
def test_a_warned_trial_saves_a_checkpoint_before_the_allocation_ends(slow: Callable[..., Trial]) -> None:
    trial = slow(0.5, scheduler__advanced={"warn_before": "3s"})
    with RunningAgent(trial.directory, "--slots", "1", "--ends-at", str(time.time() + 18)) as agent:
        name = trial.place(agent)
        assert agent.exited(name).status == 0
        assert trial.end().reason is EndReason.TIME_LIMIT
        assert trial.directory.checkpoint(0).exists()
        assert agent.ended().reason == "time limit"
    with RunningAgent(trial.directory, "--slots", "1") as agent:
        name = trial.place(agent, 2)
        first = wait_for(lambda: trial.events(2)[1:], "the second attempt has trained")[0]
        assert isinstance(first, Epoch)
        assert first.epoch > 1
        agent.stop(name)
        agent.exited(name)


def test_a_trial_trains_on_the_digits_by_a_warm_template(make_campaign: Callable[..., CampaignDirectory]) -> None:
    trial = Trial(make_campaign(training__trainer="torch", training__warmup_epochs=[1], training__epochs=1))
    full = {"TMPDIR": "/proc"}  # nothing can be written there, as on a disk that is full
    with RunningAgent(trial.directory, "--slots", "1", environment=full) as agent:
        template = template_of(agent)
        assert len(list(Path(f"/proc/{template}/task").iterdir())) == 1
        assert b"torch" in Path(f"/proc/{template}/maps").read_bytes()
        name = trial.place(agent)
        assert agent.exited(name).status == 0, agent.log(name)
        assert trial.end().reason is EndReason.COMPLETED
        assert trial.begin().cores == 1
        assert template_of(agent) == template


def test_the_template_imports_all_that_training_needs(make_campaign: Callable[..., CampaignDirectory]) -> None:
    trial = Trial(make_campaign(training__trainer="torch", training__warmup_epochs=[1], training__epochs=1))
    script = """
import os, sys
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
from pathlib import Path
from aiperf_orch.agent.template_client import TemplateClient
from aiperf_orch.campaign.directory import read_spec
from aiperf_orch.trial.template import import_modules
import_modules("torch", "digits")
from aiperf_orch.trial.training.torch_trainer import TorchTrainer
before = set(sys.modules)
trainer = TorchTrainer(read_spec(Path(sys.argv[1]))[0], None, None)
trainer.prepare()
trainer.run_epoch(1, lambda: None)
print(len(set(sys.modules) - before))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-c", script, str(trial.directory.spec(0))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=True)
    assert int(done.stdout) < 20


def test_a_node_without_room_for_processes_returns_attempts(
    slow: Callable[..., Trial], preload: Callable[[str], Path], tmp_path: Path
) -> None:
    full, trial = tmp_path / "full", slow()
    variables = {"LD_PRELOAD": str(preload("no_processes")), "NO_PROCESSES": str(full)}
    with RunningAgent(trial.directory, "--slots", "2", environment=variables) as agent:
        runs = trial.place(agent, 1)
        trial.begin(1)
        full.touch()
        refused = agent.exited(trial.place(agent, 2))
        assert not refused.started
        assert "cannot be forked: Resource temporarily unavailable" in refused.message
        os.kill(template_of(agent), signal.SIGKILL)
        refused = agent.exited(trial.place(agent, 3))
        assert not refused.started
        assert "cannot be started: Resource temporarily unavailable" in refused.message
        full.unlink()
        trial.place(agent, 4)
        trial.begin(4)
        assert not is_gone(agent.started(runs).pid)
