"""Tests of recognising the epochs of another package."""

from __future__ import annotations

from datetime import timedelta

import pytest

from aiperf_orch.committee.measurements import Measurements, measurements_of
from aiperf_orch.records.events import Epoch
from campaign_builder import START
from committee.submissions import measured

pytestmark = pytest.mark.unit


def _short(milliseconds: int, *, later: float) -> Measurements:
    """Thirty epochs of this duration, each later than in another campaign."""
    epochs = []
    for number in range(30):
        start = START + timedelta(seconds=number + later + number * later / 7)
        end = start + timedelta(milliseconds=milliseconds)
        fields = {"train_images": 1, "val_images": 1, "loss": number / 7, "error": 0.5, "ops": 1000, "batch": 1}
        epochs.append(Epoch(trial=0, attempt=1, run=0, epoch=number + 1, start=start, end=end, **fields))  # type: ignore[arg-type]
    return measurements_of(epochs, START, simulated=False)


def test_short_epochs_of_one_seed_take_equal_milliseconds_and_are_no_copy() -> None:
    first, again = _short(20, later=0), _short(20, later=0.013)
    assert not again.repeats(first)
    assert again.learned_as(first)
    assert _short(20_000, later=0.013).repeats(_short(20_000, later=0))


def test_simulated_campaigns_of_one_seed_learn_alike_and_are_not_noted() -> None:
    first, again = measured(range(20), simulated=True), measured(range(20), simulated=True, later=1)
    assert not again.learned_as(first)
    assert not again.repeats(first)


@pytest.mark.parametrize(("shared", "own", "repeats"), [(1, 10, True), (1, 11, False), (5, 50, True), (3, 31, False)])
def test_a_tenth_of_the_own_epochs_is_enough(shared: int, own: int, repeats: bool) -> None:
    other = measured(range(1000))
    copied = measured([*range(shared), *range(1000, 1000 + own - shared)], later=0.5)
    assert copied.repeats(other) is repeats


def test_a_few_equal_times_are_no_copy() -> None:
    other = measured(range(1000))
    assert not measured([*range(9), *range(1000, 1040)], loss=0.1).repeats(other)
    assert measured([*range(10), *range(1000, 1040)], loss=0.1).repeats(other)
    assert measured(range(3), loss=0.1).repeats(other)  # all of them


def test_the_hash_is_of_the_measurements_in_any_order() -> None:
    assert measured([1, 2, 3]).sha256 == measured([3, 1, 2]).sha256
    assert measured([1, 2, 3]).sha256 == measured([1, 2, 3], later=5).sha256
    assert measured([1, 2, 3]).sha256 != measured([1, 2, 3], longer=0.001).sha256
    assert not measured([]).repeats(measured([]))
