"""Tests of the score against manually computed numbers."""

from __future__ import annotations

import dataclasses
import math
from datetime import datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.records.events import Epoch
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.results.score import RunningScore, Score, regulated_score, score_of, series
from campaign_builder import SMALL_IMAGES, SMALL_OPERATIONS

pytestmark = pytest.mark.unit

START = datetime(2026, 1, 2, 3, tzinfo=timezone.utc)


def _epoch(
    number: int,
    end: float,
    error: float = 0.5,
    *,
    trial: int = 0,
    start: float | None = None,
    train_images: int = SMALL_IMAGES[0],
    val_images: int = SMALL_IMAGES[1],
    operations: OperationsPerImage = SMALL_OPERATIONS,
) -> Epoch:
    return Epoch(
        trial=trial,
        attempt=1,
        run=0,
        epoch=number,
        start=START + timedelta(seconds=end - 0.001 if start is None else start),
        end=START + timedelta(seconds=end),
        train_images=train_images,
        val_images=val_images,
        loss=1.0,
        error=error,
        ops=operations.of_images(trained=train_images, validated=val_images),
        batch=32,
    )


def test_a_small_example() -> None:
    # 220 operations an epoch; ends at 2, 4 and 8 s
    epochs = [_epoch(1, 2, 0.5), _epoch(1, 4, 0.2, trial=1), _epoch(2, 8, 0.3)]
    assert score_of(START, epochs) == Score(
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


def test_operations_are_those_of_the_processed_images() -> None:
    epoch = _epoch(1, 10, 0.5, train_images=1437, val_images=360)
    assert score_of(START, [epoch]).operations == 1437 * 30 + 360 * 10 == 46_710
    assert score_of(START, [epoch]).score == 4671.0


def test_time_is_exact_to_the_millisecond() -> None:
    epoch = _epoch(1, 0.007)
    score = score_of(START, [epoch])
    assert score.seconds == 0.007
    assert score.score == float(Fraction(220, 1) / Fraction(7, 1000))


def test_operations_beyond_64_bits_are_exact() -> None:
    # 194.53 Peta-OPS for 12 h
    large = OperationsPerImage(forward=10**18 + 1, train=3 * 10**18 + 7)
    epochs = [
        _epoch(number, 43200 * number / 28, train_images=100, val_images=1, error=0.0, operations=large)
        for number in range(1, 29)
    ]
    score = score_of(START, epochs)
    assert score.operations == 28 * (100 * (3 * 10**18 + 7) + 10**18 + 1) == 8_428_000_000_000_000_019_628
    assert score.score == float(Fraction(8_428_000_000_000_000_019_628, 43200))


def test_the_score_is_zero_before_an_epoch_has_ended() -> None:
    assert score_of(None, []) == score_of(START, []) == Score()
    assert dataclasses.astuple(Score()) == (0, 0.0, 0.0, None, None, None, 0, 0, 0)
    assert Score().error is None
    assert Score().regulated is None
    assert Score().error_counted is None
    assert not Score().error_is_zero


def test_an_epoch_of_duration_zero_gives_a_score_of_zero() -> None:
    score = score_of(START, [_epoch(1, 0, start=0)])
    assert (score.operations, score.seconds, score.score) == (220, 0.0, 0.0)


@pytest.mark.parametrize(
    ("error", "factor"),
    [(1.0, 0.0), (0.5, math.log(2)), (0.1, math.log(10)), (1 / 720, math.log(720)), (1 / 360, math.log(360))],
)
def test_the_regulated_score(error: float, factor: float) -> None:
    assert regulated_score(1000.0, error) == pytest.approx(1000 * factor, rel=1e-12, abs=0)
    assert math.copysign(1, regulated_score(1000.0, error)) == 1  # not -0.0


@pytest.mark.parametrize(("error", "counted"), [(1.0, 1.0), (0.5, 0.5), (0.1, 0.1), (0.0, 1 / 720), (1 / 360, 1 / 360)])
def test_an_error_of_zero_counts_as_half_an_image(error: float, counted: float) -> None:
    score = score_of(START, [_epoch(1, 1, error, train_images=100, val_images=360)])
    assert (score.error, score.error_counted) == (error, counted)
    assert score.error_is_zero is (error == 0)
    assert score.score == 6600.0
    assert score.regulated == pytest.approx(6600 * math.log(1 / counted), rel=1e-12, abs=0)


def test_an_error_of_zero_is_marked() -> None:
    score = score_of(START, [_epoch(1, 1, 0.0)])
    assert (score.error, score.error_is_zero, score.error_counted) == (0.0, True, 1 / 20)
    assert score.regulated == 220 * math.log(20)


def test_half_an_image_refers_to_the_epoch_with_error_zero() -> None:
    epochs = [_epoch(1, 1, 0.1, val_images=1000), _epoch(2, 2, 0.0, val_images=50), _epoch(3, 3, 0.0)]
    score = score_of(START, epochs)
    assert (score.error, score.error_counted) == (0.0, 1 / 100)


@pytest.mark.parametrize(
    ("errors", "best"),
    [((0.5,), 0.5), ((0.5, 0.2, 0.3), 0.2), ((0.2, 0.5), 0.2), ((1.0, 1.0), 1.0), ((0.3, 0.0, 0.1), 0.0)],
)
def test_the_error_is_the_lowest_of_the_epochs(errors: tuple[float, ...], best: float) -> None:
    score = score_of(START, [_epoch(number, number, error) for number, error in enumerate(errors, start=1)])
    assert (score.error, score.error_is_zero) == (best, best == 0)


def test_of_equal_errors_the_earlier_epoch_is_the_best() -> None:
    running = RunningScore(START)
    running.add(_epoch(1, 1, 0.5, val_images=10))
    running.add(_epoch(2, 2, 0.5, val_images=20))
    assert running.best is not None
    assert (running.best.epoch, running.last_end) == (1, START + timedelta(seconds=2))


def test_images_and_epochs_are_summed() -> None:
    score = score_of(START, [_epoch(1, 1, train_images=3, val_images=5), _epoch(2, 2, train_images=7, val_images=11)])
    assert (score.epochs, score.train_images, score.val_images) == (2, 10, 16)


def test_the_regulated_score_uses_the_score_and_the_counted_error() -> None:
    score = score_of(START, [_epoch(1, 2, 0.25)])
    assert (score.score, score.error_counted, score.regulated) == (110.0, 0.25, 110 * math.log(4))


# over time


def test_a_long_campaign_has_a_point_every_six_minutes() -> None:
    epochs = [_epoch(number, 43200 * number / 48) for number in range(1, 49)]  # every 15 minutes
    points = series(START, epochs, 43200)
    assert [seconds for seconds, _ in points] == [360.0 * number for number in range(1, 121)]
    assert points[1] == (720.0, Score())  # no epoch has ended
    at_18_minutes = dict(points)[1080.0]
    assert (at_18_minutes.operations, at_18_minutes.seconds, at_18_minutes.score) == (220, 900.0, 220 / 900)
    at_30_minutes = dict(points)[1800.0]
    assert at_30_minutes.operations == 440  # includes the epoch that ends at this time
    assert points[-1] == (43200.0, score_of(START, epochs))


@pytest.mark.parametrize("last", [0.001, 0.019, 1, 59.999, 3600, 7199])
def test_a_short_campaign_has_at_least_20_points(last: float) -> None:
    points = series(START, [_epoch(1, last / 2, start=0), _epoch(2, last)], 43200)
    assert 20 <= len(points) <= 22
    assert points[-1] == (last, score_of(START, [_epoch(1, last / 2, start=0), _epoch(2, last)]))


def test_a_single_epoch_at_the_start_is_one_point() -> None:
    assert series(START, [_epoch(1, 0, start=0)], 60) == [(0.0, score_of(START, [_epoch(1, 0, start=0)]))]


@pytest.mark.parametrize(
    ("last", "duration", "interval"),
    [
        (7200, 7200, 360.0),  # 1/20 of the duration
        (43200, 43200, 360.0),  # every six minutes
        (600, 43200, 30.0),  # 1/20 of the measured time
        (3600, 600, 30.0),  # 1/20 of the time limit
        (0.01, 43200, 0.0005),
    ],
)
def test_the_interval_follows_from_time_limit_and_measured_time(last: float, duration: float, interval: float) -> None:
    points = series(START, [_epoch(1, last / 2, start=0), _epoch(2, last)], duration)
    seconds = [time for time, _ in points]
    assert seconds[:2] == [interval, 2 * interval]
    assert seconds == sorted(set(seconds))
    assert points[-1][0] == last


def test_the_series_is_empty_before_an_epoch_has_ended() -> None:
    assert series(None, [], 60) == series(START, [], 60) == series(None, [_epoch(1, 1)], 60) == []


@settings(deadline=None, max_examples=50)
@given(ends=st.lists(st.integers(1, 50_000_000), min_size=1, max_size=30))
def test_every_point_is_the_score_of_the_epochs_ended_by_then(ends: list[int]) -> None:
    epochs = [_epoch(number, end / 1000) for number, end in enumerate(sorted(ends), start=1)]
    points = series(START, epochs, 43200)
    assert points[-1] == (sorted(ends)[-1] / 1000, score_of(START, epochs))
    assert len(points) >= 20
    seconds = [time for time, _ in points]
    assert seconds == sorted(set(seconds))
    assert all(later - earlier <= 360.0001 for earlier, later in zip([0.0, *seconds], seconds, strict=False))
    for time, score in points[:: max(len(points) // 7, 1)]:
        by_then = [epoch for epoch in epochs if epoch.end <= START + timedelta(seconds=time)]
        assert score == score_of(START, by_then)
