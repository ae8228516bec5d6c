"""What `status` says of allocations, agents and placed attempts."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from agent_builder import AgentBuilder
from aiperf_orch.commands import status
from aiperf_orch.commands.status import show_status
from aiperf_orch.records.journal import Finished, Submitting
from aiperf_orch.schedulers.base import JobState, JobStatus
from aiperf_orch.util.errors import SchedulerUnreachableError
from terminal import in_terminal

_NOW = 7200  # campaigns of the fixture began two hours ago
Build = Callable[..., Any]


@pytest.fixture
def made(campaign: Build) -> Any:
    """A campaign on agents that are started by hand."""
    return campaign(campaign__duration="12h", campaign__concurrency=16, scheduler__kind="agents")


@pytest.fixture
def workforce(made: Any) -> AgentBuilder:
    return AgentBuilder(made)


@pytest.fixture
def on_slurm(campaign: Build) -> Any:
    return campaign(
        campaign__duration="12h",
        scheduler__kind="slurm",
        scheduler__allocations={"nodes": 2, "time_limit": "12h"},
    )


def _table(made: Any) -> str:
    return show_status(made.path, "table").text


def _document(made: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(show_status(made.path, "json").text)
    return found


def _agents(made: Any) -> dict[str, dict[str, Any]]:
    return {row["agent"]: row for row in _document(made)["agents"]}


def _trial(made: Any, trial: int = 0) -> dict[str, Any]:
    row: dict[str, Any] = _document(made)["trials"][trial]
    return row


def _row(text: str, first: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.strip().startswith(f"{first} ")]
    return line.split()


def test_an_agent_at_work_tells_its_slots_and_trials(made: Any, workforce: AgentBuilder) -> None:
    [agent] = workforce.join("n1", at=0, ends_at=11.5 * 3600)
    for trial in range(4):
        workforce.run(trial, [agent], slot=trial, at=10)
    workforce.place(4, agent)
    workforce.beat(agent, at=_NOW - 3)
    row = _agents(made)["n1.1"]
    assert (row["state"], row["host"], row["slots"], row["at_work"], row["waiting"]) == ("AT WORK", "n1", 8, 4, 1)
    assert [(each["trial"], each["slot"]) for each in row["attempts"]] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert row["left"] == pytest.approx(9.5 * 3600, abs=60)
    assert row["silent_for"] == pytest.approx(3, abs=60)
    assert row["why"] is None
    text = _table(made)
    assert _row(text, "n1.1")[1:6] == ["AT", "WORK", "4/8", "1", "0-3"]
    assert "agents     1 AT WORK\n" in text
    assert "slots      8: 4 at work, 4 idle; 9h" in text


@pytest.mark.parametrize(
    ("seconds_ago", "state", "why"),
    [(5, "IDLE", None), (100, "SILENT", "lost after 3m"), (400, "SILENT", "lost after 3m")],
)
def test_an_agent_without_a_sign_of_life_is_silent(
    made: Any, workforce: AgentBuilder, seconds_ago: float, state: str, why: str | None
) -> None:
    [agent] = workforce.join("n1")
    workforce.beat(agent, at=_NOW - seconds_ago)
    row = _agents(made)[agent]
    assert (row["state"], row["why"]) == (state, why)
    assert row["silent_for"] == pytest.approx(seconds_ago, abs=40)


def test_the_clock_of_a_node_that_is_ahead_hides_no_silence(made: Any, workforce: AgentBuilder) -> None:
    [agent] = workforce.join("n1", clock_skew=3600.0)
    workforce.beat(agent, at=_NOW + 3600 - 100)
    assert _agents(made)[agent]["state"] == "SILENT"


def test_tables_of_agents_and_allocations_fit_80_columns(made: Any, workforce: AgentBuilder) -> None:
    first = workforce.allocate(nodes=1194, job="1234567")
    workforce.allocate(2, nodes=1194, job="1234568", after=first)
    agents = workforce.join("frontier01234", "frontier01235", allocation=first, ends_at=13.7 * 3600)
    for trial in range(1000, 1016):
        workforce.run(trial, [agents[trial % 2]], slot=trial % 1000 // 2)
    for agent in agents:
        workforce.beat(agent, at=_NOW - 14)
    _, seen = in_terminal(sys.executable, "-m", "aiperf_orch.cli", "status", str(made.path), columns=80)
    lines = seen.partition("progress")[2].splitlines()
    assert "agents      2 AT WORK" in lines
    assert "1000 1002 …" in seen
    assert [line for line in lines if len(line) > 80] == []


def test_an_agent_that_no_controller_has_seen_is_joining(made: Any, workforce: AgentBuilder) -> None:
    workforce.begin("n1", at=_NOW - 5)
    made.directory.agent_folder("n2.1").mkdir()
    agents = _agents(made)
    assert (agents["n1.1"]["state"], agents["n1.1"]["slots"]) == ("JOINING", 8)
    assert (agents["n2.1"]["state"], agents["n2.1"]["why"]) == ("JOINING", "no begin line yet")
    assert _row(_table(made), "n2.1")[:3] == ["n2.1", "JOINING", "-"]


def test_an_agents_own_end_and_its_recorded_end(made: Any, workforce: AgentBuilder) -> None:
    one, two = workforce.join("n1", "n2")
    workforce.end(one, "time limit", at=100)
    workforce.leave(two, reason="killed", at=200, message="n2.2 follows it")
    agents = _agents(made)
    assert (agents[one]["state"], agents[one]["why"]) == ("TIME LIMIT", "not yet recorded by a controller")
    assert (agents[two]["state"], agents[two]["why"], agents[two]["at_work"]) == ("KILLED", "n2.2 follows it", 0)


def test_files_of_an_agent_that_cannot_be_read_are_said(made: Any, workforce: AgentBuilder) -> None:
    one, two = workforce.join("n1", "n2")
    made.directory.agent_log(one).write_text("{}\n")
    for path in sorted(made.directory.agent_folder(two).iterdir()):
        path.unlink()
    made.directory.agent_folder(two).rmdir()
    agents = _agents(made)
    assert agents[one]["state"] == "UNKNOWN"
    assert "agent.jsonl:1: " in agents[one]["why"]
    assert (agents[two]["state"], agents[two]["why"]) == ("SILENT", "its folder is not visible here")


def _placed(_: AgentBuilder, _agent: str, _name: str) -> None:
    pass


def _started(workforce: AgentBuilder, agent: str, name: str) -> None:
    workforce.start(agent, name, slot=3)


def _begun(workforce: AgentBuilder, agent: str, name: str) -> None:
    workforce.start(agent, name, slot=3)
    workforce.made.events(workforce.made.begin(5))


def _exited(workforce: AgentBuilder, agent: str, name: str) -> None:
    workforce.start(agent, name, slot=3)
    workforce.exit(agent, name, at=9, signal=9)


def _refused(workforce: AgentBuilder, agent: str, name: str) -> None:
    workforce.exit(agent, name, at=9, started=False, message="the specification differs")


def _returned(workforce: AgentBuilder, agent: str, name: str) -> None:
    workforce.exit(agent, name, at=9, started=False, agent_ends=True, message="the allocation's time is nearly over")


def _left_behind(workforce: AgentBuilder, agent: str, _name: str) -> None:
    workforce.end(agent, "time limit", at=9)


def _lost(workforce: AgentBuilder, agent: str, name: str) -> None:
    workforce.start(agent, name, slot=3)
    workforce.leave(agent, reason="lost", at=300)


@pytest.mark.parametrize(
    ("happened", "state", "slot", "why"),
    [
        (_placed, "PENDING", None, "waits for a slot of n1.1"),
        (_started, "SUBMITTED", 3, None),
        (_begun, "RUNNING", 3, None),
        (_exited, "SUBMITTED", 3, "its process has ended: signal 9; not yet recorded by a controller"),
        (
            _refused,
            "SUBMITTED",
            None,
            "it did not start: the specification differs; not yet recorded by a controller",
        ),
        (_returned, "PENDING", None, "waits for another agent: n1.1 ended before it started"),
        (_left_behind, "PENDING", None, "waits for another agent: n1.1 ended before it started"),
        (_lost, "SUBMITTED", 3, "its agent n1.1 was lost"),
    ],
)
def test_a_placed_attempt_has_agent_and_slot(
    made: Any, workforce: AgentBuilder, happened: Any, state: str, slot: int | None, why: str | None
) -> None:
    [agent] = workforce.join("n1")
    happened(workforce, agent, workforce.place(0, agent))
    row = _trial(made)
    assert (row["state"], row["agent"], row["slot"], row["why"]) == (state, "n1.1", slot, why)


def test_an_attempt_that_is_not_placed_yet_waits(made: Any) -> None:
    made.write(Submitting, attempts=[made.attempt_record(0, 1)])
    row = _trial(made)
    assert (row["state"], row["agent"], row["why"]) == ("PENDING", None, "not placed on an agent yet")


def test_an_attempt_says_that_no_allocation_is_left(campaign: Build) -> None:
    allocations = {"nodes": 2, "time_limit": "1h", "total": 1}
    made = campaign(campaign__duration="12h", scheduler__kind="slurm", scheduler__allocations=allocations)
    workforce = AgentBuilder(made)
    allocation = workforce.allocate(nodes=2)
    [agent] = workforce.join("n1", allocation=allocation)
    name = workforce.place(0, agent)
    made.write(Submitting, attempts=[made.attempt_record(1, 1)])
    assert (_trial(made, 0)["why"], _trial(made, 1)["why"]) == (
        "waits for a slot of n1.1",
        "not placed on an agent yet",
    )
    workforce.exit(agent, name, at=9, started=False, agent_ends=True, message="the allocation's time is nearly over")
    workforce.leave(agent, reason="time limit", at=9)
    workforce.end_allocation(allocation, "TIME_LIMIT", at=10)
    for trial in (0, 1):
        row = _trial(made, trial)
        assert row["state"] == "PENDING"
        assert row["why"].startswith("no further trial can start: the only allocation that the campaign may have ")


def test_a_trial_of_several_nodes_waits_for_all_of_them(made: Any, workforce: AgentBuilder) -> None:
    agents = workforce.join("n1", "n2")
    name = workforce.place(0, *agents)
    assert _trial(made)["why"] == "waits for a slot of n1.1, n2.1"
    for agent in agents:
        workforce.start(agent, name)
    assert (_trial(made)["state"], _trial(made)["agent"]) == ("SUBMITTED", "n1.1,n2.1")
    workforce.exit(agents[0], name, at=9, status=0)
    assert _trial(made)["why"] is None
    workforce.exit(agents[1], name, at=9, status=1)
    assert _trial(made)["why"] == "its process has ended: exit status 1; not yet recorded by a controller"


def test_tables_of_placed_trials_have_the_same_rows_in_each_format(made: Any, workforce: AgentBuilder) -> None:
    [agent] = workforce.join("n1")
    workforce.run(0, [agent], slot=5)
    [row] = csv.DictReader(io.StringIO(show_status(made.path, "csv").text))
    assert (row["job"], row["agent"], row["slot"], row["host"]) == ("4711", "n1.1", "5", "n1")
    header, line = _table(made).partition("\n\ntrial ")[2].splitlines()
    assert header.split() == ["state", "epoch", "error", "network", "parent", "attempts", "agent:slot", "why"]
    assert line.split()[-2:] == ["n1.1:5", "-"]


def test_a_campaign_that_is_over_counts_no_slots(made: Any, workforce: AgentBuilder) -> None:
    [agent] = workforce.join("n1")
    assert "\nslots  " in _table(made)
    made.write(Finished, reason="its 12h are over", by_deadline=True)
    workforce.end(agent, "dismissed", at=9)
    text = _table(made)
    assert "\nslots  " not in text
    assert "agents     1 DISMISSED\n" in text


def test_without_agents_the_command_to_start_one_is_shown(made: Any) -> None:
    text = _table(made)
    assert "agents     none yet; start one on each node: " in text
    assert text.partition("none yet; ")[2].splitlines()[0].endswith(f"agent {made.path}")
    assert text.endswith("no trials yet\n")


def test_a_campaign_of_jobs_has_no_agents(campaign: Build) -> None:
    made = campaign()
    made.submit()
    text = _table(made)
    assert "agent" not in text
    assert "job  host  why" in text
    assert not {"agents", "allocations"} & _document(made).keys()


def test_status_of_a_thousand_agents_is_short(made: Any, workforce: AgentBuilder) -> None:
    agents = workforce.join(*(f"n{number}" for number in range(1194)))
    for agent in agents[:1190]:
        workforce.beat(agent, at=_NOW)
    workforce.leave(agents[1193], reason="lost", at=9, message="no sign of life for 3m")
    for trial in range(100):
        workforce.run(trial, [agents[trial]])
    text = _table(made)
    assert "1,090 IDLE, 100 AT WORK, 3 SILENT, 1 LOST" in text
    assert "4 of 1,194 agents: --format json has all\n" in text
    assert [line.split()[0] for line in text.splitlines() if "SILENT  " in line] == agents[1190:1193]
    assert "60 more trials at work: --format csv has all\n" in text
    assert len(text.splitlines()) < 70
    assert len(_document(made)["agents"]) == 1194


def _queue(monkeypatch: pytest.MonkeyPatch, *statuses: JobStatus) -> list[Any]:
    asked: list[Any] = []

    def query(names: Any) -> dict[str, JobStatus]:
        asked.append(names)
        return {each.name: each for each in statuses}

    monkeypatch.setattr(status, "make_scheduler", lambda _: SimpleNamespace(query=query))
    return asked


def test_allocations_have_their_state_in_the_queue(on_slurm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    workforce = AgentBuilder(on_slurm)
    old = workforce.allocate(1, at=-5000, job="4710")
    workforce.end_allocation(old, "time limit", at=-100)
    first = workforce.allocate(2, at=0)
    second = workforce.allocate(3, at=60, job="4712", after=first)
    [agent] = workforce.join("n1", allocation=first, at=600)
    workforce.run(0, [agent])
    asked = _queue(
        monkeypatch,
        JobStatus(first, "4711", JobState.RUNNING, running_for=6600.0),
        JobStatus(second, "4712", JobState.PENDING, "Priority: jobs of higher priority"),
    )
    rows = {row["allocation"]: row for row in _document(on_slurm)["allocations"]}
    assert asked == [[first, second]]
    assert (rows[old]["state"], rows[old]["why"], rows[old]["left"]) == ("ENDED", "time limit", None)
    assert (rows[first]["state"], rows[first]["nodes"], rows[first]["agents"]) == ("RUNNING", 2, 1)
    assert rows[first]["left"] == pytest.approx(12 * 3600 - 6600, abs=60)
    assert (rows[second]["state"], rows[second]["job"]) == ("PENDING", "4712")
    assert rows[second]["why"] == f"Priority: jobs of higher priority, after {first}"
    text = _table(on_slurm)
    assert "allocations 1 ENDED, 1 RUNNING, 1 PENDING\n" in text
    assert _row(text, first)[1:5] == ["RUNNING", "4711", "2", "1"]


def test_a_queue_that_does_not_answer_hides_no_allocation(on_slurm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    workforce = AgentBuilder(on_slurm)
    first = workforce.allocate(1)
    workforce.allocate(2, job="4712", after=first)
    workforce.allocate(3, job=None)
    workforce.join("n1", allocation=first)

    def query(_: Any) -> None:
        raise SchedulerUnreachableError("squeue timed out")

    monkeypatch.setattr(status, "make_scheduler", lambda _: SimpleNamespace(query=query))
    document = _document(on_slurm)
    assert document["queue"] == "could not be queried: squeue timed out"
    assert [(row["state"], row["why"]) for row in document["allocations"]] == [
        ("RUNNING", None),
        ("SUBMITTED", f"after {first}"),
        ("SUBMITTED", "the scheduler has not answered yet"),
    ]


def test_on_one_machine_the_agent_is_shown_without_its_allocation(campaign: Build) -> None:
    made = campaign(campaign__duration="12h", scheduler__job_per_trial=False)
    workforce = AgentBuilder(made)
    [agent] = workforce.join("box", allocation=workforce.allocate(nodes=1), slots=2)
    workforce.run(0, [agent], slot=1)
    text = _table(made)
    assert "allocation" not in text
    assert _row(text, "0")[-2] == "box.1:1"
    assert len(_document(made)["allocations"]) == 1
