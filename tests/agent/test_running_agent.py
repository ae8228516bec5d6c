"""A real agent: starts, exits, orders."""

from __future__ import annotations

from agent.running_agent import RunningAgent
from aiperf_orch.records.agents import AgentBegin, AgentEnd


def test_an_attempt_runs_in_its_folder_and_its_exit_is_recorded(agent: RunningAgent) -> None:
    agent.place_script("tag-00000-1", "pwd; echo error >&2; exit 3")
    assert agent.exited("tag-00000-1").status == 3
    folder = agent.directory.jobs_folder / "tag-00000-1"
    assert agent.log("tag-00000-1").splitlines() == [str(folder), "error"]
    agent.dismiss()
    assert agent.ended().reason == "dismissed"
    assert agent.process.returncode == 0
    assert isinstance(agent.lines[0], AgentBegin)
    assert isinstance(agent.lines[-1], AgentEnd)
