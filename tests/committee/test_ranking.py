"""Tests of rankings: places, divisions, statuses, rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.committee.entries import COMPARED
from aiperf_orch.committee.ranking_rows import rows_of
from aiperf_orch.committee.submission import ResultRow, Submission
from committee.result_rows import HASHES, cells
from committee.submissions import UNSIGNED, notes, outcome, package, ranked, result_csv

pytestmark = pytest.mark.unit


def _faulty(name: str, fault: str, **row: Any) -> Submission:
    return Submission(Path(name), ResultRow.model_validate(cells(**row)), False, fault)


def test_entries_are_sorted_by_score_and_equal_scores_share_a_place() -> None:
    operations = {"a": 10**15, "b": 3 * 10**15, "c": 2 * 10**15, "d": 2 * 10**15, "e": 10**14}
    sent = [package(name, number, operations=operations[name]) for number, name in enumerate(operations)]
    assert list(outcome(sent).items()) == [("b", "1"), ("c", "2"), ("d", "2"), ("a", "4"), ("e", "5")]


def test_invented_result_csv_files_have_no_place() -> None:
    sent = [*(result_csv(f"{number}.csv", number, operations=10**25) for number in range(5)), package("p", 9)]
    assert next(iter(outcome(sent).items())) == ("p", "1")
    assert {status for name, status in outcome(sent).items() if name != "p"} == {"unverified"}


def test_a_result_csv_names_the_package_of_its_campaign() -> None:
    entries = ranked([result_csv("row.csv"), package("p.tar.gz")])
    assert notes(entries) == {"p.tar.gz": "", "row.csv": "p.tar.gz is the package of this campaign"}


def test_places_are_counted_in_each_division() -> None:
    sent = [
        package("a", 0, operations=10**19),
        package("b", 1, operations=10**18),
        package("c", 2, division="open", operations=10**20),
        package("d", 3, division="closed", operations=10**17),
        package("e", 4, data="other", operations=10**21),
    ]
    assert outcome(sent) == {"a": "1", "b": "2", "d": "3", "c": "1", "e": "1"}
    divisions = [row["division"] for row in rows_of(ranked(sent))]
    assert divisions == [
        *["aiperf-1.1, imagenet, closed"] * 3,
        "aiperf-1.1, imagenet, open",
        "aiperf-1.1, other, closed",
    ]


def test_results_of_two_versions_of_the_rules_are_not_ranked_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiperf_orch.results.rules.FROZEN", {"aiperf-1.1": "", "aiperf-9.9": ""})
    sent = [package("a", 0), package("b", 1, rules="aiperf-9.9", operations=10**17), package("c", 2, operations=1)]
    assert list(outcome(sent).items()) == [("b", "1"), ("a", "1"), ("c", "2")]


def test_submissions_that_miss_a_rule_have_no_place() -> None:
    sent = [
        package("missed", 0, rankable="no", missed_rules="data duration", operations=10**30),
        package("simulated", 1, rankable="no", missed_rules="trained", simulated="yes"),
        package("modified", 2, rules="aiperf-1.1-modified-0123456789ab"),
        package("other counts", 3, counting="mine"),
        package("good", 4),
    ]
    assert list(outcome(sent).values()) == ["1", *["not rankable"] * 4]
    said = notes(ranked(sent))
    assert (said["missed"], said["simulated"]) == ("misses data duration", "misses trained")
    assert "its rules are aiperf-1.1-modified-0123456789ab" in said["modified"]


def test_a_faulty_package_is_not_ranked_and_states_its_first_fault() -> None:
    entries = ranked([_faulty("bad", "events/00003-1.0.jsonl:4: not an event"), package("good", 1)])
    assert notes(entries) == {"good": "", "bad": "events/00003-1.0.jsonl:4: not an event"}
    assert [entry.status.value for entry in entries] == ["ranked", "faulty"]


def test_a_package_without_a_signature_has_no_place_and_is_not_faulty() -> None:
    entries = ranked([package("plain", 0, unsigned=True), package("signed", 1, signed_by="b@b", operations=1)])
    assert [(entry.name, entry.status.value) for entry in entries] == [("signed", "ranked"), ("plain", "unsigned")]
    assert notes(entries)["plain"] == UNSIGNED
    assert [row["signed_by"] for row in rows_of(entries)] == ["b@b", None]
    assert [row["verified"] for row in rows_of(entries)] == ["yes", "yes"]


def test_a_row_has_the_efficiency_of_the_system() -> None:
    known: dict[str, Any] = {"operations_per_joule": 2e9, "energy_of": "accelerators"}
    rows = rows_of(
        ranked([package("a", peak_ops=1e14, **known), package("b", 1, number_of_nodes="", peak_ops=1e14, operations=1)])
    )
    columns = ("score_per_node", "score_per_accelerator", "operations_per_joule", "share_of_peak", "accelerators")
    assert [rows[0][name] for name in columns] == [6.25e13, 7.8125e12, 2e9, 0.078125, 32]
    assert [rows[1][name] for name in columns] == [None] * 5
    assert (rows[0]["submitter"], rows[0]["energy_of"], rows[0]["number_of_nodes"]) == ("a site", "accelerators", 4)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda campaign, epochs, signer, operations, rankable: package(
                    "x",
                    campaign,
                    range(20 * epochs, 20 * epochs + 20),
                    signed_by=signer,
                    unsigned=signer is None,
                    operations=operations,
                    rankable="yes" if rankable else "no",
                    missed_rules="" if rankable else "error",
                ),
                st.integers(0, 3),
                st.integers(0, 3),
                st.sampled_from(["a", "b", None]),
                st.integers(1, 5),
                st.booleans(),
            ),
            st.builds(lambda campaign: result_csv("r", campaign), st.integers(0, 3)),
            st.builds(lambda campaign: _faulty("f", "forged", settings_sha256=HASHES[campaign]), st.integers(0, 3)),
        ),
        max_size=10,
    ),
    st.lists(st.sampled_from([*HASHES[:3], "abcde"]), unique=True, max_size=2),
)
def test_every_file_is_listed_and_only_signed_packages_have_a_place(
    sent: list[Submission], withdrawn: list[str]
) -> None:
    entries = ranked(sent, withdrawn)
    assert sorted(map(id, sent)) == sorted(id(entry.submission) for entry in entries)
    placed = [entry for entry in entries if entry.place is not None]
    assert all(entry.submission.signed_by and entry.submission.verified for entry in placed)
    assert [entry.score for entry in placed] == sorted((entry.score for entry in placed), reverse=True)
    standing = [entry for entry in entries if entry.status in COMPARED and entry.submission.signed_by]
    assert len({entry.epochs.sha256 for entry in standing if entry.epochs}) == len(standing)  # no epochs count twice
