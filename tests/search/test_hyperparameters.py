"""Hyperparameters: the first point, random points, and points from TPE."""

from dataclasses import replace

import numpy as np
import pytest

from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search import hyperparameters
from aiperf_orch.search.history import Observation
from aiperf_orch.search.hyperparameters import first_point, random_point, sample
from aiperf_orch.settings.models import SearchSettings

pytestmark = pytest.mark.unit

SETTINGS = SearchSettings()
DEEPER = (Edit("deeper", 1, kernel=7),)


def observations(number: int, seed: int = 0) -> list[Observation]:
    """Trials that are better with less dropout and a larger batch; every seventh failed, the last two run."""
    generator = np.random.default_rng(seed)
    made = []
    for index in range(number):
        point = Hyperparameters(
            kernel_size=int(generator.choice([3, 5, 7])),
            dropout=float(generator.uniform(0, 0.2)),
            batch_size=int(generator.integers(32, 128, endpoint=True)),
        )
        error = 0.1 + 3 * point.dropout + (128 - point.batch_size) / 1000
        running = index >= number - 2
        made.append(Observation(0, (), point, running, None if running or index % 7 == 6 else error))
    return made


def test_the_first_point():
    assert first_point(SETTINGS) == Hyperparameters(kernel_size=3, dropout=0, batch_size=128)
    own = SearchSettings(kernel_sizes=[7, 5], batch_size=[8, 64], first_batch_size=32)
    assert first_point(own) == Hyperparameters(kernel_size=5, dropout=0, batch_size=32)


@pytest.mark.parametrize("known", [0, 1, 30])
def test_points_stay_within_their_bounds(known):
    for seed in range(20):
        point = sample(SETTINGS, observations(known), np.random.default_rng(seed))
        assert point.kernel_size in SETTINGS.kernel_sizes
        assert 0 <= point.dropout <= 0.2
        assert 32 <= point.batch_size <= 128


def test_bounds_that_leave_one_point_give_this_point():
    only = SearchSettings(kernel_sizes=[5], max_dropout=0.0, batch_size=[64, 64])
    fixed = Hyperparameters(kernel_size=5, dropout=0, batch_size=64)
    known = [Observation(None, (), fixed, False, 0.1 + index / 100) for index in range(20)]
    assert sample(only, known, np.random.default_rng(1)) == fixed


def test_the_same_seed_and_trials_give_the_same_point():
    def drawn(seed: int) -> Hyperparameters:
        return sample(SETTINGS, observations(30), np.random.default_rng(seed))

    assert drawn(5) == drawn(5)
    assert len({drawn(seed) for seed in range(10)}) > 1


def test_points_are_similar_to_the_best_trials():
    points = [sample(SETTINGS, observations(60), np.random.default_rng(seed)) for seed in range(20)]
    assert np.mean([point.dropout for point in points]) < 0.07


def known(error: float | None, number: int, *, running: bool = False) -> Observation:
    """An observation that is identified by its batch size."""
    return Observation(None, (), Hyperparameters(kernel_size=3, dropout=0.0, batch_size=number), running, error)


@pytest.mark.parametrize(
    ("observations", "good"),
    [
        ([known(0.1 * number, number) for number in range(1, 11)], [1]),
        ([known(0.1 * (11 - number), number) for number in range(1, 11)], [10]),
        ([known(0.1, number) for number in range(1, 11)], [1]),
        ([known(0.01 * number, number) for number in range(1, 21)], [1, 2]),
        ([known(0.01 * (20 - number), number) for number in range(1, 21)], [19, 20]),
        ([*(known(0.5, number) for number in range(1, 11)), known(None, 99, running=True)], [1]),
        ([known(None, 99, running=True), *(known(0.5, number) for number in range(1, 11))], [1]),
        ([*(known(0.5, number) for number in range(1, 20)), known(0.1, 99)], [1, 99]),
        ([known(None, number, running=True) for number in range(1, 11)], []),
    ],
    ids=[
        "a tenth",
        "newest",
        "of equal errors the oldest",
        "two",
        "oldest first",
        "a running one is bad",
        "the oldest runs",
        "a lower error before an older one",
        "none",
    ],
)
def test_the_trials_with_the_lowest_errors_are_good(observations, good):
    better, worse = hyperparameters._split(observations)
    assert [each.hyperparameters.batch_size for each in better] == good
    expected = [each.hyperparameters.batch_size for each in observations]
    assert [each.hyperparameters.batch_size for each in worse] == [number for number in expected if number not in good]


@pytest.mark.parametrize(("ended", "random"), [(9, True), (10, False)])
def test_tpe_needs_ten_known_trials(ended, random):
    """Failed trials are not known; random points have dropout in the upper half, too."""
    observations = [known(0.1, 64 + number) for number in range(ended)] + [known(None, 99) for _ in range(20)]
    points = [sample(SETTINGS, observations, np.random.default_rng(seed)) for seed in range(30)]
    expected = [random_point(SETTINGS, np.random.default_rng(seed)) for seed in range(30)]
    assert (points == expected) is random


def test_running_trials_count_as_bad():
    at_zero = [known(0.1, 64) for _ in range(12)]
    elsewhere = Observation(None, DEEPER, Hyperparameters(kernel_size=7, dropout=0.2, batch_size=64), True)
    points = [sample(SETTINGS, [*at_zero, *[elsewhere] * 30], np.random.default_rng(seed)) for seed in range(20)]
    assert {point.kernel_size for point in points} <= {3, 5}
    assert np.mean([point.dropout for point in points]) < 0.05


def test_a_random_point_is_uniform_within_the_bounds():
    generator = np.random.default_rng(0)
    points = [random_point(SETTINGS, generator) for _ in range(400)]
    assert {point.kernel_size for point in points} == {3, 5, 7}
    sizes = [point.batch_size for point in points]
    assert (min(sizes), max(sizes)) == (32, 128)
    assert np.mean(sizes) == pytest.approx(80, abs=4)
    dropouts = [point.dropout for point in points]
    assert 0 <= min(dropouts) < 0.01
    assert 0.19 < max(dropouts) <= 0.2
    assert np.mean(dropouts) == pytest.approx(0.1, abs=0.01)


def test_each_bound_of_the_batch_size_is_sampled():
    """Rounding gives the bounds the same share as other values."""
    small = SearchSettings(batch_size=[8, 10])
    observations = [known(0.1, 9) for _ in range(12)]  # one is good, and all others are bad
    sizes = {sample(small, observations, np.random.default_rng(seed)).batch_size for seed in range(30)}
    assert sizes == {8, 10}


def test_a_kernel_size_that_was_removed_from_the_settings_is_ignored():
    only = SearchSettings(kernel_sizes=[5, 7])
    observations = [replace(known(0.1, 64), edits=DEEPER) for _ in range(12)]  # of kernel size 3
    assert {sample(only, observations, np.random.default_rng(seed)).kernel_size for seed in range(20)} == {5, 7}


@pytest.mark.parametrize(
    ("edits", "sampled"), [(DEEPER, {7}), ((), {3, 5, 7}), ((Edit("wider", 1),), {3, 5, 7})], ids=str
)
def test_a_kernel_size_counts_only_where_an_edit_used_it(edits, sampled):
    """Good trials have the kernel size 7, bad ones 3."""
    bad = [replace(known(0.5, 64), edits=edits) for _ in range(60)]
    point = Hyperparameters(kernel_size=7, dropout=0.0, batch_size=64)
    good = [Observation(None, edits, point, False, 0.1) for _ in range(6)]
    points = [sample(SETTINGS, [*bad, *good], np.random.default_rng(seed)) for seed in range(20)]
    assert {each.kernel_size for each in points} == sampled
