"""Relative speeds of nodes, and the rule that marks slow ones."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from aiperf_orch.commands.score import summary
from aiperf_orch.results.node_speeds import TrialSpeed, relative_speeds, slow_nodes
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import node_rows

pytestmark = pytest.mark.unit


def _campaign(
    seed: int, nodes: int, trials: int, noise: float, slow: Sequence[str] = (), factor: float = 1.0
) -> list[TrialSpeed]:
    """Speeds of trials that fall with the operations of their networks, and scatter."""
    generator, found = random.Random(seed), []
    for node in (f"n{number:03d}" for number in range(nodes)):
        for _ in range(trials):
            operations = int(math.exp(generator.gauss(20, 0.5)))
            speed = (operations / 5e8) ** -0.7 * math.exp(generator.gauss(0, noise))
            found.append(TrialSpeed((node,), 1000 * speed * (factor if node in slow else 1), operations, 64, 1))
    return found


def _marked(speeds: Sequence[TrialSpeed]) -> set[str]:
    return slow_nodes(relative_speeds(speeds))


@pytest.mark.parametrize(("nodes", "trials"), [(4, 8), (16, 10), (64, 10)])
@pytest.mark.parametrize("noise", [0.01, 0.05, 0.15])
def test_no_node_of_a_healthy_machine_is_marked(nodes: int, trials: int, noise: float) -> None:
    marked = sum(bool(_marked(_campaign(seed, nodes, trials, noise))) for seed in range(20))
    assert marked <= 1


@pytest.mark.parametrize("nodes", [4, 16, 64])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_a_planted_slow_node_is_found(nodes: int, noise: float) -> None:
    for seed in range(5):
        assert _marked(_campaign(seed, nodes, 8, noise, ["n002"], 0.8)) == {"n002"}


@pytest.mark.parametrize(
    ("trials", "factor", "expected"),
    [
        (2, 0.5, set()),  # too few trials
        (8, 0.97, set()),  # slower by less than 5 %
        (8, 1.5, set()),  # faster
        (8, 0.5, {"n002", "n003"}),
    ],
)
def test_what_is_marked(trials: int, factor: float, expected: set[str]) -> None:
    assert _marked(_campaign(1, 12, trials, 0.02, ["n002", "n003"], factor)) == expected


def test_relative_speeds_are_those_of_similar_networks_elsewhere() -> None:
    found = relative_speeds(_campaign(3, 16, 10, 0.0, ["n005"], 0.8))
    assert sorted(found) == [f"n{number:03d}" for number in range(16)]
    assert math.exp(sorted(found["n005"])[5]) == pytest.approx(0.8, rel=0.02)
    assert math.exp(sorted(found["n006"])[5]) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("speeds", [[], [TrialSpeed(("n1",), 5.0, 10, 64, 1)] * 40])
def test_nothing_is_compared_without_other_nodes(speeds: list[TrialSpeed]) -> None:
    assert relative_speeds(speeds) == {}
    assert slow_nodes({}) == set()


def test_a_trial_on_several_nodes_counts_on_each_and_is_compared_with_none_of_them() -> None:
    shared = [TrialSpeed(("a", "b"), 50.0, 1000 + number, 64, 1) for number in range(20)]
    others = [TrialSpeed((name,), 100.0, 1000 + number, 64, 1) for number in range(20) for name in "cdef"]
    found = relative_speeds([*shared, *others])
    assert all(value == pytest.approx(math.log(0.5)) for name in "ab" for value in found[name])
    assert slow_nodes(found) == {"a", "b"}


def test_rows_and_summary_name_the_slow_node(campaign: Callable[..., Any]) -> None:
    made = campaign()
    for trial in range(24):
        node, seconds = f"n{trial % 4}", 40 if trial % 4 == 2 else 10 + trial / 100
        made.submit(trial)
        epoch = made.epoch(1, seconds, 0.5, trial, start=0)
        made.run(made.begin(0, trial, hosts=[node]), [epoch], seconds)
    made.trial(24, [], hosts=["n3"], reason="TRIAL_ERROR")
    result = compute_result(made.directory)
    rows = node_rows(result)
    assert [(row["node"], row["trials"], row["failures"], row["slow"]) for row in rows] == [
        ("n0", 6, 0, "no"),
        ("n1", 6, 0, "no"),
        ("n2", 6, 0, "yes"),
        ("n3", 6, 1, "no"),
    ]
    assert rows[2]["relative_speed"] == pytest.approx(0.25, rel=0.1)
    assert "slow nodes       n2 (25%): of the speed of similar trials on others" in summary(result)
