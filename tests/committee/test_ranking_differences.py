"""Tests of the differences of two rankings, by their rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from aiperf_orch.committee.ranking_differences import differences, rows_to_compare
from aiperf_orch.committee.ranking_rows import rows_of
from aiperf_orch.committee.submission import Submission
from committee.submissions import package, ranked, result_csv

pytestmark = pytest.mark.unit

_UNREADABLE = Submission(Path("c"), None, False, "is cut off")


def _rows(sent: Sequence[Submission], **options: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(json.dumps(rows_of(ranked(sent, **options))))
    return rows


def _found(last: Sequence[Submission], present: Sequence[Submission], **options: Any) -> list[tuple[str, str, str]]:
    """Kind, file and changes of each difference."""
    found = differences(rows_to_compare(_rows(last)), rows_to_compare(_rows(present, **options)))
    return [(each.kind.value, each.row.file or "", "; ".join(each.changes)) for each in found]


def _named(name: str, submission: Submission) -> Submission:
    return replace(submission, path=Path(name))


_A = package("a", 1, operations=3 * 10**18, signed_by="a@a")
_B = package("b", 2, operations=2 * 10**18, signed_by="b@b")
_TOP = package("top", 3, operations=4 * 10**18)
_A_LATER = package("a2", 1, range(60, 80), operations=10**18, signed_by="a@a")
_A_BY_OTHERS = package("a2", 1, range(60, 80), operations=10**18, signed_by="b@b")
_A_UNSIGNED = package("a2", 1, range(60, 80), operations=10**18)
_A_OTHER_UNSIGNED = package("a1", 1, range(80, 100), operations=10**18)


def _faulty(submission: Submission) -> Submission:
    return replace(submission, verified=False, fault="a fault")


@pytest.mark.parametrize(
    ("last", "present", "expected"),
    [
        ([_A, _B], [_A, _B], []),
        ([_A, _B], [_B, _A], []),
        ([_A], [_A, _B], [("new", "b", "")]),
        ([_A, _B], [_A], [("gone", "b", "")]),
        ([_A], [_TOP, _A], [("new", "top", ""), ("changed", "a", "place 1 → 2")]),
        ([_A], [_named("renamed", _A)], []),
        ([_A], [_A, _named("copy", _A)], [("new", "copy", ""), ("changed", "a", "ranked → duplicate")]),
        ([_A, _B], [_A, _B, _A_LATER], [
            ("changed", "b", "place 2 → 1"),
            ("corrected", "a2", "place 1 → 2; 750 Tera-OPS → 250 Tera-OPS"),
        ]),
        ([_A], [_A_LATER], [("corrected", "a2", "750 Tera-OPS → 250 Tera-OPS")]),
        ([_A], [_A_BY_OTHERS], [("new", "a2", ""), ("gone", "a", "")]),
        ([_A_UNSIGNED], [_A], [("new", "a", ""), ("gone", "a2", "")]),
        ([_A], [_A_UNSIGNED], [("new", "a2", ""), ("gone", "a", "")]),
        ([_named("a1", _A_OTHER_UNSIGNED)], [_A_UNSIGNED], [("new", "a2", ""), ("gone", "a1", "")]),
        ([_faulty(_A)], [_A_LATER], [("new", "a2", ""), ("gone", "a", "")]),
        ([_A], [_faulty(_A_LATER)], [("new", "a2", ""), ("gone", "a", "")]),
        ([_UNREADABLE], [_named("c", _A)], [("changed", "c", "unreadable → ranked")]),
        ([_named("c", _A)], [_UNREADABLE], [("changed", "c", "ranked → unreadable")]),
        ([_named("c", _A)], [_named("c", _B)], [("new", "c", ""), ("gone", "c", "")]),
        ([result_csv("r", operations=10**18)], [result_csv("r", operations=2 * 10**18)], [
            ("changed", "r", "250 Tera-OPS → 500 Tera-OPS"),
        ]),
        ([package("d", 4, division="open")], [package("d", 4)], [
            ("changed", "d", "aiperf-1.1, imagenet, open → aiperf-1.1, imagenet, closed"),
        ]),
    ],
)  # fmt: skip
def test_differences_of_two_rankings(
    last: list[Submission], present: list[Submission], expected: list[tuple[str, str, str]]
) -> None:
    assert _found(last, present) == expected


def test_a_withdrawal_is_a_change_and_no_correction() -> None:
    tag = _A.row.campaign if _A.row else ""
    other = package("b", 2, campaign="other")
    assert _found([_A, other], [_A, other], withdrawn=[tag]) == [
        ("changed", "b", "place 2 → 1"),
        ("changed", "a", "ranked → withdrawn"),
    ]


def test_a_correction_is_found_again_only_once() -> None:
    assert _found([_A, _A_LATER], [_A, _A_LATER]) == []


def test_campaigns_that_were_not_sent_are_left_out() -> None:
    rows = _rows([_A])
    missing = dict.fromkeys(rows[0]) | {"status": "not sent", "commitment": "5" * 64}
    assert [row.file for row in rows_to_compare([*rows, missing])] == ["a"]


@pytest.mark.parametrize("change", [{"place": "first"}, {"status": None}, {"score": "much"}, None])
def test_rows_of_another_form_are_refused(change: dict[str, Any] | None) -> None:
    [row] = _rows([_A])
    with pytest.raises(ValidationError):
        rows_to_compare([row | change] if change else [{"status": "ranked"}])
