"""Tests of manipulated packages: each is found, with a fault that names the manipulation and its location."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.package.verify import verify
from aiperf_orch.results.tables import LATER_COLUMNS
from package.manipulations import MANIPULATIONS
from package.manipulations_of_the_journal import MANIPULATIONS_OF_THE_JOURNAL
from package.manipulations_of_training import MANIPULATIONS_OF_TRAINING
from package.package_changes import change_cell, repaired, without_columns


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_a_manipulation_is_found(name: str, tampered: Any, tmp_path: Path) -> None:
    change, id_, where, message = MANIPULATIONS[name]
    change(tampered, tmp_path)
    found = verify(tampered.write(tmp_path / "tampered.tar.gz"))
    assert not found.verified
    faults = [fault for fault in found.faults if fault.id == id_]
    assert faults, [(fault.id, str(fault)) for fault in found.faults]
    assert any(fault.where.startswith(where) and message in fault.message for fault in faults), list(map(str, faults))


@pytest.mark.parametrize("name", MANIPULATIONS_OF_TRAINING)
def test_a_manipulation_of_training_has_one_fault(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    made_of, change, id_, where, message = MANIPULATIONS_OF_TRAINING[name]
    package = request.getfixturevalue(made_of)
    change(package, tmp_path)
    faults = verify(package.write(tmp_path / "tampered.tar.gz")).faults
    assert {fault.id for fault in faults} == {id_}, [(fault.id, str(fault)) for fault in faults]
    assert any(fault.where.startswith(where) and message in fault.message for fault in faults), list(map(str, faults))


@pytest.mark.parametrize("name", MANIPULATIONS_OF_THE_JOURNAL)
def test_a_manipulation_of_the_journal_has_one_fault(name: str, tampered: Any, tmp_path: Path) -> None:
    change, id_, where, message = MANIPULATIONS_OF_THE_JOURNAL[name]
    change(tampered, tmp_path)
    faults = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert {fault.id for fault in faults} == {id_}, [(fault.id, str(fault)) for fault in faults]
    assert any(fault.where.startswith(where) and message in fault.message for fault in faults), list(map(str, faults))


@pytest.mark.parametrize(
    ("key", "number"),
    [
        *product(("epoch", "train_images", "loss"), ("true", '"2"', "\uff12", "0x2", "1_0")),
        ("epoch", "2.0"),
        ("train_images", "1437.0"),
    ],
)
def test_only_numbers_are_read_as_numbers(key: str, number: str, tampered: Any, tmp_path: Path) -> None:
    lines = tampered.files["events/00000-1.0.jsonl"].decode().splitlines()
    before, _, rest = lines[2].partition(f'"{key}":')
    lines[2] = f'{before}"{key}":{number},{rest.partition(",")[2]}'
    tampered.raw_events("00000-1.0.jsonl", "".join(f"{line}\n" for line in lines).encode())
    faults = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert {"json.strict", "events.line"} & {fault.id for fault in faults}


def test_a_time_is_a_text(tampered: Any, tmp_path: Path) -> None:
    tampered.events("00000-1.0.jsonl", lambda lines: lines[1].update(start=1767322800))
    faults = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert "events.line" in {fault.id for fault in faults}


def test_other_digits_and_underscores_make_no_number(tampered: Any, tmp_path: Path) -> None:
    header, row = (line.split(",") for line in tampered.files["result.csv"].decode().splitlines())
    seconds = row[header.index("seconds")]
    full_width = "".join(chr(ord(each) + 0xFEE0) if each.isdigit() else each for each in seconds)
    others = (f"{seconds[0]}_{seconds[1:]}", f" {seconds}", f"{seconds} ", f"+{seconds}", f"0{seconds}", f"{seconds}0")
    for text in (full_width, *others):
        change_cell("result.csv", 2, "seconds", text)(tampered, tmp_path)
        faults = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
        assert {fault.id for fault in faults} == {"table.result"}, text


def test_a_column_twice_is_found(tampered: Any, tmp_path: Path) -> None:
    header, row = tampered.files["result.csv"].decode().splitlines()
    tampered.files["result.csv"] = f"score,{header}\n9.9e15,{row}\n".encode()
    faults = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert [(fault.id, fault.where) for fault in faults] == [("table.format", "result.csv:1")]


def test_a_campaign_that_was_trained_has_no_fault(trained: Any, tmp_path: Path) -> None:
    repaired(lambda _package, _folder: None)(trained, tmp_path)
    found = verify(trained.write(tmp_path / "again.tar.gz"))
    assert list(map(str, found.faults)) == []


def test_a_simulated_begin_line_makes_the_campaign_a_simulated_one(trained: Any, tmp_path: Path) -> None:
    trained.events("00002-1.0.jsonl", lambda lines: lines[0].update(trainer="simulated", device="simulated"))
    found = verify(trained.write(tmp_path / "tampered.tar.gz"))
    assert found.result_row is not None
    assert found.result_row["simulated"] == "yes"
    assert "trained" in found.missed_rules


def test_repacking_without_changes_causes_no_fault(tampered: Any, tmp_path: Path) -> None:
    """Unpacking, chaining and packing without a change causes no fault, so that faults come from the manipulations."""
    tampered.journal(lambda entries: None)
    for trial in range(4):
        tampered.spec(trial, lambda spec: None)
    tampered.restate(tmp_path / "restated")
    found = verify(tampered.write(tmp_path / "again.tar.gz"))
    assert list(map(str, found.faults)) == []


@pytest.mark.parametrize(
    ("version", "column"),
    [(1, "stability_mean"), (2, "settings_changes"), (3, "node_hours_given"), (4, "energy_joules")],
)
def test_tables_of_an_earlier_version_lack_later_columns(
    version: int, column: str, tampered: Any, tmp_path: Path
) -> None:
    tampered.manifest["format"] = "aiperf-orch-package-1"
    for name, columns in LATER_COLUMNS.items():
        without_columns(name, *columns[min(version, len(columns) - 1)])(tampered, tmp_path)
    assert column.encode() not in tampered.files["result.csv"]
    found = verify(tampered.write(tmp_path / "earlier.tar.gz"))
    assert list(map(str, found.faults)) == []


def test_each_kind_of_fault_has_its_own_message() -> None:
    kinds: dict[str, set[str]] = {}
    for _, id_, _, message in MANIPULATIONS.values():
        kinds.setdefault(id_, set()).add(message)
    assert len(MANIPULATIONS) >= 30
    assert len(kinds) >= 30


def test_all_faults_are_listed(tampered: Any, tmp_path: Path) -> None:
    change_cell("result.csv", 2, "score", "1.0")(tampered, tmp_path)
    tampered.files.pop("trials/00002.json")
    tampered.events("00000-1.0.jsonl", lambda lines: lines[2].update(ops=1))
    found = verify(tampered.write(tmp_path / "tampered.tar.gz"))
    assert {"table.result", "trial.missing", "epoch.operations"} <= {fault.id for fault in found.faults}


def test_faults_beyond_the_limit_are_counted(tampered: Any, tmp_path: Path) -> None:
    tampered.files |= {f"jobs/{number:05d}-1/job.sh": b"" for number in range(100, 500)}
    tampered.hashed = False
    found = verify(tampered.write(tmp_path / "tampered.tar.gz"))
    assert len(found.faults) == 200
    assert found.more_faults >= 200
