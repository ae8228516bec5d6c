"""The Parzen estimator: weights, densities, samples, and the choice between them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import kstest, truncnorm

from aiperf_orch.search import tpe

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("points", "good"), [(0, 0), (1, 1), (10, 1), (11, 2), (20, 2), (240, 24), (250, 25), (251, 25), (1000, 25)]
)
def test_the_best_tenth_is_good_but_25_points_at_most(points, good):
    assert tpe.good_count(points) == good


@pytest.mark.parametrize(
    ("points", "weights"),
    [
        (0, [1]),
        (3, [1, 1, 1, 1]),
        (25, [1] * 26),
        (27, [1 / 27, 1] + [1] * 26),
        (28, [1 / 28, (1 + 1 / 28) / 2, 1] + [1] * 26),
    ],
)
def test_old_points_have_less_weight_and_the_prior_that_of_a_new_one(points, weights):
    assert tpe._weights(points).tolist() == pytest.approx(weights)


def mixture(points, deviations, low=0.0, high=10.0):
    """The textbook density and distribution: normal distributions about the points and the prior, truncated."""
    means = [*points, (low + high) / 2]
    parts = [
        truncnorm((low - mean) / deviation, (high - mean) / deviation, mean, deviation)
        for mean, deviation in zip(means, deviations, strict=True)
    ]
    return (
        lambda x: np.mean([part.pdf(x) for part in parts], axis=0),
        lambda x: np.mean([part.cdf(x) for part in parts], axis=0),
    )


TABLE = [
    ([], [10]),  # the prior alone
    ([2.0], [10 / 3, 10]),  # one point: not below a third of the range
    ([2.0, 3.0], [10 / 4, 10 / 4, 10]),  # gaps of 1 and 2, not below a fraction of the range
    ([3.0], [10 / 3, 10]),
    ([9.0], [4, 10]),  # its neighbour is the prior at 5
    ([4.0], [4, 10]),  # of one point the bounds of the range are neighbours, too
    ([4.0, 4.5], [2.5, 2.5, 10]),  # of several points they are not
    ([5.5, 6.0], [2.5, 2.5, 10]),
    ([1.0, 4.0], [3, 3, 10]),
    ([1.0, 9.0], [4, 4, 10]),  # the bounds of the range are no neighbours
    ([4.0, 9.0, 0.5], [3.5, 4, 3.5, 10]),  # in any order; the wider gap counts
    ([0.0, 10.0], [5, 5, 10]),
]


@pytest.mark.parametrize("low", [0.0, 100.0])
@pytest.mark.parametrize(("points", "deviations"), TABLE)
def test_the_density_is_a_truncated_mixture_with_the_wider_gap_as_deviation(points, deviations, low):
    at = np.linspace(0, 10, 7)
    density, _ = mixture(points, deviations)
    moved = tpe._TruncatedMixture([low + point for point in points], low, low + 10)
    assert np.exp(moved.log_density(low + at)) / math.sqrt(2 * math.pi) == pytest.approx(density(at))


@pytest.mark.parametrize(("points", "deviations"), TABLE[1:3])
def test_samples_follow_the_density(points, deviations):
    made, generator = tpe._TruncatedMixture(points, 0.0, 10.0), np.random.default_rng(3)
    samples = np.concatenate([made.sample(generator) for _ in range(60)])
    assert len(samples) == 60 * 24
    assert kstest(samples, mixture(points, deviations)[1]).pvalue > 0.01


def test_newer_points_are_sampled_more_often():
    made, generator = tpe._TruncatedMixture([2.0] * 30 + [8.0] * 25, 0.0, 10.0), np.random.default_rng(3)
    samples = np.concatenate([made.sample(generator) for _ in range(60)])
    new = 25 / (25 + 1 + np.linspace(1 / 55, 1, 30).sum())
    assert np.mean(samples > 6.5) == pytest.approx(new, abs=0.06)


def test_many_points_have_deviations_of_at_least_a_hundredth_of_the_range():
    made = tpe._TruncatedMixture([5.0] * 300, 0.0, 10.0)
    density = np.exp(made.log_density(np.array([5.0])))[0]
    assert 0.9 * 10 < density < 10, "1 / 0.1, less the share of the prior"


def test_a_number_is_sampled_where_good_points_are_and_bad_ones_are_not():
    generator = np.random.default_rng(0)
    found = [tpe.sample_number([2.0, 2.1], [8.0, 7.9, 5.0], 0.0, 10.0, generator) for _ in range(30)]
    assert all(0 <= each < 4 for each in found)
    found = [tpe.sample_number([2.0, 8.0], [2.0, 2.1, 1.9], 0.0, 10.0, generator) for _ in range(30)]
    assert np.median(found) > 6, "bad points do not repel"


def test_equal_bounds_give_the_bound_and_use_no_randomness():
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    assert tpe.sample_number([1.0], [1.0], 1.0, 1.0, generator) == 1.0
    assert generator.bit_generator.state == before


@pytest.mark.parametrize(
    ("points", "probabilities"),
    [([], [1 / 3] * 3), ([0, 0, 1], [7 / 12, 4 / 12, 1 / 12]), ([2], [1 / 6, 1 / 6, 4 / 6])],
)
def test_probabilities_of_choices_are_their_frequencies_and_a_prior(points, probabilities):
    assert tpe._choice_probabilities(points, 3).tolist() == pytest.approx(probabilities)


def test_older_choices_have_less_weight():
    probabilities = tpe._choice_probabilities([0] * 30 + [1] * 30, 2)
    assert probabilities[1] > 1.3 * probabilities[0]


def test_a_choice_is_sampled_that_is_good_and_not_bad():
    generator = np.random.default_rng(0)
    assert {tpe.sample_choice([0, 0, 1], [0, 0, 0, 2], 3, generator) for _ in range(20)} == {1}
    assert {tpe.sample_choice([2], [0, 1], 3, generator) for _ in range(20)} == {2}
    rare = [tpe.sample_choice([0] * 100, [0] * 1000, 2, generator) for _ in range(40)]
    assert np.mean(rare) < 0.5, "choices are not sampled by their frequency among good points"
    counts = Counter(tpe.sample_choice([], [], 3, generator) for _ in range(60))
    assert set(counts) == {0, 1, 2}
