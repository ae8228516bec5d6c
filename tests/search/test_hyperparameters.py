"""Hyperparameters: the first point, random points, and points from TPE."""

import subprocess
import sys

import numpy as np
import pytest

from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search.history import Observation
from aiperf_orch.search.hyperparameters import first_point, sample
from aiperf_orch.settings.models import SearchSettings

SETTINGS = SearchSettings()


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


def test_the_search_imports_no_slow_packages():
    slow = ("optuna", "torch", "pandas", "sklearn")
    code = f"import sys, aiperf_orch.search; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
