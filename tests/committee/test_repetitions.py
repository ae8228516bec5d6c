"""Tests of repeated campaigns: which are grouped, mean and interval."""

from __future__ import annotations

from typing import Any

import pytest

from aiperf_orch.committee.ranking_rows import rows_of
from aiperf_orch.committee.repetitions import repetitions_of
from aiperf_orch.committee.submission import Submission
from committee.submissions import package, ranked

pytestmark = pytest.mark.unit


def _repeated(name: str, number: int, operations: int = 10**18, **changes: Any) -> Submission:
    known: dict[str, Any] = {"signed_by": "s", "settings": "one", "operations": operations}
    return package(name, number, **known | changes)


def test_three_campaigns_have_a_mean_and_an_interval_of_students_t() -> None:
    sent = [_repeated("a", 0, 8 * 10**15), _repeated("b", 1, 10 * 10**15), _repeated("c", 2, 12 * 10**15)]
    entries = ranked(sent)
    [found] = repetitions_of(entries)
    assert (len(found.entries), found.mean) == (3, 2.5e12)
    half = 4.302653 * 0.5e12 / 3**0.5  # t of 2 degrees of freedom, standard deviation
    assert found.low == pytest.approx(2.5e12 - half)
    assert found.high == pytest.approx(2.5e12 + half)
    rows = rows_of(entries, [found])
    assert [(row["repetitions"], row["mean_score"]) for row in rows] == [(3, 2.5e12)] * 3


@pytest.mark.parametrize(
    "other",
    [
        _repeated("b", 1, settings="other"),
        _repeated("b", 1, signed_by="t"),
        _repeated("b", 1, rankable="no", missed_rules="error"),
        _repeated("b", 0, signed_by="s", operations=5),
    ],
    ids=["other settings", "another signer", "another status", "a correction"],
)
def test_other_campaigns_are_not_repetitions(other: Submission) -> None:
    assert repetitions_of(ranked([_repeated("a", 0), other])) == []


def test_a_disputed_campaign_is_no_repetition() -> None:
    sent = [package("a", 0, settings="one"), package("a resealed", 0, settings="one", operations=1)]
    assert repetitions_of(ranked(sent)) == []
    sent += [package("b", 1, settings="one"), package("c", 2, settings="one")]
    [found] = repetitions_of(ranked(sent))
    assert [entry.name for entry in found.entries] == ["b", "c"]
