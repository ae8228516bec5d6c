"""The page on troubleshooting has an entry for each rule of a rankable result, and for each reason of a pending job."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from aiperf_orch.results.rules import RULE_SETS
from aiperf_orch.schedulers.slurm import pending_reasons
from documentation.shown_commands import ROOT

pytestmark = pytest.mark.unit


def _section(heading: str) -> str:
    """The text between a heading of the page and the next one of its level."""
    text = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text(encoding="utf-8")
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def _first_cells(section: str) -> list[str]:
    return [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("version", RULE_SETS)
def test_each_rule_says_what_it_wants(version: str) -> None:
    section = _section("Not rankable")
    explained = {code for cell in _first_cells(section) for code in re.findall(r"`(\w+)`", cell)}
    assert f"`{version}`" in section
    assert not {rule.id for rule in RULE_SETS[version].rules} - explained


def test_each_reason_of_a_pending_job_says_what_to_do() -> None:
    """A row names reasons in full, or with `…` for any text."""
    cells = _first_cells(_section("Why does a trial wait?"))
    named = [code.replace("…", "*") for cell in cells for code in re.findall(r"`([^`]+)`", cell)]
    known = {*pending_reasons._MEANINGS, *pending_reasons.STUCK}
    assert not {reason for reason in known if not any(fnmatchcase(reason, each) for each in named)}
