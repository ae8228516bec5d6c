"""Tests of rankings: places, corrections, withdrawals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.committee.ranking import RankingEntry, rank, rows_of
from aiperf_orch.committee.submission import ResultRow, Submission
from aiperf_orch.util.errors import UsageError
from committee.result_rows import HASHES, cells

pytestmark = pytest.mark.unit


def _submission(name: str, verified: bool | None = True, fault: str | None = None, **changes: Any) -> Submission:
    return Submission(Path(name), ResultRow.model_validate(cells(**changes)), verified, fault)


def _places(entries: list[RankingEntry]) -> list[tuple[str, str, int | None]]:
    return [(str(entry.submission.path), entry.status.value, entry.place) for entry in entries]


def test_entries_are_sorted_by_score_and_equal_scores_share_a_place() -> None:
    scores = {"a": 10**15, "b": 3 * 10**15, "c": 2 * 10**15, "d": 2 * 10**15, "e": 10**14}
    sent = [
        _submission(name, operations=operations, settings_sha256=HASHES[number])
        for number, (name, operations) in enumerate(scores.items())
    ]
    places = [(name, place) for name, _, place in _places(rank(sent, {}))]
    assert places == [("b", 1), ("c", 2), ("d", 2), ("a", 4), ("e", 5)]


def test_a_row_has_the_score_of_a_node_and_of_an_accelerator() -> None:
    named, unnamed = rows_of(
        rank([_submission("a"), _submission("b", settings_sha256=HASHES[1], number_of_nodes="", operations=1)], {})
    )
    assert (named["score"], named["score_per_node"], named["score_per_accelerator"]) == (2.5e14, 6.25e13, 7.8125e12)
    assert (named["number_of_nodes"], named["accelerators"], named["place"]) == (4, 32, 1)
    assert (unnamed["score_per_node"], unnamed["score_per_accelerator"], unnamed["accelerators"]) == (None, None, None)


def test_submissions_that_miss_a_rule_have_no_place() -> None:
    sent = [
        _submission("missed", rankable="no", missed_rules="data duration", operations=10**30),
        _submission("simulated", rankable="no", missed_rules="trained", simulated="yes", settings_sha256=HASHES[1]),
        _submission("modified", rules="aiperf-1.0-modified-0123456789ab", settings_sha256=HASHES[2]),
        _submission("other counts", counting="mine", settings_sha256=HASHES[3]),
        _submission("good", settings_sha256=HASHES[4]),
    ]
    entries = rank(sent, {})
    assert _places(entries)[0] == ("good", "ranked", 1)
    assert {status for _, status, _ in _places(entries)[1:]} == {"not rankable"}
    assert [entry.note for entry in entries[1:3]] == ["misses data duration", "misses trained"]
    assert "its rules are aiperf-1.0-modified-0123456789ab" in entries[3].note


def test_a_faulty_package_is_not_ranked_and_states_its_first_fault() -> None:
    fault = "events/00003-1.0.jsonl:4: not an event"
    entries = rank(
        [_submission("bad", verified=False, fault=fault), _submission("good", settings_sha256=HASHES[1])], {}
    )
    assert _places(entries) == [("good", "ranked", 1), ("bad", "faulty", None)]
    assert entries[1].note == fault


def test_the_same_campaign_twice_counts_once() -> None:
    entries = rank([_submission("a"), _submission("b"), _submission("c", settings_sha256=HASHES[1], operations=1)], {})
    assert _places(entries) == [("b", "ranked", 1), ("c", "ranked", 2), ("a", "duplicate", None)]
    assert entries[2].note == "equals b"


def test_a_later_file_corrects_an_earlier_one() -> None:
    entries = rank([_submission("a", operations=10**20), _submission("b", operations=10**18)], {})
    assert _places(entries) == [("b", "ranked", 1), ("a", "corrected", None)]
    assert [entry.note for entry in entries] == ["corrects a", "b counts instead"]


def test_a_correction_can_remove_a_result_from_the_ranking() -> None:
    entries = rank([_submission("a"), _submission("b", rankable="no", missed_rules="error")], {})
    assert _places(entries) == [("b", "not rankable", None), ("a", "corrected", None)]


def test_unverified_results_never_replace_a_verified_package() -> None:
    sent = [
        _submission("package"),
        _submission("row.csv", verified=None, operations=10**25),
        _submission("forged", verified=False, fault="result.csv:2: score: forged", operations=10**26),
    ]
    entries = rank(sent, {})
    assert _places(entries) == [("package", "ranked", 1), ("row.csv", "corrected", None), ("forged", "faulty", None)]
    assert rows_of(entries)[1]["verified"] == "unverified"


@pytest.mark.parametrize("name", ["abcde", HASHES[0]])
def test_a_withdrawn_campaign_is_listed_with_the_reason(name: str) -> None:
    sent = [_submission("a"), _submission("b"), _submission("c", campaign="other", settings_sha256=HASHES[1])]
    entries = rank(sent, {name: "a node was shared"})
    assert _places(entries) == [("c", "ranked", 1), ("a", "withdrawn", None), ("b", "withdrawn", None)]
    assert entries[1].note == "a node was shared"


def test_a_tag_of_two_campaigns_cannot_be_withdrawn() -> None:
    with pytest.raises(UsageError, match="abcde: several campaigns have this tag; withdraw one by its settings_sha256"):
        rank([_submission("a"), _submission("b", settings_sha256=HASHES[1])], {"abcde": ""})


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.builds(
            lambda verified, campaign, operations, rankable: _submission(
                "x",
                verified,
                fault="forged" if verified is False else None,
                settings_sha256=HASHES[campaign],
                operations=operations,
                rankable="yes" if rankable else "no",
                missed_rules="" if rankable else "error",
            ),
            st.sampled_from([True, False, None]),
            st.integers(0, 3),
            st.integers(1, 5),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_every_file_is_listed_and_no_campaign_is_ranked_twice(sent: list[Submission]) -> None:
    entries = rank(sent, {})
    assert sorted(map(id, sent)) == sorted(id(entry.submission) for entry in entries)
    ranked = [entry.submission.row for entry in entries if entry.place is not None]
    assert len({row.settings_sha256 for row in ranked if row}) == len(ranked)
    assert [row.score for row in ranked if row] == sorted((row.score for row in ranked if row), reverse=True)
    assert all(entry.submission.verified is not False for entry in entries if entry.place is not None)
