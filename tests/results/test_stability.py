"""Stability of the score, and the share of the accelerators' peak."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiperf_orch.records.events import Epoch
from aiperf_orch.results.peak_share import format_peak_share
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.stability import Stability, format_stability, stability_of
from aiperf_orch.results.summary import summary_lines

pytestmark = pytest.mark.unit

START = datetime(2026, 11, 1, tzinfo=timezone.utc)
Span = tuple[float, float, int]


def _epochs(*spans: Span) -> list[Epoch]:
    """Epochs from spans of begin and end in seconds, with their operations."""
    made = []
    for number, (begin, end, ops) in enumerate(sorted(spans, key=lambda each: each[1]), start=1):
        made.append(
            Epoch(
                trial=0,
                attempt=1,
                run=0,
                epoch=number,
                start=START + timedelta(seconds=begin),
                end=START + timedelta(seconds=end),
                train_images=8,
                val_images=2,
                loss=1.0,
                error=0.5,
                batch=4,
                ops=ops,
            )
        )
    return made


@pytest.mark.parametrize(
    ("spans", "mean", "variation"),
    [
        ([(0, 60, 600)], 10.0, 0.0),
        ([(0, 60, 600), (10, 50, 400)], 40 / 3 + 10 / 3, 0.2828),  # 20 for 20 of 30 s, then 10
        ([(0, 30, 600), (30, 60, 0)], 0.0, None),
        ([(0, 30, 600), (59, 60, 30)], 1.0, 29**0.5),  # all in one of 30 intervals
        ([(0, 30, 600), (60, 60, 30)], 1.0, 29**0.5),  # an epoch without a duration
    ],
)
def test_mean_and_variation_of_the_second_half(spans: list[Span], mean: float, variation: float | None) -> None:
    found = stability_of(START, _epochs(*spans))
    assert found is not None
    assert found.mean == pytest.approx(mean)
    assert found.variation == (None if variation is None else pytest.approx(variation, abs=1e-4))


@pytest.mark.parametrize(("start", "spans"), [(None, []), (START, []), (START, [(0, 0, 5)])])
def test_no_stability_without_time(start: datetime | None, spans: list[Span]) -> None:
    assert stability_of(start, _epochs(*spans)) is None


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5000), st.integers(0, 10**20)), min_size=1, max_size=30))
def test_the_mean_is_that_of_the_exact_sum(drawn: list[tuple[int, int, int]]) -> None:
    spans = [(begin, begin + length, ops) for begin, length, ops in drawn]
    last = max(end for _, end, _ in spans)
    exact, middle = Fraction(0), Fraction(last, 2)
    for begin, end, ops in spans:
        overlap = max(end - max(Fraction(begin), middle), Fraction(0))
        exact += ops * overlap / (end - begin)
    found = stability_of(START, _epochs(*[(float(a), float(b), ops) for a, b, ops in spans]))
    assert isinstance(found, Stability)
    assert found.mean == pytest.approx(float(exact / middle), rel=1e-12)


def test_texts() -> None:
    assert format_stability(1.5e12, 0.031) == "second half: 1.5 Tera-OPS on average, coefficient of variation 3.1%"
    assert format_peak_share(0.41, 0.382) == "41.0% of the accelerators' peak, 38.2% by matrix products alone"
    assert format_peak_share(0.41, None) == "41.0% of the accelerators' peak"


def test_share_of_the_peak(campaign: Any) -> None:
    made = campaign(system__accelerator_peak_ops=1e9, campaign__concurrency=2)
    made.trial(0, [(10, 0.5), (20, 0.3)], workers=3)
    result = compute_result(made.directory)
    peak = result.peak_share
    assert peak is not None
    assert peak.share == pytest.approx(result.score.operations / (1e9 * 3 * 2 * result.score.seconds))
    assert peak.utilisation is None  # the proposals of this campaign do not state it
    assert any("of the accelerators' peak" in line for line in summary_lines(result))


def test_no_share_of_an_unknown_peak(campaign: Any) -> None:
    made = campaign()
    made.trial(0, [(10, 0.5)])
    assert compute_result(made.directory).peak_share is None
