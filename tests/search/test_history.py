"""Ranking and choice of observations, the cache of networks, and the set of tried networks."""

from __future__ import annotations

import pytest

from aiperf_orch.network import counts, morphisms, seeds
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search.history import MAX_OBSERVATIONS, History, Observation

pytestmark = pytest.mark.unit

SEED_NETWORK = seeds.small_residual(width=4)
POINT = Hyperparameters(kernel_size=3, dropout=0.0, batch_size=64)
RELU = next(layer.id for layer in SEED_NETWORK.layers if layer.kind == "relu")


def history(started: int, values: dict[int, float | None]) -> History:
    """Trials of the seed network, of which those with a value ended, in this order; None is a failed trial."""
    made = History(SEED_NETWORK)
    for trial in range(started):
        made.start(trial, Observation(None, (), POINT), f"hash{trial}", 1000 + trial)
    for trial, value in values.items():
        made.end(trial, value, value)
    return made


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ({}, []),
        ({0: 0.3, 1: 0.1, 2: 0.2}, [(0.1, 1), (0.2, 2), (0.3, 0)]),
        ({2: 0.1, 0: 0.1, 1: 0.2}, [(0.1, 0), (0.1, 2), (0.2, 1)]),
        ({0: None, 1: 0.4}, [(0.4, 1)]),
        ({0: 0.4, 1: 0.3, 2: 0.2, 3: 0.1}, [(0.1, 3), (0.2, 2), (0.3, 1)]),
    ],
    ids=["none", "by value", "of equal values the older trial", "without failed trials", "at most three"],
)
def test_the_best_trials(values, best):
    assert history(4, values).best(3) == best


def test_all_observations_are_used_up_to_128():
    values = {trial: 0.9 - trial / 1000 for trial in reversed(range(MAX_OBSERVATIONS))}
    assert history(MAX_OBSERVATIONS, values).ranked_observations() == values
    assert list(history(MAX_OBSERVATIONS, values).ranked_observations()) == list(range(MAX_OBSERVATIONS))


def test_of_a_long_history_the_best_and_the_newest_are_used():
    """300 trials, the oldest are the best: the best 64, and the 64 that ended last."""
    values = {trial: trial / 1000 for trial in range(300)}
    chosen = history(300, values).ranked_observations()
    assert list(chosen) == [*range(64), *range(300 - 64, 300)]
    assert chosen == {trial: trial / 1000 for trial in chosen}


def test_the_newest_are_those_that_ended_last_and_are_not_among_the_best():
    """300 trials, the newest are the best: the others are those that ended before them."""
    ended = [*range(100, 300), *range(100)]
    values = {trial: 0.001 * (300 - position) for position, trial in enumerate(ended)}
    assert list(history(300, values).ranked_observations()) == sorted(ended[-MAX_OBSERVATIONS:])


def test_hyperparameter_observations_include_failed_and_running_trials():
    made = history(5, {0: 0.5, 1: None, 3: 0.2})
    found = made.hyperparameter_observations()
    assert [(each.running, each.error) for each in found] == [
        (False, 0.5),
        (False, None),
        (True, None),
        (False, 0.2),
        (True, None),
    ]


def test_hyperparameter_observations_are_bounded():
    made = history(1000, {trial: trial / 1000 for trial in range(500)})
    found = made.hyperparameter_observations()
    assert sum(each.running for each in found) == MAX_OBSERVATIONS
    assert sum(not each.running for each in found) == MAX_OBSERVATIONS
    assert [each.error for each in found[:64]] == [trial / 1000 for trial in range(64)]
    assert made.hyperparameter_observations()[-1] == made[999]
    assert made[999 - MAX_OBSERVATIONS + 1].running


def test_the_running_observations_are_the_newest():
    made = History(SEED_NETWORK)
    for trial in range(200):
        point = POINT.model_copy(update={"batch_size": 2 + trial})
        made.start(trial, Observation(None, (), point), f"hash{trial}", 1000 + trial)
    sizes = [each.hyperparameters.batch_size for each in made.hyperparameter_observations()]
    assert sizes == [2 + trial for trial in range(200 - MAX_OBSERVATIONS, 200)]


def test_a_network_is_rebuilt_from_its_lineage_also_after_600_trials():
    """More networks than the cache holds: each trial is a child of the one before, every 50th of the seed network."""
    made, expected = History(SEED_NETWORK), {}
    for trial in range(600):
        parent = None if trial % 50 == 0 else trial - 1
        edits = (Edit("deeper", RELU, kernel=3),) if trial % 2 else ()
        made.start(trial, Observation(parent, edits, POINT), "", 0)
        expected[trial] = morphisms.apply_all(SEED_NETWORK if parent is None else expected[parent], edits)
        assert made.graph(trial) == expected[trial]
    assert len(made) == 600
    for trial in (0, 49, 99, 599):
        assert made.graph(trial) == expected[trial]


def test_tried_and_running_networks_and_the_seed_network_are_not_new():
    made = History(SEED_NETWORK)
    deeper = morphisms.apply(SEED_NETWORK, Edit("deeper", RELU, kernel=3))
    other = morphisms.apply(SEED_NETWORK, Edit("deeper", RELU, kernel=5))
    assert not made.is_new(SEED_NETWORK)
    assert made.is_new(deeper)
    made.start(0, Observation(None, (), POINT), deeper.hash, counts.count(deeper).train)
    assert not made.is_new(deeper)
    made.end(0, None, None)
    assert not made.is_new(deeper)
    assert made.is_new(other)
    made.start(1, Observation(None, (), POINT), "another network", counts.count(other).train)
    assert made.is_new(other), "equal operations do not make networks equal"


def test_calls_in_an_impossible_order_raise():
    made = history(1, {0: 0.5})
    with pytest.raises(ValueError, match="trial 0 was started before"):
        made.start(0, Observation(None, (), POINT), "", 0)
    with pytest.raises(ValueError, match="trial 1 has the parent 7, which was not started"):
        made.start(1, Observation(7, (), POINT), "", 0)
    for trial in (0, 1):
        with pytest.raises(ValueError, match=f"trial {trial} ended, but it is not running"):
            made.end(trial, 0.1, 0.1)
    assert made[0] == Observation(None, (), POINT, running=False, error=0.5)
