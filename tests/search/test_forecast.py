"""Forecasts of learning curves: the paper's rule for ranking trials that trained for few epochs."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from aiperf_orch.search.forecast import forecast_error

pytestmark = pytest.mark.unit


def curve(epochs, a=0.08, b=2.0, c=0.3):
    return [1 - (a * math.log2(epoch + b) + c) for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize("epochs", [4, 15, 60])
def test_a_logarithmic_curve_is_continued(epochs):
    errors = curve(epochs)
    assert forecast_error(errors, 90, min(errors)) == pytest.approx(curve(90)[-1], abs=2e-3)


def test_noise_makes_the_forecast_more_conservative():
    noise = np.random.default_rng(0).normal(0, 0.01, 30)
    noisy = list(np.array(curve(30)) + noise)
    forecast = forecast_error(noisy, 90, min(noisy))
    assert forecast is not None
    assert curve(90)[-1] < forecast < min(noisy)


@pytest.mark.parametrize(
    "errors",
    [
        [],
        curve(3),
        [0.5] * 20,
        [0.3 + 0.01 * epoch for epoch in range(20)],
        [*curve(10), math.nan],
        [math.nan, *curve(10)],
        [*curve(10), math.inf],
        [0.9, 0.1] * 10,
        [1 - 0.09 * epoch for epoch in range(1, 11)],
    ],
    ids=["empty", "short", "flat", "worse and worse", "NaN", "NaN first", "infinite", "zigzag", "above accuracy 1"],
)
def test_a_curve_without_a_usable_forecast_gives_none(errors):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert forecast_error(errors, 90, min(errors, default=1.0)) is None


def test_a_forecast_above_the_best_error_is_not_used():
    errors = curve(60)
    assert forecast_error(errors, 90, 0.01) is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), max_size=60), st.integers(1, 200))
def test_any_curve_gives_a_smaller_error_or_none(errors, epoch):
    best = min(errors, default=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forecast = forecast_error(errors, epoch, best)
    assert forecast is None or 0 <= forecast < best


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(15, 60))
def test_the_fit_agrees_with_curve_fit(seed, epochs):
    noise = np.random.default_rng(seed).normal(0, 0.005, epochs)
    accuracies = 1 - np.array(curve(epochs)) + noise

    def model(epoch, a, b, c):
        return a * np.log2(epoch + b) + c

    bounds = ([-np.inf, 1e-3, -np.inf], [np.inf, 90, np.inf])
    seen = np.arange(1.0, epochs + 1)
    parameters, _ = curve_fit(model, seen, accuracies, p0=(0.08, 2, 0.3), bounds=bounds, max_nfev=10_000)
    spread = np.sqrt(np.mean((model(seen, *parameters) - accuracies) ** 2))
    expected = model(90, *parameters) - 2 * spread
    forecast = forecast_error(list(1 - accuracies), 90, 1.0)
    assert forecast == (pytest.approx(1 - expected, abs=5e-3) if expected <= 1 else None)
