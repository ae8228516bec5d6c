"""A real agent: starts, exits, orders, and its ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.running_agent import RunningAgent, is_gone
from aiperf_orch.campaign.agent_files import HeartbeatReader, OrderWriter, agent_names, follow_log
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.campaign.journal import Journal
from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.records.agents import AgentBegin, AgentEnd, Dismiss
from aiperf_orch.records.journal import Finished
from waiting import wait_for

A, B, C = "tag-00000-1", "tag-00001-1", "tag-00002-1"


def test_an_attempt_runs_in_its_folder_and_its_exit_is_recorded(agent: RunningAgent) -> None:
    agent.place_script(A, "pwd; echo error >&2; exit 3")
    assert agent.exited(A).status == 3
    assert agent.log(A).splitlines() == [str(agent.directory.jobs_folder / A), "error"]
    agent.place_script(B, "kill -SEGV $$")
    assert (agent.exited(B).status, agent.exited(B).signal) == (None, signal.SIGSEGV)
    agent.place(C, ["/does/not/exist"])
    assert agent.exited(C).status == 127
    assert "/does/not/exist: cannot be run" in agent.log(C)
    agent.dismiss()
    assert agent.ended().reason == "dismissed"
    assert agent.process.returncode == 0


def test_an_attempt_leads_a_session_on_the_cores_of_its_slot(agent: RunningAgent) -> None:
    script = "echo $$ $(ps -o sid= -p $$); taskset -pc $$; env; exec sleep 60"
    agent.place_script(A, script)
    agent.place_script(B, script)
    cores = []
    for name in (A, B):
        lines = agent.wait_output(name, "AIPERF_ORCH_SLOT").splitlines()
        started = agent.started(name)
        assert lines[0].split() == [str(started.pid)] * 2
        cores.append(lines[1].rpartition(": ")[2])
        variables = dict(line.split("=", 1) for line in lines[2:] if "=" in line)
        assert variables["AIPERF_ORCH_SLOT"] == str(started.slot)
        assert variables["AIPERF_ORCH_AGENT"] == agent.name
        assert variables["AIPERF_ORCH_HOSTS"] == agent.begin.host
    if os.cpu_count() != 1:
        assert cores[0] != cores[1]


def test_attempts_start_in_the_order_of_their_placement(agent: RunningAgent, tmp_path: Path) -> None:
    for name in (A, B, C):
        agent.place_script(name, f"echo {name} >> {tmp_path}/order; sleep 0.2", at_once=1)
    assert agent.exited(C).status == 0
    assert (tmp_path / "order").read_text().split() == [A, B, C]
    slots = [agent.started(name).slot for name in (A, B, C)]
    assert slots == [0, 0, 0]
    assert agent.exited(A).time <= agent.started(B).time


def test_stop_ends_running_and_waiting_attempts(agent: RunningAgent) -> None:
    agent.place_script(A, "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.05; done", at_once=1)
    agent.place_script(B, "true", at_once=1)
    agent.wait_output(A, "ready")
    agent.stop(B)
    assert agent.exited(B).started is False
    agent.stop(A)
    assert agent.exited(A).status == 5
    assert "asked" in agent.log(A)
    assert not agent.has_started(B)


def test_a_forced_stop_kills_what_ignores_the_request(agent: RunningAgent) -> None:
    agent.place_script(A, "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done")
    agent.wait_output(A, "ready")
    agent.stop(A)
    agent.wait_output(A, "asked")
    agent.stop(A, force=True)
    assert agent.exited(A).signal == signal.SIGKILL


def test_processes_that_an_attempt_leaves_are_killed_before_its_exit(agent: RunningAgent) -> None:
    agent.place_script(A, "sleep 1000 & echo $!; (setsid sleep 1000 & echo $!); echo done")
    agent.exited(A)
    left = [int(word) for word in agent.log(A).split() if word.isdigit()]
    assert len(left) == 2
    assert all(is_gone(pid) for pid in left)


def test_a_dismissed_agent_ends_after_its_last_attempt(agent: RunningAgent, tmp_path: Path) -> None:
    agent.place_script(A, f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done", at_once=1)
    agent.place_script(B, "true", at_once=1)
    agent.started(A)
    agent.dismiss()
    assert agent.exited(B).started is False
    assert agent.process.poll() is None
    (tmp_path / "go").touch()
    assert agent.ended().reason == "dismissed"
    assert agent.exited(A).status == 0


def test_a_terminated_agent_ends_its_attempts(agent: RunningAgent) -> None:
    agent.place_script(A, "trap 'exit 4' TERM; echo ready; while :; do sleep 0.05; done", at_once=1)
    agent.place_script(B, "true", at_once=1)
    agent.wait_output(A, "ready")
    agent.process.terminate()
    assert agent.ended().reason == "terminated"
    assert agent.process.returncode == 0
    assert (agent.exited(A).status, agent.exited(A).message) == (4, "the agent was terminated by SIGTERM")
    assert agent.exited(B).started is False


def test_an_agent_by_hand_ends_by_an_interrupt(directory: CampaignDirectory) -> None:
    with RunningAgent(directory, "--time-limit", "1h", module="aiperf_orch.cli agent") as agent:
        agent.place_script(A, "echo ready; exec sleep 60")
        agent.wait_output(A, "ready")
        assert agent.begin.ends_at is not None
        agent.process.send_signal(signal.SIGINT)
        assert agent.ended().reason == "terminated"
        assert agent.exited(A).signal == signal.SIGTERM
        assert agent.process.returncode == 0
        assert "Traceback" not in agent.output.read_text()


def test_an_agent_kills_what_does_not_end_in_time(make_campaign: Callable[..., CampaignDirectory]) -> None:
    directory = make_campaign(scheduler__advanced={"stop_grace": "500ms"})
    with RunningAgent(directory, "--slots", "1") as agent:
        agent.place_script(A, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
        agent.wait_output(A, "ready")
        agent.process.terminate()
        assert agent.ended().reason == "terminated"
        assert agent.exited(A).signal == signal.SIGKILL


def test_orders_of_another_controller_are_not_obeyed(agent: RunningAgent) -> None:
    agent.place_script(A, "echo ready; sleep 60", at_once=1)
    agent.place_script(B, "echo ran", at_once=1)
    agent.wait_output(A, "ready")
    holder = read_holder(agent.directory.lock)
    assert holder is not None
    replace_file(agent.directory.lock, holder.model_copy(update={"generation": 2}).to_line().encode())
    agent.stop(A)  # in the same generation as before: what runs is not affected by the lock
    exited = agent.exited(B)
    assert (exited.started, agent.log(B)) == (False, "")
    assert "another controller" in exited.message
    agent.generation = 2
    agent.place_script(C, "echo ran")
    assert agent.exited(C).status == 0
    agent.generation = 1
    agent.orders.append(Dismiss, reason="by the old controller")
    agent.generation = 2
    agent.place_script(B, "echo ran")
    wait_for(lambda: agent.log(B) == "ran\n", "the attempt ran, since the old controller's dismissal was ignored")


def test_an_attempt_with_another_specification_does_not_start(agent: RunningAgent, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text("{}")
    agent.place_script(A, "true", spec=str(spec), spec_sha256="0" * 64)
    exited = agent.exited(A)
    assert exited.started is False
    assert "its SHA-256 is not the one" in exited.message


def test_orders_that_cannot_be_understood_end_the_agent(agent: RunningAgent) -> None:
    with agent.directory.agent_orders(agent.name).open("a") as orders:
        orders.write('{"type":"dance"}\n')
    end = agent.ended()
    assert end.reason == "failed"
    assert "orders.jsonl:1" in end.message
    assert agent.process.returncode == 1


def test_the_heartbeat_goes_on(make_campaign: Callable[..., CampaignDirectory]) -> None:
    directory = make_campaign(scheduler__advanced={"lost_after": "200ms"})
    with RunningAgent(directory) as agent:
        reader = HeartbeatReader(directory.agent_heartbeat(agent.name))
        for _ in range(3):
            wait_for(reader.read, "the heartbeat has changed")


def test_an_idle_agent_without_a_controller_ends(make_campaign: Callable[..., CampaignDirectory]) -> None:
    directory = make_campaign(scheduler__advanced={"wait_for_controller": "3s"})
    with RunningAgent(directory, "--slots", "1") as agent:
        agent.place_script(A, "sleep 4")
        agent.exited(A)  # an attempt is no reason to end
        assert agent.process.poll() is None
        assert agent.ended().reason == "no controller"


def test_before_the_end_of_the_allocation_trials_are_warned(make_campaign: Callable[..., CampaignDirectory]) -> None:
    directory = make_campaign(scheduler__advanced={"warn_before": "2s"})
    with RunningAgent(
        directory, "--slots", "1", environment={"SLURM_JOB_END_TIME": str(int(time.time()) + 15)}
    ) as agent:
        agent.place_script(A, "trap 'echo warned; exit 6' USR1; echo ready; while :; do sleep 0.05; done")
        agent.place_script(B, "true")
        agent.wait_output(A, "ready")
        assert agent.exited(B).started is False
        assert not [line for line in agent.log(A).splitlines() if line == "warned"]
        assert agent.exited(A).status == 6
        assert agent.ended().reason == "time limit"
        assert agent.process.returncode == 0


@pytest.mark.long
def test_what_ignores_the_warning_is_ended_before_the_allocation(
    make_campaign: Callable[..., CampaignDirectory],
) -> None:
    directory = make_campaign(scheduler__advanced={"warn_before": "2s"})
    with RunningAgent(directory, "--slots", "1", "--ends-at", str(time.time() + 14)) as agent:
        agent.place_script(A, "trap '' USR1 TERM; echo ready; while :; do sleep 0.05; done")
        agent.wait_output(A, "ready")
        assert agent.ended().reason == "time limit"
        assert agent.exited(A).signal == signal.SIGKILL
        assert agent.exited(A).message == "the allocation's time is nearly over"


def test_several_agents_start_their_ranks_of_one_trial(make_campaign: Callable[..., CampaignDirectory]) -> None:
    directory = make_campaign(scheduler__nodes=2)
    hosts = {"AIPERF_ORCH_HOSTS": "n1,n2", "AIPERF_ORCH_JOB_ID": "77"}
    with (
        RunningAgent(directory, environment=hosts | {"AIPERF_ORCH_RANK": "0"}) as first,
        RunningAgent(directory, environment=hosts | {"AIPERF_ORCH_RANK": "1"}) as second,
    ):
        both = {"agents": [first.name, second.name], "hosts": ["n1", "n2"]}
        assert both["agents"] == ["n1.1", "n2.1"]
        for rank, agent in enumerate((first, second)):
            assert (agent.begin.job, agent.begin.slots) == ("77", 1)
            agent.place_script(A, f"echo $AIPERF_ORCH_RANK of $AIPERF_ORCH_HOSTS >> rank{rank}", **both)
            assert agent.exited(A).status == 0
            assert (directory.jobs_folder / A / f"rank{rank}").read_text() == f"{rank} of n1,n2\n"


def test_orders_are_read_before_an_attempt_starts(make_campaign: Callable[..., CampaignDirectory]) -> None:
    directory = make_campaign(scheduler__poll_interval="5s")  # an agent without a free slot reads its orders seldom
    with RunningAgent(directory, "--slots", "1") as agent:
        agent.place_script(A, "echo ready; while [ ! -e go ]; do sleep 0.05; done", at_once=1)
        agent.place_script(B, "echo ran", at_once=1)
        agent.wait_output(A, "ready")
        holder = read_holder(directory.lock)
        assert holder is not None
        replace_file(directory.lock, holder.model_copy(update={"generation": 2}).to_line().encode())
        agent.generation = 2
        agent.place_script(B, "echo ran", at_once=1, renews=True)  # by the controller that has taken over
        (directory.jobs_folder / A / "go").touch()
        exited = agent.exited(B)
        assert (exited.started, exited.message) == (True, "")


def test_an_agent_that_was_lost_joins_again_under_another_name(agent: RunningAgent) -> None:
    agent.place_script(A, "echo ready; sleep 1000")
    pid = agent.started(A).pid
    agent.stop(A, force=True)
    agent.orders.append(Dismiss, reason="it was silent", again=True)
    name = f"{agent.begin.host}.2"
    wait_for(lambda: name in agent_names(agent.directory), "the same process has joined again")
    assert is_gone(pid)
    lines = wait_for(lambda: follow_log(agent.directory, name).read_on(), "it has written its begin line")
    assert isinstance(lines[0], AgentBegin)
    assert (lines[0].pid, lines[0].slots, lines[0].predecessor) == (agent.process.pid, 2, None)
    assert isinstance(agent.lines[-1], AgentEnd)
    agent.name, agent.orders = name, OrderWriter(agent.directory, name, lambda: 1)
    agent.place_script(B, "true")
    assert agent.exited(B).status == 0
    agent.dismiss()
    assert agent.ended().reason == "dismissed"
    assert agent_names(agent.directory) == [f"{agent.begin.host}.1", name]


def test_an_agent_that_was_lost_does_not_join_a_campaign_that_is_over(agent: RunningAgent) -> None:
    agent.place_script(A, "echo ready; while [ ! -e go ]; do sleep 0.05; done")
    agent.wait_output(A, "ready")
    agent.orders.append(Dismiss, reason="it was silent", again=True)
    journal = Journal(agent.directory.journal, lambda: None, 1)
    journal.append(Finished, reason="the duration is over", by_deadline=True)
    journal.close()
    (agent.directory.jobs_folder / A / "go").touch()
    assert agent.ended().reason == "dismissed"
    assert agent.process.returncode == 0
    assert "no agent joins again: " in agent.output.read_text()
