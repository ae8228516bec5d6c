"""Tests of manipulated packages: each is found, with a fault that names the manipulation and its location."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.package.verify import verify
from aiperf_orch.results.tables import LATER_COLUMNS
from package.manipulations import MANIPULATIONS
from package.package_changes import change_cell, without_columns


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_a_manipulation_is_found(name: str, tampered: Any, tmp_path: Path) -> None:
    change, id_, where, message = MANIPULATIONS[name]
    change(tampered, tmp_path)
    found = verify(tampered.write(tmp_path / "tampered.tar.gz"))
    assert not found.verified
    faults = [fault for fault in found.faults if fault.id == id_]
    assert faults, [(fault.id, str(fault)) for fault in found.faults]
    assert any(fault.where.startswith(where) and message in fault.message for fault in faults), list(map(str, faults))


def test_repacking_without_changes_causes_no_fault(tampered: Any, tmp_path: Path) -> None:
    """Unpacking, chaining and packing without a change causes no fault, so that faults come from the manipulations."""
    tampered.journal(lambda entries: None)
    for trial in range(4):
        tampered.spec(trial, lambda spec: None)
    tampered.restate(tmp_path / "restated")
    found = verify(tampered.write(tmp_path / "again.tar.gz"))
    assert list(map(str, found.faults)) == []


@pytest.mark.parametrize(("version", "column"), [(1, "node_hours_given"), (2, "energy_joules")])
def test_tables_of_an_earlier_version_lack_later_columns(
    version: int, column: str, tampered: Any, tmp_path: Path
) -> None:
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
