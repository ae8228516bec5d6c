"""Tests of rankings of results that were evaluated by different versions of the rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.rank import rank_results
from aiperf_orch.committee.ranking import rank, rows_of
from aiperf_orch.committee.submission import ResultRow, Submission
from committee.result_rows import HASHES, cells, write

pytestmark = pytest.mark.unit

OLD, NEW = "aiperf-1.0", "aiperf-1.1"


def _submission(number: int, rules: str, operations: int, **changes: Any) -> Submission:
    row = cells(rules=rules, operations=operations, settings_sha256=HASHES[number], **changes)
    return Submission(Path(f"{number}"), ResultRow.model_validate(row), True)


def test_each_version_of_the_rules_has_its_places_the_newest_first() -> None:
    sent = [
        _submission(0, OLD, 9 * 10**18),
        _submission(1, NEW, 10**18),
        _submission(2, OLD, 8 * 10**18),
        _submission(3, NEW, 2 * 10**18),
        _submission(4, OLD, 8 * 10**18),
        _submission(5, NEW, 10**19, rankable="no", missed_rules="duration"),
    ]
    rows = rows_of(rank(sent, {}))
    assert [(row["file"], row["rules"], row["place"]) for row in rows] == [
        ("3", NEW, 1), ("1", NEW, 2), ("0", OLD, 1), ("2", OLD, 2), ("4", OLD, 2), ("5", NEW, None),
    ]  # fmt: skip


def test_the_version_of_the_rules_is_that_of_the_submission_that_counts() -> None:
    """A result.csv that states other rules does not move its campaign into the other ranking."""
    package = _submission(0, NEW, 10**18)
    stated = ResultRow.model_validate(cells(rules=OLD, operations=10**19, settings_sha256=HASHES[0]))
    rows = rows_of(rank([package, Submission(Path("stated.csv"), stated, None)], {}))
    assert [(row["file"], row["rules"], row["place"]) for row in rows] == [("0", NEW, 1), ("stated.csv", OLD, None)]


def test_the_output_states_the_version_of_each_row(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "old.csv", rules=OLD, operations=10**19),
        write(tmp_path / "new.csv", rules=NEW, settings_sha256=HASHES[1]),
    ]
    text = rank_results(paths, "table", None, None).text
    header, new, old, end = text.splitlines()
    assert header.split()[:4] == ["place", "status", "verified", "rules"]
    assert new.split()[:4] == ["1", "ranked", "unverified", NEW]
    assert old.split()[:4] == ["1", "ranked", "unverified", OLD]
    assert end == f"A ranking for each version of the rules, {NEW} and {OLD}: places are among results of one version."
    assert "A ranking" not in rank_results(paths[:1], "table", None, None).text
    rows = json.loads(rank_results(paths, "json", None, None).text)
    assert [(row["rules"], row["place"]) for row in rows] == [(NEW, 1), (OLD, 1)]
