"""Packages of a newer version: `verify` and `rank` report them as newer, never as damaged or edited."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aiperf_orch
from aiperf_orch.commands.verify import verify_package
from aiperf_orch.committee.entries import Status
from aiperf_orch.committee.ranking import rank
from aiperf_orch.committee.submission import read_submission
from aiperf_orch.package.verify import verify
from package_fixtures import TamperedPackage


def _manifest(package: Any) -> None:
    package.manifest |= {"format": "aiperf-orch-package-3", "versions": {"aiperf-orch": "9.0.0"}, "colour": "red"}
    package.files["colours/red"] = b"1"


def _new_file(package: Any) -> None:
    package.manifest |= {"versions": {"aiperf-orch": "9.0.0"}}
    package.files["colours/red"] = b"1"


def _settings_format(package: Any) -> None:
    package.settings(f"aiperf-orch: {aiperf_orch.__version__}", "aiperf-orch: 9.0.0")
    package.settings("version: 2\n", "version: 3\ncolour: red\n")


def _settings_key(package: Any) -> None:
    package.settings(f"aiperf-orch: {aiperf_orch.__version__}", "aiperf-orch: 9.0.0")
    package.settings("\n  search:\n", "\n  search:\n    colour: red\n")


def _specification(package: Any) -> None:
    package.settings(f"aiperf-orch: {aiperf_orch.__version__}", "aiperf-orch: 9.0.0")
    package.spec(0, lambda spec: spec.update(version=2, colour="red"))


def _journal(package: Any) -> None:
    package.journal(lambda entries: entries[0].update(version="9.0.0", format=3))


def _event(package: Any) -> None:
    package.events("00000-1.0.jsonl", lambda lines: lines[0].update(versions={"aiperf-orch": "9.0.0"}, colour="red"))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (_manifest, "manifest.json: "),
        (_new_file, "/colours/red: "),
        (_settings_format, "campaign.yaml: "),
        (_settings_key, "campaign.yaml: settings.search.colour: "),
        (_specification, "trials/00000.json: "),
        (_journal, "journal.jsonl:1: "),
        (_event, "events/00000-1.0.jsonl:1: "),
    ],
)
def test_a_newer_package_is_not_called_damaged(
    true_package: Path, tmp_path: Path, change: Callable[[Any], None], where: str
) -> None:
    package = TamperedPackage(true_package)
    change(package)
    path = package.write(tmp_path / "newer.tar.gz")
    found = verify(path)
    [fault] = found.faults
    assert (fault.id, found.is_newer, found.verified, found.result_row) == ("newer.version", True, False, None)
    assert where in f"{fault}"
    assert "written by aiperf-orch 9.0.0" in fault.message
    assert fault.message.removesuffix("; the line does not count").endswith(": use aiperf-orch 9.0.0 or newer")
    for word in ("edited", "damaged"):
        assert word not in str(fault)
    output = verify_package(path, None, "table")
    assert output.text.startswith("NEWER VERSION ")
    assert output.exit_status == 1
    [entry] = rank([read_submission(path)], {})
    assert entry.status is Status.NEWER_VERSION
    assert "9.0.0" in entry.note


def test_a_manifest_names_the_version_that_wrote_it(true_package: Path) -> None:
    manifest = TamperedPackage(true_package).manifest
    assert manifest["versions"] == {"aiperf-orch": aiperf_orch.__version__}
    assert json.dumps(manifest["format"]) == '"aiperf-orch-package-2"'
