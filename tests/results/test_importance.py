"""Importance of hyperparameters on planted data."""

from __future__ import annotations

import numpy as np
import pytest

from aiperf_orch.results.importance import importance

pytestmark = pytest.mark.unit


def _planted(weight: float, number: int, kind: str) -> tuple[list[float], list[float]]:
    """Values, and errors of which `weight` is the share of the variance that the value explains."""
    rng = np.random.default_rng(7)
    values = rng.choice([3.0, 5.0, 7.0], number) if kind == "discrete" else rng.random(number)
    signal = (values - values.mean()) / values.std()
    noise = rng.standard_normal(number)
    return values.tolist(), (0.3 + 0.02 * (weight**0.5 * signal + (1 - weight) ** 0.5 * noise)).tolist()


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.7])
def test_a_planted_share_of_the_variance_is_found(weight: float, kind: str) -> None:
    share = importance(*_planted(weight, 3000, kind))
    assert share == pytest.approx(weight, abs=0.04)


def test_a_curved_influence_is_found() -> None:
    values = np.linspace(-1, 1, 400)
    share = importance(values.tolist(), np.square(values).tolist())
    assert share is not None
    assert share > 0.9


def test_few_trials_of_noise_have_a_small_share_on_average() -> None:
    """Without the correction for the number of groups the mean is 7 / 29 = 24 %."""
    rng = np.random.default_rng(1)
    shares = [importance(rng.random(30).tolist(), rng.random(30).tolist()) or 0.0 for _ in range(300)]
    assert np.mean(shares) < 0.08


@pytest.mark.parametrize(
    ("values", "errors", "share"),
    [
        ([1, 2] * 10, [0.1, 0.2] * 10, 1.0),
        ([1, 1, 2, 2] * 5, [0.1, 0.2] * 10, 0.0),
        ([1, 2] * 9, [0.1, 0.2] * 9, None),  # too few trials
        ([3] * 20, [0.1, 0.2] * 10, None),
        ([1, 2] * 10, [0.1] * 20, None),
        (list(range(20)), [0.1] * 10 + [0.2] * 10, pytest.approx(0.9, abs=0.1)),
        ([0] * 60 + list(range(1, 10)), [0.1] * 60 + [0.3] * 9, 1.0),  # most are equal: groups have different sizes
    ],
)
def test_importance_of_small_tables(values: list[float], errors: list[float], share: float | None) -> None:
    assert importance(values, errors) == share


def test_the_order_of_trials_does_not_matter() -> None:
    values, errors = _planted(0.5, 200, "continuous")
    assert importance(values[::-1], errors[::-1]) == pytest.approx(importance(values, errors))
