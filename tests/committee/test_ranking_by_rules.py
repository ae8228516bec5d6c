"""Tests of rankings of results that were evaluated by different versions of the rules."""

from __future__ import annotations

import pytest

from aiperf_orch.commands.ranking_table import ranking_text
from aiperf_orch.committee.ranking_rows import rows_of
from committee.submissions import package, ranked, result_csv

pytestmark = pytest.mark.unit

OLD, NEW = "aiperf-1.0", "aiperf-1.1"


def test_each_version_of_the_rules_has_its_places_the_newest_first() -> None:
    sent = [
        package("0", 0, rules=OLD, operations=9 * 10**18),
        package("1", 1, rules=NEW, operations=10**18),
        package("2", 2, rules=OLD, operations=8 * 10**18),
        package("3", 3, rules=NEW, operations=2 * 10**18),
        package("4", 4, rules=OLD, operations=8 * 10**18),
        package("5", 5, rules=NEW, operations=10**19, rankable="no", missed_rules="duration"),
    ]
    entries = ranked(sent)
    assert [(row["file"], row["rules"], row["place"]) for row in rows_of(entries)] == [
        ("3", NEW, 1), ("1", NEW, 2), ("0", OLD, 1), ("2", OLD, 2), ("4", OLD, 2), ("5", NEW, None),
    ]  # fmt: skip
    lines = ranking_text(entries, [], None).splitlines()
    assert [line for line in lines if line.startswith("aiperf-")] == [
        f"{NEW}, imagenet, closed",
        f"{OLD}, imagenet, closed",
    ]


def test_the_version_of_the_rules_is_that_of_the_submission_that_counts() -> None:
    """A result.csv that states other rules does not move its campaign into the other ranking."""
    sent = [package("0", 0, rules=NEW, operations=10**18), result_csv("stated.csv", 0, rules=OLD, operations=10**19)]
    rows = rows_of(ranked(sent))
    assert [(row["file"], row["rules"], row["place"]) for row in rows] == [("0", NEW, 1), ("stated.csv", OLD, None)]
