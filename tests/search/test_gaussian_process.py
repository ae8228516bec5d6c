"""Predictions of the Gaussian process."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.search.gaussian_process import NOISE, SMALLEST_SCALE, GaussianProcess

pytestmark = pytest.mark.unit


def between(first, second):
    """Distances of points on a line, for which exp(-distance) is a valid kernel."""
    return np.abs(np.subtract.outer(first, second))


def test_predictions_equal_the_textbook_formula():
    generator = np.random.default_rng(0)
    points, errors = generator.uniform(0, 20, 12), generator.random(12)
    process = GaussianProcess(between(points, points), errors)
    length = np.median(between(points, points)[np.triu_indices(12, 1)])
    inverse = np.linalg.inv(np.exp(-between(points, points) / length) + NOISE * np.eye(12))
    for point in generator.uniform(-5, 25, 20):
        covariance = np.exp(-np.abs(points - point) / length)
        mean, deviation = process.predict(np.abs(points - point))
        expected = errors.mean() + covariance @ inverse @ (errors - errors.mean())
        assert mean == pytest.approx(expected)
        assert deviation == pytest.approx(errors.std() * np.sqrt(1 - covariance @ inverse @ covariance))


def test_predictions_at_measured_networks_and_far_away():
    points, errors = np.array([0.0, 5.0, 10.0, 30.0]), np.array([0.1, 0.4, 0.2, 0.5])
    process = GaussianProcess(between(points, points), errors)
    for point, error in zip(points, errors, strict=True):
        mean, deviation = process.predict(np.abs(points - point))
        assert mean == pytest.approx(error, abs=0.01)
        assert deviation < 0.15 * errors.std()
    mean, deviation = process.predict(np.full(4, 1e6))
    assert (mean, deviation) == (pytest.approx(errors.mean()), pytest.approx(errors.std()))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 4))
def test_any_vectors_give_finite_predictions(seed, size, columns):
    generator = np.random.default_rng(seed)
    vectors = generator.integers(0, 3, (size, columns))  # some of them equal
    process = GaussianProcess(np.abs(vectors[:, None] - vectors).sum(2).astype(float), generator.random(size))
    mean, deviation = process.predict(np.abs(vectors - generator.integers(0, 3, columns)).sum(1).astype(float))
    assert np.isfinite(mean)
    assert 0 <= deviation <= process.scale


def test_equal_errors_leave_the_smallest_scale():
    for errors in (np.array([0.3]), np.full(4, 0.3)):
        process = GaussianProcess(np.ones((errors.size,) * 2) - np.eye(errors.size), errors)
        mean, deviation = process.predict(np.full(errors.size, 100.0))
        assert (mean, deviation) == (pytest.approx(0.3), pytest.approx(SMALLEST_SCALE))


def test_networks_at_distance_zero_are_averaged():
    process = GaussianProcess(np.zeros((2, 2)), np.array([0.2, 0.4]))
    assert process.predict(np.zeros(2))[0] == pytest.approx(0.3)


@pytest.mark.parametrize("distances", [np.zeros((1, 1)), np.full((3, 3), 0.25) - 0.25 * np.eye(3)])
def test_the_length_of_near_networks_is_one_layer(distances):
    """The covariance at a distance of one layer is 1/e, also if the median distance is smaller or unknown."""
    process = GaussianProcess(distances, np.full(len(distances), 0.3))
    covariance = np.full(len(distances), np.exp(-1))
    inverse = np.linalg.inv(np.exp(-distances) + NOISE * np.eye(len(distances)))
    _, deviation = process.predict(np.ones(len(distances)))
    assert deviation == pytest.approx(SMALLEST_SCALE * np.sqrt(1 - covariance @ inverse @ covariance))
