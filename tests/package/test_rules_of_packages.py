"""Tests of the rules by which packages are evaluated: those of their campaign, independent of what else they state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.commands.verify import verify_package
from aiperf_orch.package.verify import verify
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.rules import RULE_SETS
from package.manipulations_of_rules import MANIPULATIONS_OF_FORMATS, MANIPULATIONS_OF_THE_DURATION, OF_0_1_0


@pytest.mark.parametrize("name", MANIPULATIONS_OF_THE_DURATION)
def test_a_cheat_of_the_duration_is_not_rankable(name: str, tampered: Any, tmp_path: Path) -> None:
    change, why = MANIPULATIONS_OF_THE_DURATION[name]
    change(tampered, tmp_path)
    path = tampered.write(tmp_path / "tampered.tar.gz")
    found = json.loads(verify_package(path, None, "json").text)
    assert (found["faults"], found["rankable"], found["rules"]) == ([], False, "aiperf-1.1")
    assert found["misses"][0] == {"rule": "duration", "why": why}
    assert f"54 minutes; {why}\n" in verify_package(path, None, "table").text
    by_1_0 = RULE_SETS["aiperf-1.0"].misses(compute_result(CampaignDirectory.open(tmp_path / "restated")))
    assert "duration" not in [miss.rule.id for miss in by_1_0]


@pytest.mark.parametrize("name", MANIPULATIONS_OF_FORMATS)
def test_earlier_rules_cannot_be_stated(name: str, tampered: Any, tmp_path: Path) -> None:
    change, id_, where, message = MANIPULATIONS_OF_FORMATS[name]
    change(tampered, tmp_path)
    faults = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert {fault.id for fault in faults} == {id_}, [(fault.id, str(fault)) for fault in faults]
    assert any(fault.where == where and message in fault.message for fault in faults), list(map(str, faults))


def test_a_campaign_of_0_1_0_has_the_rules_of_its_time(tampered: Any, tmp_path: Path) -> None:
    OF_0_1_0(tampered, tmp_path)
    found = verify(tampered.write(tmp_path / "tampered.tar.gz"))
    assert list(map(str, found.faults)) == []
    assert found.result_row is not None
    assert found.result_row["rules"] == tampered.manifest["rules"]["version"] == "aiperf-1.0"


def test_rules_that_are_not_the_campaigns_are_found(tampered: Any, tmp_path: Path) -> None:
    rules = RULE_SETS["aiperf-1.0"]
    tampered.manifest["rules"] = {"version": rules.version, "sha256": rules.sha256}
    tampered.files["result.csv"] = tampered.files["result.csv"].replace(b"aiperf-1.1", b"aiperf-1.0")
    faults = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert {fault.id for fault in faults} == {"manifest.contents", "table.result"}
    assert any("rules: 'aiperf-1.0' stated; by the records it is 'aiperf-1.1'" in fault.message for fault in faults)
