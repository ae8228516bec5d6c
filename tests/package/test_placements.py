"""Tests of packages of placed campaigns: every history that the controller can write verifies, others are found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import verify
from aiperf_orch.records.journal import Finished
from aiperf_orch.settings.models import SiteSettings
from package.package_changes import shift
from package_fixtures import TRUE_SETTINGS, TamperedPackage
from placed_campaign import PlacedCampaignBuilder

SLURM: dict[str, Any] = {
    "kind": "slurm",
    "cpus_per_task": 1,
    "allocations": {"nodes": 2, "time_limit": "1h", "cpus_per_node": 2},
}
TRAINED = {**TRUE_SETTINGS["training"], "trainer": "torch"}
Change = Callable[[TamperedPackage], Any]


def _builder(path: Path, scheduler: dict[str, Any] = SLURM, **sections: Any) -> PlacedCampaignBuilder:
    settings = TRUE_SETTINGS | {"scheduler": scheduler, "campaign": {"duration": "1h", "concurrency": 100}} | sections
    return PlacedCampaignBuilder(path, SiteSettings.model_validate(settings))


def _add_history(made: PlacedCampaignBuilder) -> None:
    """Every kind of history: completed, retried on other agents, killed, lost and returned, never begun, by hand."""
    first = made.allocate(1, nodes=2)
    second = made.allocate(2, nodes=2)
    made.join("n1.example.org.1", 0, allocation=first)
    made.join("n2.example.org.1", 0, allocation=first)
    for trial in (0, 1):
        made.place(trial, on="n1.example.org.1", at=20)
    made.run_on("n1.example.org.1", 0, 39, 49, at=30)
    made.run_on("n1.example.org.1", 1, 48, at=31, slot=1, reason="TRIAL_ERROR", message="died on n1.example.org")
    made.place(2, on="n2.example.org.1", at=50)  # never started there: the agent was about to end
    made.leave("n2.example.org.1", 55, "time limit")
    made.place(2, on="n1.example.org.1", again=True)
    begin = made.placed_begin(60, 2, on="n1.example.org.1")
    made.began(60, 2)
    made.events(begin, made.epoch(1, 70, trial=2, start=61), trial=2)  # killed with its agent
    made.join("n1.example.org.2", 77, allocation=first)
    made.leave("n1.example.org.1", 65, "killed", recorded=80)
    made.events(made.end(85, 2, run=1, reason="LOST"), trial=2, run=1)
    made.ended(2, runs=2, reason="LOST", final=False, at=86)
    made.run_on("n1.example.org.2", 2, 100, at=90, attempt=2, first_epoch=2)
    made.leave("n1.example.org.2", 101, "lost", recorded=280)
    made.rejoin("n1.example.org.2", 330)
    made.run_on("n1.example.org.2", 3, 350, at=340)
    made.join("gpu7.1", 335)
    made.run_on("gpu7.1", 4, 360, at=350, slot=1, reason="STOPPED")
    made.place(5, on="gpu7.1", at=361)
    made.events(made.end(370, 5, reason="CAMPAIGN_ENDED"), trial=5)
    made.ended(5, reason="CAMPAIGN_ENDED", at=371)
    made.leave("n1.example.org.2", 380)
    made.write(Finished, at=390, reason="done", by_deadline=False)
    made.write_accounting(
        [
            {"name": first, "job": "7001", "state": "COMPLETED", "exit_code": "0:0", "start": _time(made, -10),
             "end": _time(made, 381), "nodes": ["n1", "n2"]},
            {"name": second, "job": "7002", "state": "CANCELLED by 7", "exit_code": "0:0", "nodes": []},
        ]
    )  # fmt: skip


def _time(made: PlacedCampaignBuilder, seconds: float) -> str:
    return made.at(seconds).isoformat()


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> PlacedCampaignBuilder:
    made = _builder(tmp_path_factory.mktemp("placed") / "campaign")
    _add_history(made)
    return made


@pytest.fixture(scope="module")
def placed_package(placed: PlacedCampaignBuilder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "p.tar.gz"
    write_package(placed.directory, path, with_pseudonyms=False)
    return path


def _faults(path: Path) -> list[str]:
    return [f"{fault.id} {fault}" for fault in verify(path).faults]


def test_every_history_of_placed_attempts_verifies(placed_package: Path) -> None:
    found = verify(placed_package)
    assert list(map(str, found.faults)) == []
    assert found.result_row is not None
    assert found.result_row["node_hours_given"] > 0


def test_pseudonyms_replace_hosts_in_names_of_agents(placed: PlacedCampaignBuilder, tmp_path: Path) -> None:
    path = tmp_path / "p.tar.gz"
    write_package(placed.directory, path, with_pseudonyms=True)
    assert _faults(path) == []
    package = TamperedPackage(path)
    text = b"\n".join(package.files.values()).decode()
    for name in ("n1.", "n2.", "gpu7", "example"):
        assert name not in text.replace("n1.0", "")
    joined = [entry for entry in package.lines("journal.jsonl") if entry["type"] == "joined"]
    begin = package.lines("events/00000-1.0.jsonl")[0]
    assert joined[0]["agents"][0]["agent"] == begin["agent"] == begin["hosts"][0] + ".1"
    assert package.lines("accounting.jsonl")[0]["nodes"][0] == begin["hosts"][0]


def test_private_values_in_names_of_agents_are_hashed(tmp_path: Path) -> None:
    made = _builder(tmp_path / "campaign", {**SLURM, "account": "projectx-7"})
    made.join("projectx-7-node.1", -5)
    made.run_on("projectx-7-node.1", 0, 9, at=0)
    made.leave("projectx-7-node.1", 10)
    made.write(Finished, at=20, reason="done", by_deadline=False)
    write_package(made.directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    assert _faults(tmp_path / "p.tar.gz") == []
    assert b"projectx" not in b"".join(TamperedPackage(tmp_path / "p.tar.gz").files.values())


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
        _entries("left", lambda item: shift([item], -300) if item["agent"] == _N2 else None),
        "placement.time", "events/00002-2.0.jsonl:1", "ends after its agent n1.example.org.2",
    ),
    "a placement on an agent that had not joined": (
        lambda package: package.journal(lambda entries: _submitted(entries, 3).update(job="n9.1")),
        "placement.agent", "journal.jsonl:", "n9.1 names no agent that had joined",
    ),
    "a placement that is a job": (
        lambda package: package.journal(lambda entries: _submitted(entries, 3).update(job="123")),
        "placement.agent", "journal.jsonl:", "123 names no agent that had joined",
    ),
    "an agent that joined after its trial": (
        _moved_to_end("joined", 4), "placement.agent", "journal.jsonl:", "gpu7.1 names no agent",
    ),
    "a begin before the agent joined": (
        _moved_to_end("joined", 4), "placement.order", "journal.jsonl:", "before its agent gpu7.1 had joined",
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
    "two agents on one node at once": (
        lambda package: package.journal(
            lambda entries: _agents(entries, "left", _N1)[0].update(time=_agents(entries, "left", _N2)[0]["time"])
        ),
        "agent.overlap", "journal.jsonl:", "agent n1.example.org.2 began",
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
