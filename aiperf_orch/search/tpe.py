"""Tree-structured Parzen estimator (TPE, Bergstra et al. 2011) of one hyperparameter at a time, in NumPy.

The constants are Optuna's: the best tenth of the points (25 at most) is good; the 25 newest points have full weight and
older ones less; a prior over the whole range counts as one more point; the deviation of a point is the wider gap to its
neighbours, but not below a fraction of the range; and the best of 24 samples from the good points is returned. Optuna
itself is not used because it is slower (docs/research/search.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

_SAMPLES: Final = 24
_MAX_GOOD: Final = 25
_FULL_WEIGHT: Final = 25

Floats = npt.NDArray[np.float64]


def good_count(points: int) -> int:
    """Number of points, the best ones, that count as good."""
    return min(math.ceil(points / 10), _MAX_GOOD)


def sample_number(
    good: Sequence[float], bad: Sequence[float], low: float, high: float, generator: np.random.Generator
) -> float:
    """Sample a number that maximises the density ratio of good to bad points.

    Args:
        good: values of the good points, oldest first.
        bad: values of the other points, oldest first.
        low: lower bound, inclusive.
        high: upper bound, inclusive.
        generator: source of all randomness; not used if the bounds are equal.
    """
    if low == high:
        return low
    good_density, bad_density = _TruncatedMixture(good, low, high), _TruncatedMixture(bad, low, high)
    samples = good_density.sample(generator)
    return float(samples[np.argmax(good_density.log_density(samples) - bad_density.log_density(samples))])


def sample_choice(good: Sequence[int], bad: Sequence[int], choices: int, generator: np.random.Generator) -> int:
    """Sample an index below `choices` that maximises the probability ratio of good to bad points, oldest first."""
    good_probability, bad_probability = _choice_probabilities(good, choices), _choice_probabilities(bad, choices)
    samples = generator.choice(choices, _SAMPLES, p=good_probability)
    return int(samples[np.argmax(np.log(good_probability[samples]) - np.log(bad_probability[samples]))])


class _TruncatedMixture:
    """Mixture of normal distributions centred at the points and at the prior, truncated to [low, high]."""

    def __init__(self, points: Sequence[float], low: float, high: float) -> None:
        self._low, self._high = low, high
        means = np.append(np.asarray(points, dtype=np.float64), (low + high) / 2)
        order = np.argsort(means, kind="stable")
        with_ends = np.concatenate([[low], means[order], [high]])
        gaps = np.diff(with_ends)
        wider = np.maximum(gaps[:-1], gaps[1:])
        if means.size > 2:  # the bounds of the range do not count as neighbours
            wider[0], wider[-1] = gaps[1], gaps[-2]
        deviations = np.empty_like(means)
        deviations[order] = np.clip(wider, (high - low) / min(100, 1 + means.size), high - low)
        deviations[-1] = high - low
        self._means, self._deviations = means, deviations
        weights = _weights(means.size - 1)
        self._weights = weights / weights.sum()
        self._below = ndtr((low - means) / deviations)
        self._within = ndtr((high - means) / deviations) - self._below

    def sample(self, generator: np.random.Generator) -> Floats:
        """Samples (_SAMPLES,)."""
        chosen = generator.choice(self._means.size, _SAMPLES, p=self._weights)
        quantiles = self._below[chosen] + generator.random(_SAMPLES) * self._within[chosen]
        samples = self._means[chosen] + self._deviations[chosen] * ndtri(quantiles)
        return np.clip(samples, self._low, self._high)

    def log_density(self, at: Floats) -> Floats:
        """Logarithms (n,) of the density at (n,), up to a constant that all mixtures share."""
        standardised = (at[:, None] - self._means) / self._deviations
        densities = np.exp(-(standardised**2) / 2) / (self._deviations * self._within)
        logarithms: Floats = np.log(densities @ self._weights)
        return logarithms


def _choice_probabilities(points: Sequence[int], choices: int) -> Floats:
    counts = np.bincount(np.asarray(points, dtype=np.intp), weights=_weights(len(points))[:-1], minlength=choices)
    weights = np.asarray(counts, dtype=np.float64) + 1 / choices  # the prior
    probabilities: Floats = weights / weights.sum()
    return probabilities


def _weights(points: int) -> Floats:
    """Weights (points + 1,) of points, oldest first, and of the prior as the last one."""
    full = np.ones(min(points, _FULL_WEIGHT) + 1)
    if points <= _FULL_WEIGHT:
        return full
    return np.concatenate([np.linspace(1 / points, 1, points - _FULL_WEIGHT), full])
