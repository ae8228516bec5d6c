"""Tests of scaling comparisons from rows of result.csv, without files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.committee.scaling import Measured, rows_of, scaling
from aiperf_orch.committee.submission import ResultRow
from aiperf_orch.util.errors import UsageError
from committee.result_rows import HASHES, cells

pytestmark = pytest.mark.unit


def _measured(number: int, score: float, *, doubt: str | None = None, **changes: Any) -> Measured:
    """A campaign with a score in OPS over 4000 s; its name and hash follow from its number."""
    row = cells(operations=int(score * 4000), settings_sha256=HASHES[number], **changes)
    return Measured(Path(f"{number}.csv"), ResultRow.model_validate(row), None, doubt)


def _sized(number: int, size: int, score: float, **changes: Any) -> Measured:
    return _measured(number, score, concurrency=size, number_of_nodes="", **changes)


@pytest.mark.parametrize(
    ("sizes", "scores", "efficiencies"),
    [
        ([1, 2, 4], [100.0, 200.0, 400.0], [1.0, 1.0, 1.0]),
        ([1, 2, 4], [100.0, 150.0, 200.0], [1.0, 0.75, 0.5]),
        ([4, 1, 2], [200.0, 100.0, 150.0], [1.0, 0.75, 0.5]),  # the order of arguments does not matter
        ([2, 8], [100.0, 500.0], [1.0, 1.25]),
    ],
)
def test_efficiency_is_the_score_per_unit_relative_to_the_smallest(
    sizes: list[int], scores: list[float], efficiencies: list[float]
) -> None:
    campaigns = [_sized(number, *each) for number, each in enumerate(zip(sizes, scores, strict=True))]
    found = scaling(campaigns, "concurrency", allow_differences=False)
    assert [point.size for point in found.points] == sorted(sizes)
    assert [point.efficiency for point in found.points] == pytest.approx(efficiencies)
    assert [row["ideal_score"] * row["efficiency"] for row in rows_of(found)] == pytest.approx(sorted(scores))


@pytest.mark.parametrize(
    ("first", "second", "unit"),
    [
        ((2, 4), (4, 4), "accelerators"),
        ((2, 4), (4, ""), "nodes"),  # one campaign does not state its accelerators
        ((2, 4), (4, 2), "nodes"),  # equal numbers of accelerators
        ((2, 4), (2, 4), "concurrency"),
        (("", 4), (2, 4), "concurrency"),
    ],
)
def test_the_default_unit_distinguishes_the_campaigns(first: Any, second: Any, unit: str) -> None:
    campaigns = [
        _measured(number, 100.0, concurrency=number + 1, number_of_nodes=nodes, accelerators_per_node=accelerators)
        for number, (nodes, accelerators) in enumerate((first, second))
    ]
    assert scaling(campaigns, None, allow_differences=False).unit == unit


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("simulated", "yes", "1.csv: simulated is yes, but no in 0.csv: the results are not comparable"),
        ("data", "digits", "1.csv: data is digits, but imagenet in 0.csv"),
        ("counting", "other", "1.csv: counting is other, but aiperf-1.0 in 0.csv"),
    ],
)
def test_properties_that_must_agree(column: str, value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        scaling([_sized(0, 1, 100.0), _sized(1, 2, 100.0, **{column: value})], None, allow_differences=True)


def test_different_settings_are_noted_when_they_are_allowed() -> None:
    campaigns = [_sized(0, 1, 100.0), _sized(1, 2, 100.0, precision="fp32")]
    with pytest.raises(UsageError, match="precision: bf16 before, fp32 now"):
        scaling(campaigns, None, allow_differences=False)
    notes = scaling(campaigns, None, allow_differences=True).notes
    assert notes[0] == "1.csv against 0.csv: precision: bf16 before, fp32 now"


def test_caveats_are_noted() -> None:
    campaigns = [_sized(0, 1, 100.0, state="stopped"), _sized(1, 2, 100.0, doubt="not verified")]
    assert scaling(campaigns, None, allow_differences=False).notes == [
        "1.csv: not verified",
        "0.csv: its campaign is stopped",
        "settings are compared only between campaign directories, not those of 0.csv, 1.csv",
    ]
