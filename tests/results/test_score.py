"""The benchmark's arithmetic, held against numbers reckoned by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.records.base import OperationsPerImage
from aiperf_orch.results.score import Score, regulated_score, score_of, series


@pytest.fixture
def made(campaign: Callable[..., Any]) -> Any:
    return campaign()


def test_a_small_example(made: Any) -> None:
    # 220 operations an epoch; ends at 2, 4 and 8 s
    epochs = [made.epoch(1, 2, 0.5), made.epoch(1, 4, 0.2, trial=1), made.epoch(2, 8, 0.3)]
    assert score_of(made.start, epochs) == Score(
        operations=660,
        seconds=8.0,
        score=82.5,
        error=0.2,
        regulated=82.5 * math.log(5),
        error_counted=0.2,
        epochs=3,
        train_images=12,
        val_images=30,
    )


def test_operations_are_those_of_the_images_really_processed(made: Any) -> None:
    epoch = made.epoch(1, 10, 0.5, train_images=1437, val_images=360)
    assert score_of(made.start, [epoch]).operations == 1437 * 30 + 360 * 10 == 46_710
    assert score_of(made.start, [epoch]).score == 4671.0


def test_time_is_exact_to_the_millisecond(made: Any) -> None:
    epoch = made.epoch(1, 0.007)
    score = score_of(made.start, [epoch])
    assert score.seconds == 0.007
    assert score.score == float(Fraction(220, 1) / Fraction(7, 1000))


def test_operations_beyond_64_bits_are_exact(made: Any) -> None:
    # 194.53 Peta-OPS for 12 h
    large = OperationsPerImage(forward=10**18 + 1, train=3 * 10**18 + 7)
    epochs = [
        made.epoch(number, 43200 * number / 28, train_images=100, val_images=1, error=0.0, operations=large)
        for number in range(1, 29)
    ]
    score = score_of(made.start, epochs)
    assert score.operations == 28 * (100 * (3 * 10**18 + 7) + 10**18 + 1) == 8_428_000_000_000_000_019_628
    assert score.score == float(Fraction(8_428_000_000_000_000_019_628, 43200))


def test_there_is_none_before_an_epoch_has_ended(made: Any) -> None:
    assert score_of(None, []) == score_of(made.start, []) == Score()
    assert Score().error is None
    assert Score().regulated is None
    assert Score().error_counted is None
    assert not Score().error_is_zero


def test_an_epoch_that_took_no_time_does_not_divide_by_zero(made: Any) -> None:
    score = score_of(made.start, [made.epoch(1, 0, start=0)])
    assert (score.operations, score.seconds, score.score) == (220, 0.0, 0.0)


@pytest.mark.parametrize(
    ("error", "factor"),
    [(1.0, 0.0), (0.5, math.log(2)), (0.1, math.log(10)), (1 / 720, math.log(720)), (1 / 360, math.log(360))],
)
def test_the_regulated_score(error: float, factor: float) -> None:
    assert regulated_score(1000.0, error) == pytest.approx(1000 * factor, rel=1e-12, abs=0)
    assert math.copysign(1, regulated_score(1000.0, error)) == 1  # not -0.0


@pytest.mark.parametrize(("error", "counted"), [(1.0, 1.0), (0.5, 0.5), (0.1, 0.1), (0.0, 1 / 720), (1 / 360, 1 / 360)])
def test_no_error_at_all_counts_as_half_an_image(made: Any, error: float, counted: float) -> None:
    score = score_of(made.start, [made.epoch(1, 1, error, train_images=100, val_images=360)])
    assert (score.error, score.error_counted) == (error, counted)
    assert score.error_is_zero is (error == 0)
    assert score.score == 6600.0
    assert score.regulated == pytest.approx(6600 * math.log(1 / counted), rel=1e-12, abs=0)


def test_no_error_at_all_is_said(made: Any) -> None:
    score = score_of(made.start, [made.epoch(1, 1, 0.0)])
    assert (score.error, score.error_is_zero, score.error_counted) == (0.0, True, 1 / 20)
    assert score.regulated == 220 * math.log(20)


def test_half_an_image_is_of_the_epoch_without_an_error(made: Any) -> None:
    epochs = [made.epoch(1, 1, 0.1, val_images=1000), made.epoch(2, 2, 0.0, val_images=50), made.epoch(3, 3, 0.0)]
    score = score_of(made.start, epochs)
    assert (score.error, score.error_counted) == (0.0, 1 / 100)


# over time


def test_a_long_campaign_has_a_point_every_six_minutes(made: Any) -> None:
    epochs = [made.epoch(number, 43200 * number / 48) for number in range(1, 49)]  # every 15 minutes
    points = series(made.start, epochs, 43200)
    assert [seconds for seconds, _ in points] == [360.0 * number for number in range(1, 121)]
    assert points[1] == (720.0, Score())  # nothing ended yet
    at_18_minutes = dict(points)[1080.0]
    assert (at_18_minutes.operations, at_18_minutes.seconds, at_18_minutes.score) == (220, 900.0, 220 / 900)
    at_30_minutes = dict(points)[1800.0]
    assert at_30_minutes.operations == 440  # what ends at the very time has ended by it
    assert points[-1] == (43200.0, score_of(made.start, epochs))


@pytest.mark.parametrize("last", [0.001, 0.019, 1, 59.999, 3600, 7199])
def test_a_short_campaign_has_at_least_20_points(made: Any, last: float) -> None:
    points = series(made.start, [made.epoch(1, last / 2, start=0), made.epoch(2, last)], 43200)
    assert 20 <= len(points) <= 22
    assert points[-1] == (last, score_of(made.start, [made.epoch(1, last / 2, start=0), made.epoch(2, last)]))


def test_one_epoch_at_the_very_start(made: Any) -> None:
    assert series(made.start, [made.epoch(1, 0, start=0)], 60) == [
        (0.0, score_of(made.start, [made.epoch(1, 0, start=0)]))
    ]


def test_there_is_no_series_before_an_epoch_has_ended(made: Any) -> None:
    assert series(None, [], 60) == series(made.start, [], 60) == []


@settings(deadline=None, max_examples=50)
@given(ends=st.lists(st.integers(1, 50_000_000), min_size=1, max_size=30))
def test_every_point_is_the_score_of_what_had_ended(made: Any, ends: list[int]) -> None:
    epochs = [made.epoch(number, end / 1000) for number, end in enumerate(sorted(ends), start=1)]
    points = series(made.start, epochs, 43200)
    assert points[-1] == (sorted(ends)[-1] / 1000, score_of(made.start, epochs))
    assert len(points) >= 20
    seconds = [time for time, _ in points]
    assert seconds == sorted(set(seconds))
    assert all(later - earlier <= 360.0001 for earlier, later in zip([0.0, *seconds], seconds, strict=False))
    for time, score in points[:: max(len(points) // 7, 1)]:
        by_then = [epoch for epoch in epochs if epoch.end <= made.start + timedelta(seconds=time)]
        assert score == score_of(made.start, by_then)
