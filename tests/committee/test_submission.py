"""Tests of packages and result.csv files as input of rankings and scaling comparisons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.committee.entries import Status
from aiperf_orch.committee.ranking import rank
from aiperf_orch.committee.scaling import read_campaign, scaling
from aiperf_orch.committee.submission import read_submission
from aiperf_orch.package.packing import write_package
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import write_tables
from aiperf_orch.util.errors import UsageError


def test_a_result_csv_is_never_verified_and_a_package_is(make_true: Callable[..., Any], tmp_path: Path) -> None:
    directory = make_true().directory
    write_package(directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    write_tables(compute_result(directory))
    package, row = read_submission(tmp_path / "p.tar.gz"), read_submission(directory.result)
    assert (package.verified, package.fault, row.verified) == (True, None, None)
    assert package.row == row.row
    entries = rank([package, row], {})
    assert [entry.status for entry in entries] == [Status.NOT_RANKABLE, Status.UNVERIFIED]


def test_a_changed_package_states_its_first_fault(tampered: Any, tmp_path: Path) -> None:
    tampered.files["result.csv"] = tampered.files["result.csv"].replace(b"a test system", b"another system")
    submission = read_submission(tampered.write(tmp_path / "p.tar.gz"))
    assert not submission.verified
    assert submission.fault
    assert submission.fault.startswith("result.csv:2: system: ")
    assert submission.row
    assert submission.row.system == "a test system"  # by the records
    [entry] = rank([submission], {})
    assert (entry.status, entry.note, entry.place) == (Status.FAULTY, submission.fault, None)


def test_a_damaged_package_is_unreadable(true_package: Path, tmp_path: Path) -> None:
    (tmp_path / "p.tar.gz").write_bytes(true_package.read_bytes()[:-9])
    [entry] = rank([read_submission(tmp_path / "p.tar.gz")], {})
    assert entry.status is Status.UNREADABLE
    with pytest.raises(UsageError, match=r"p\.tar\.gz: "):
        read_campaign(tmp_path / "p.tar.gz")


def test_scaling_reads_packages_and_notes_a_result_csv(make_true: Any, tmp_path: Path) -> None:
    small, large = make_true("a"), make_true("b", system__number_of_nodes=4)
    write_package(large.directory, tmp_path / "b.tar.gz", with_pseudonyms=False)
    write_tables(compute_result(small.directory))
    campaigns = [read_campaign(small.directory.result), read_campaign(tmp_path / "b.tar.gz")]
    found = scaling(campaigns, None, allow_differences=False)
    assert (found.unit, [point.efficiency for point in found.points]) == ("accelerators", [1.0, 0.5])
    doubt, unknown = found.notes
    assert doubt.endswith("a result.csv without records: its numbers cannot be verified")
    assert unknown.startswith("settings are compared only between campaign directories")
