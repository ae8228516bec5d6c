"""Tests of packages of placed campaigns: every history that the controller can write verifies, others are found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import verify
from aiperf_orch.records.journal import SEARCH_EXHAUSTED, Drained, Finished, Opened
from package.package_changes import shift
from package_fixtures import TRUE_SETTINGS, TamperedPackage
from placed_campaign import PlacedCampaignBuilder
from placed_fixtures import SLURM, build_placed_campaign, time_in

_TWO_NODES = {**SLURM, "nodes": 2, "allocations": {"nodes": 3, "time_limit": "1h"}}
Change = Callable[[TamperedPackage], Any]


def _faults(path: Path) -> list[str]:
    return [f"{fault.id} {fault}" for fault in verify(path).faults]


def test_every_history_of_placed_attempts_verifies(placed_package: Path) -> None:
    found = verify(placed_package)
    assert list(map(str, found.faults)) == []
    assert found.result_row is not None
    assert found.result_row["node_hours_given"] > 0


def test_pseudonyms_replace_hosts_in_names_of_agents(placed_campaign: CampaignDirectory, tmp_path: Path) -> None:
    path = tmp_path / "p.tar.gz"
    write_package(placed_campaign, path, with_pseudonyms=True)
    assert _faults(path) == []
    package = TamperedPackage(path)
    text = b"\n".join(package.files.values()).decode()
    for name in ("n1.", "n2.", "gpu7", "example"):
        assert name not in text.replace("n1.0", "")
    joined = [entry for entry in package.lines("journal.jsonl") if entry["type"] == "joined"]
    begin = package.lines("events/00000-1.0.jsonl")[0]
    assert joined[0]["agents"][0]["agent"] == begin["agent"] == begin["hosts"][0] + ".1"
    assert package.lines("accounting.jsonl")[0]["nodes"][0] == begin["hosts"][0]


def test_a_user_named_like_a_reason_changes_no_reason(
    placed_campaign: CampaignDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("LOGNAME", "USER"):
        monkeypatch.setenv(variable, "dismissed")
    write_package(placed_campaign, tmp_path / "p.tar.gz", with_pseudonyms=True)
    assert _faults(tmp_path / "p.tar.gz") == []


def test_private_values_in_names_of_agents_are_hashed(tmp_path: Path) -> None:
    made = build_placed_campaign(tmp_path / "campaign", {**SLURM, "account": "projectx-7"})
    made.join("projectx-7-node.1", -5)
    made.run_on("projectx-7-node.1", 0, 9, at=0)
    made.write(Drained, request="0" * 16, user="projectx-7", host="login1", nodes=["projectx-7-node"])
    made.leave("projectx-7-node.1", 10)
    made.write(Finished, at=20, reason=SEARCH_EXHAUSTED, by_deadline=False)
    write_package(made.directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    assert _faults(tmp_path / "p.tar.gz") == []
    assert b"projectx" not in b"".join(TamperedPackage(tmp_path / "p.tar.gz").files.values())


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        pytest.param([("n1", False)], True, id="drained before the trial"),
        pytest.param([("n2", False)], False, id="another node"),
        pytest.param([("n1", False), ("n1", True)], False, id="drained, and back"),
        pytest.param([], False, id="drained after the trial was submitted"),
    ],
)
def test_no_trial_is_placed_on_a_node_that_was_drained_before(
    tmp_path: Path, entries: list[tuple[str, bool]], fault: bool
) -> None:
    made = build_placed_campaign(tmp_path / "campaign", SLURM)
    made.join("n1.1", -5)
    for number, (node, undo) in enumerate(entries):
        made.write(Drained, request=f"{number:016x}", user="ann", host="login1", nodes=[node], undo=undo)
    made.run_on("n1.1", 0, 9, at=0)
    if not entries:
        made.write(Drained, request="0" * 16, user="ann", host="login1", nodes=["n1"])
    made.leave("n1.1", 10)
    made.write(Finished, at=20, reason=SEARCH_EXHAUSTED, by_deadline=False)
    write_package(made.directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    found = [each for each in _faults(tmp_path / "p.tar.gz") if each.startswith("campaign.drained")]
    assert len(found) == fault
    assert len(_faults(tmp_path / "p.tar.gz")) == fault


def _begin(name: str, **fields: Any) -> Change:
    """Change the begin line of an events file, and what the journal repeats of it."""

    def change(package: TamperedPackage) -> None:
        package.events(name, lambda lines: lines[0].update(fields))
        repeated = {key: value for key, value in fields.items() if key in ("job", "hosts")}
        key = int(name[:5]), int(name[6])
        package.each("began", lambda item: item.update(repeated) if (item["trial"], item["attempt"]) == key else None)

    return change


def _entries(kind: str, change: Callable[[dict[str, Any]], Any], items: str = "agents") -> Change:
    """Change the items of all journal entries of a kind."""

    def changed(entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            for item in entry[items] if entry["type"] == kind else ():
                change(item)

    return lambda package: package.journal(changed)


def _agent(name: str, **fields: Any) -> Change:
    return _entries("joined", lambda item: item.update(fields) if item["agent"] == name else None)


def _earlier(seconds: float) -> Callable[[list[dict[str, Any]]], None]:
    return lambda lines: shift(lines, -seconds, ("started",))


def _moved_to_end(kind: str, number: int = 0) -> Change:
    def change(entries: list[dict[str, Any]]) -> None:
        found = [entry for entry in entries if entry["type"] == kind][number]
        entries.remove(found)
        entries.insert(len(entries) - 1, found | {"time": entries[-1]["time"]})

    return lambda package: package.journal(change)


def _account(**fields: Any) -> Change:
    def change(package: TamperedPackage) -> None:
        first, *others = package.lines("accounting.jsonl")
        lines = [{**first, **fields}, *others]
        package.files["accounting.jsonl"] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    return change


_N1, _N2 = "n1.example.org.1", "n1.example.org.2"
FAULTY: dict[str, tuple[Change, str, str, str]] = {
    "no agent": (
        _begin("00000-1.0.jsonl", agent=None), "placement.agent", "events/00000-1.0.jsonl:1", "no agent that joined",
    ),
    "an unknown agent": (
        _begin("00000-1.0.jsonl", agent="n9.1"), "placement.agent", "events/00000-1.0.jsonl:1", "n9.1",
    ),
    "another host": (
        _begin("00000-1.0.jsonl", hosts=["n9"]), "placement.agent", "events/00000-1.0.jsonl:1", "hosts: n9 stated",
    ),
    "another job": (
        _begin("00000-1.0.jsonl", job="8"), "placement.agent", "events/00000-1.0.jsonl:1", "job: 8 stated",
    ),
    "another allocation": (
        _begin("00000-1.0.jsonl", allocation="other-a00001"),
        "placement.agent", "events/00000-1.0.jsonl:1", "allocation: other-a00001 stated",
    ),
    "an agent on which it was not placed": (
        _begin("00003-1.0.jsonl", agent="gpu7.1", allocation=None, job="by hand", hosts=["gpu7"]),
        "placement.agent", "events/00003-1.0.jsonl:1", "the journal placed the attempt on n1.example.org.2",
    ),
    "a second node without an agent": (
        _begin("00000-1.0.jsonl", hosts=["n1.example.org", "n9"]),
        "placement.agent", "events/00000-1.0.jsonl:1", "no agent of job 7001 joined on n9",
    ),
    "a slot that its agent does not have": (
        _begin("00000-1.0.jsonl", slot=2), "placement.slot", "events/00000-1.0.jsonl:1", "the slots 0 to 1",
    ),
    "no slot": (_begin("00000-1.0.jsonl", slot=None), "placement.slot", "events/00000-1.0.jsonl:1", "slot: None"),
    "no start": (
        _begin("00000-1.0.jsonl", started=None), "placement.time", "events/00000-1.0.jsonl:1", "no time at which",
    ),
    "two trials on one slot": (
        _begin("00001-1.0.jsonl", slot=0),
        "placement.overlap", "events/00001-1.0.jsonl:1", "before attempt 1 of trial 0 ended there",
    ),
    "a trial that takes a node on which another one runs": (
        _begin("00001-1.0.jsonl", hosts=["n1.example.org", "n2.example.org"]),
        "placement.overlap", "events/00001-1.0.jsonl:1", "before attempt 1 of trial 0 ended there",
    ),
    "a start before the agent's": (
        lambda package: package.events("00000-1.0.jsonl", _earlier(60)),
        "placement.time", "events/00000-1.0.jsonl:1", "starts before its agent n1.example.org.1",
    ),
    "a start after the begin": (
        lambda package: package.events("00000-1.0.jsonl", _earlier(-60)),
        "placement.time", "events/00000-1.0.jsonl:1", "begins before its process started",
    ),
    "an agent that ended before its trial": (
        _entries("left", lambda item: shift([item], -320) if item["agent"] == _N2 else None),
        "placement.time", "events/00002-2.0.jsonl:1", "ends after its agent n1.example.org.2",
    ),
    "a placement on an agent that had not joined": (
        lambda package: package.journal(lambda entries: _submitted(entries, 3).update(job="n9.1")),
        "placement.agent", "journal.jsonl:", "n9.1 names no agent that joined",
    ),
    "a placement that is a job": (
        lambda package: package.journal(lambda entries: _submitted(entries, 3).update(job="123")),
        "placement.agent", "journal.jsonl:", "123 names no agent that joined",
    ),
    "an agent that changes": (
        lambda package: package.journal(lambda entries: _agents(entries, "joined", _N2)[1].update(slots=1)),
        "agent.record", "journal.jsonl:", "joined before as another one",
    ),
    "an agent that returns after its end": (
        lambda package: package.journal(lambda entries: _agents(entries, "left", _N2)[0].update(reason="dismissed")),
        "agent.record", "journal.jsonl:", "its log had ended (dismissed)",
    ),
    "an agent of no allocation of this campaign": (
        _agent(_N1, allocation="other-a00001"), "agent.allocation", "journal.jsonl:", "which was not submitted",
    ),
    "more nodes than the allocation has": (
        _entries("allocating", lambda item: item.update(nodes=1), "allocations"),
        "allocation.nodes", "journal.jsonl:", "began on 2 nodes; it has 1",
    ),
    "an allocation that was accepted before it was submitted": (
        _moved_to_end("allocating"), "journal.order", "journal.jsonl:", "do not know",
    ),
    # accounting
    "an allocation that started later": (
        _account(start="2026-01-02T03:00:50+00:00"), "accounting.time", "accounting.jsonl:1",
        "attempt 1 of trial 0 began before that",
    ),
    "an allocation that started after its agent": (
        _account(start="2026-01-02T03:00:15+00:00"), "accounting.time", "accounting.jsonl:1",
        "agent n1.example.org.1 began before that",
    ),
    "an allocation that ended earlier": (
        _account(end="2026-01-02T03:05:00+00:00"), "accounting.time", "accounting.jsonl:1",
        "attempt 1 of trial 3 ended after that",
    ),
    "other nodes": (
        _account(nodes=["n2"]), "accounting.nodes", "accounting.jsonl:1", "began on n1.example.org",
    ),
    "an allocation without an account": (
        lambda package: package.files.update({"accounting.jsonl": b""}), "accounting.missing", "journal.jsonl:",
        "does not have its job",
    ),
    "an account of a trial": (
        _account(name="aaaaa-00000-1"), "accounting.unknown", "accounting.jsonl:1", "is not an allocation",
    ),
}  # fmt: skip


def _submitted(entries: list[dict[str, Any]], trial: int) -> dict[str, Any]:
    jobs = [job for entry in entries if entry["type"] == "submitted" for job in entry["jobs"]]
    return next(job for job in jobs if job["trial"] == trial)


def _agents(entries: list[dict[str, Any]], kind: str, agent: str) -> list[dict[str, Any]]:
    items = [item for entry in entries if entry["type"] == kind for item in entry["agents"]]
    return [item for item in items if item["agent"] == agent]


@pytest.mark.parametrize("name", FAULTY)
def test_a_contradiction_of_placements_is_found(name: str, placed_package: Path, tmp_path: Path) -> None:
    change, id_, where, message = FAULTY[name]
    package = TamperedPackage(placed_package)
    change(package)
    found = verify(package.write(tmp_path / "tampered.tar.gz"))
    faults = [fault for fault in found.faults if fault.id == id_]
    assert any(fault.where.startswith(where) and message in fault.message for fault in faults), [
        f"{fault.id} {fault}" for fault in found.faults
    ]


def _verified(made: PlacedCampaignBuilder, tmp_path: Path) -> list[str]:
    """Ids of the faults in the package of a campaign that has ended."""
    made.write(Finished, reason=SEARCH_EXHAUSTED, by_deadline=False)
    write_package(made.directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    return [fault.id for fault in verify(tmp_path / "p.tar.gz").faults]


def _three_nodes(tmp_path: Path) -> PlacedCampaignBuilder:
    """A campaign with trials of two nodes, and an allocation of three."""
    system = {**TRUE_SETTINGS["system"], "number_of_nodes": 3}
    made = build_placed_campaign(tmp_path / "campaign", _TWO_NODES, system=system)
    name = made.allocate(nodes=3, slots=1)
    for agent in ("n1.1", "n2.1", "n3.1"):
        made.join(agent, 0, allocation=name, slots=1)
    return made


def test_trials_on_several_nodes_follow_one_another(tmp_path: Path) -> None:
    made = build_placed_campaign(
        tmp_path / "campaign", _TWO_NODES, system={**TRUE_SETTINGS["system"], "number_of_nodes": 3}
    )
    name = made.allocate(nodes=3, slots=1)
    for agent in ("n1.1", "n2.1", "n3.1"):
        made.join(agent, 0, allocation=name, slots=1)
    made.run_on("n1.1,n2.1", 0, 19, at=10)
    made.run_on("n2.1,n3.1", 1, 39, at=30)
    for agent in ("n1.1", "n2.1", "n3.1"):
        made.leave(agent, 50)
    assert _verified(made, tmp_path) == []


def test_trials_on_several_nodes_share_none_of_them(tmp_path: Path) -> None:
    made = build_placed_campaign(
        tmp_path / "campaign", _TWO_NODES, system={**TRUE_SETTINGS["system"], "number_of_nodes": 3}
    )
    name = made.allocate(nodes=3, slots=1)
    for agent in ("n1.1", "n2.1", "n3.1"):
        made.join(agent, 0, allocation=name, slots=1)
    placed = {0: "n1.1,n2.1", 1: "n3.1,n2.1"}
    for trial, on in placed.items():
        made.place(trial, on=on, at=2)
    for trial, on in placed.items():
        made.run_on(on, trial, 39, at=10)
    assert _verified(made, tmp_path) == ["placement.overlap"]


def test_trials_on_several_nodes_have_the_nodes_of_their_placement(tmp_path: Path) -> None:
    made = _three_nodes(tmp_path)
    made.place(0, on="n1.1,n2.1")
    begin = made.placed_begin(10, on="n1.1,n3.1")
    made.run(begin, [made.epoch(1, 40, start=21)], 40)
    assert _verified(made, tmp_path) == ["placement.agent"]


@pytest.mark.parametrize(
    ("opened", "expected"), [(None, ["placement.agent"]), (1, ["placement.agent"]), (5, []), (60, ["placement.agent"])]
)
def test_only_another_controller_explains_a_placement_that_the_journal_lacks(
    opened: float | None, expected: list[str], tmp_path: Path
) -> None:
    """A controller was killed after it wrote the order of a second placement, and before it wrote the journal."""
    made = build_placed_campaign(tmp_path / "campaign")
    name = made.allocate(nodes=2)
    made.join("n1.1", -5, allocation=name)
    made.join("n2.1", -5, allocation=name)
    if opened == 1:
        made.write(Opened, at=1, host="login1", pid=5)
    made.place(0, on="n1.1", at=2)
    if opened == 5:
        made.write(Opened, at=5, host="login1", pid=5)
    made.run_on("n2.1", 0, 39, at=10)
    if opened == 60:
        made.write(Opened, at=60, host="login1", pid=5)
    assert _verified(made, tmp_path) == expected


@pytest.mark.parametrize(
    ("concurrency", "begin", "expected"),
    [(1, 30, ["campaign.concurrency"]), (1, 45, []), (2, 30, [])],
    ids=["at once", "one after the other, by clocks that differ", "as many as permitted"],
)
def test_no_more_trials_are_at_work_than_the_settings_permit(
    concurrency: int, begin: float, expected: list[str], tmp_path: Path
) -> None:
    campaign = {"duration": "1h", "concurrency": concurrency}
    training = TRUE_SETTINGS["training"] | {"warmup_epochs": [1], "epochs": 1}
    made = build_placed_campaign(tmp_path / "campaign", campaign=campaign, training=training)
    name = made.allocate(nodes=2)
    for trial in (0, 1):
        made.join(f"n{trial}.1", -5, allocation=name)
    for trial in (0, 1):
        made.place(trial, on=f"n{trial}.1", at=2)
    made.run_on("n0.1", 0, 59, at=10)
    made.run_on("n1.1", 1, 99, at=begin)
    assert _verified(made, tmp_path) == expected


@pytest.mark.parametrize(
    ("skew", "gap", "expected"),
    [(0.0, 9.0, []), (0.0, 11.0, ["placement.time"]), (5.0, 11.0, [])],
)
def test_times_of_agents_and_trials_may_differ_as_clocks_do(
    skew: float, gap: float, expected: list[str], tmp_path: Path
) -> None:
    made = build_placed_campaign(tmp_path / "campaign")
    made.join("n1.1", 0)
    made.place(0, on="n1.1")
    begin = made.placed_begin(20, on="n1.1", clock_skew=skew)
    made.run(begin, [made.epoch(1, 40, start=21)], 40)
    made.leave("n1.1", 40 - gap, recorded=45)
    assert _verified(made, tmp_path) == expected


@pytest.mark.parametrize(
    ("scheduler", "trainer", "slots", "expected"),
    [
        ({"kind": "agents", "cores_per_trial": 2}, "torch", 2, []),
        ({"kind": "agents", "cores_per_trial": 2}, "torch", 3, ["agent.slots"]),
        ({"kind": "agents", "cores_per_trial": 2}, "simulated", 3, []),
        ({"kind": "agents", "gpus_per_trial": 1}, "torch", 2, []),
        ({"kind": "agents", "gpus_per_trial": 2}, "torch", 2, ["agent.slots"]),
        ({"kind": "local", "job_per_trial": False, "cores_per_trial": 4}, "torch", 4, []),
    ],
)
def test_slots_are_within_what_a_node_has(
    scheduler: dict[str, Any], trainer: str, slots: int, expected: list[str], tmp_path: Path
) -> None:
    training = {**TRUE_SETTINGS["training"], "trainer": trainer}
    made = build_placed_campaign(tmp_path / "campaign", scheduler, training=training)
    made.join("n1.1", 0, slots=slots, cores=4, gpus=2)
    assert _verified(made, tmp_path) == expected


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({"core_ids": [1, 2]}, ["agent.overlap"]),
        ({"core_ids": [2, 3]}, []),
        ({"core_ids": [0, 1], "at": 45}, []),
        ({"core_ids": [0, 1], "job": "8"}, []),  # another job has other cores, perhaps numbered from 0 too
        ({"core_ids": []}, []),
    ],
)
def test_agents_of_a_job_on_one_node_share_no_cores(
    second: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    training = {**TRUE_SETTINGS["training"], "trainer": "torch"}
    made = build_placed_campaign(tmp_path / "campaign", {"kind": "agents"}, training=training)
    made.join("n1.1", 0, job="7", core_ids=[0, 1])
    made.join("n1.2", **{"at": 20, "job": "7", **second})
    made.leave("n1.1", 50)
    made.leave("n1.2", 60)
    assert _verified(made, tmp_path) == expected


def test_a_job_a_trial_has_neither_agents_nor_allocations(tmp_path: Path) -> None:
    made = build_placed_campaign(tmp_path / "campaign", {"kind": "local", "job_per_trial": True})
    made.join("n1.1", 0, allocation=made.allocate())
    made.run_on("n1.1", 0, 19, at=10)
    assert _verified(made, tmp_path) == ["agent.unexpected", "agent.unexpected", "placement.agent"]


@pytest.mark.parametrize("state", ["CANCELLED by 7", "TIMEOUT", "NODE_FAIL"])
def test_the_end_of_an_allocation_that_the_scheduler_ended_is_not_compared(state: str, tmp_path: Path) -> None:
    made = build_placed_campaign(tmp_path / "campaign")
    name = made.allocate()
    made.join("n1.1", 0, allocation=name)
    made.run_on("n1.1", 0, 99, at=10)
    line = {"name": name, "job": "7001", "start": time_in(made, -3), "end": time_in(made, 50), "nodes": ["n1"]}
    made.write_accounting([{**line, "state": state, "exit_code": "0:0"}])
    assert _verified(made, tmp_path) == []


def test_an_allocation_in_another_job_has_no_account(tmp_path: Path) -> None:
    """Its submission seemed to be lost; the accounting is queried for the job that the journal has."""
    made = build_placed_campaign(tmp_path / "campaign")
    name = made.allocate()
    made.join("n1.1", 0, allocation=name, job="6999")
    made.run_on("n1.1", 0, 19, at=10)
    made.write_accounting([{"name": name, "job": "7001", "start": time_in(made, 20), "nodes": ["n7"]}])
    assert _verified(made, tmp_path) == []
