"""Growth of networks from parents to children."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aiperf_orch.planning.growth import effective_parents, growth_of

pytestmark = pytest.mark.unit

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("parents", "trials", "slots", "expected"),
    [
        (2.0, 4, 4, 2.0),  # the same size has the same number
        (1.0, 64, 4, 1.0),  # one parent of all
        (64.0, 64, 512, 512.0),  # each trial has its own
        (1.0, 1, 2, 2.0),
        (3.0, 4, 10_000, 9.0),  # of nine parents, four trials have three effectively
        (9.0, 10_000, 4, 3.0),
    ],
)
def test_number_of_parents_at_another_size(parents: float, trials: float, slots: int, expected: float) -> None:
    assert effective_parents(parents, trials, slots) == pytest.approx(expected, rel=2e-3)


def test_steps_are_differences_from_the_parent(trial: Make, sample: Make) -> None:
    seed = trial(trial=0, ops=100.0, period=10.0)
    children = [trial(trial=number, round=1, parent=0, ops=ops) for number, ops in ((1, 200.0), (2, 400.0))]
    growth = growth_of(sample(seed, *children))
    assert growth.steps[:, 0] == pytest.approx([-math.log(2) / 2, math.log(2) / 2])
    assert growth.steps[:, 1] == pytest.approx([0.0, 0.0])
    assert growth.depths.tolist() == [1.0, 2.0]
    assert growth.parents.tolist() == [1.0, 1.0]


def test_trials_without_an_epoch_or_an_end_make_no_step(trial: Make, sample: Make) -> None:
    others = [trial(trial=1, round=1, parent=0, is_complete=False), trial(trial=2, round=1, parent=0, epochs=0)]
    assert growth_of(sample(trial(), *others)).steps.shape == (0, 3)


def test_few_steps_make_no_walk(trial: Make, sample: Make) -> None:
    growth = growth_of(sample(trial(), trial(trial=1, round=1, parent=0, ops=7.0)))
    assert not growth.walk(5, 1, np.random.default_rng(0)).any()


def test_a_longer_walk_begins_with_the_shorter_one(trial: Make, sample: Make) -> None:
    trials = [trial(), *(trial(trial=each, round=each, parent=each - 1, ops=10.0**each) for each in range(1, 6))]
    trials = [*trials, trial(trial=6, round=6, parent=5, ops=3.0)]
    growth = growth_of(sample(*trials))
    short, long = (growth.walk(rounds, 1, np.random.default_rng(5)) for rounds in (9, 30))
    assert short.any()
    assert (long[:9] == short).all()
    assert not long[0].any()  # the first wave does not differ by growth
