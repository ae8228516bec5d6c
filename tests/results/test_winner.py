"""The winner of a campaign as the terminal names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aiperf_orch.commands.score import summary
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.winner import lineage_of, winner_lines, winner_of
from campaign_builder import CampaignBuilder

pytestmark = pytest.mark.unit
Build = Callable[..., Any]


def _family(made: Any, parents: list[int | None]) -> None:
    """Trials with these parents, each with a lower error than the one before."""
    for trial, parent in enumerate(parents):
        made.propose(trial, parent=parent, edits=[{"kind": "wider", "at": 1}])
        made.trial(trial, [(5 + trial, (9 - trial) / 10)], at=trial)


def test_the_trial_with_the_lowest_error_wins_with_its_lineage(campaign: Build) -> None:
    made = campaign()
    _family(made, [None, 0, 0, 1, 2, 4])
    made.trial(6, [(30, 0.9)])
    winner = winner_of(compute_result(made.directory))
    assert winner is not None
    assert (winner.trial, winner.epoch, winner.error, winner.lineage) == (5, 1, 0.4, (0, 2, 4, 5))
    assert winner_lines(winner)[:2] == [
        "winner           trial 5, error 40.00% at epoch 1",
        "                 lineage: seed > 0 > 2 > 4 > 5",
    ]
    assert winner_lines(winner)[2:] == [
        "                 operations per image: 30 to train, 10 to validate",
        "                 batch size 32, dropout 0",
    ]


def test_a_long_lineage_is_shortened(campaign: Build) -> None:
    made = campaign()
    _family(made, [None, *range(7)])
    winner = winner_of(compute_result(made.directory))
    assert winner is not None
    assert winner_lines(winner)[1].endswith("seed > 0 > 1 > 2 > (2 more) > 5 > 6 > 7")


def test_a_lineage_without_end_ends(campaign: Build) -> None:
    made = campaign()
    _family(made, [None, 0, 1])
    state = compute_result(made.directory).state
    proposal = state.trials[1].proposal
    state.trials[1].proposal = proposal.model_copy(update={"parent": 2})
    assert lineage_of(state, 2) == (1, 2)
    state.trials[1].proposal = proposal.model_copy(update={"parent": 17})
    assert lineage_of(state, 2) == (1, 2)


@pytest.mark.parametrize("stated", [True, False])
def test_layers_and_parameters_are_those_of_the_network(campaign: Build, tmp_path: Any, stated: bool) -> None:
    made = campaign()
    made = CampaignBuilder(tmp_path / "whole", made.directory.settings, start=made.start)
    size = {} if stated else {"layers": None, "parameters": None}
    made.propose(0, edits=[Edit("deeper", 3, kernel=5)], **size)
    made.trial(0, [(5, 0.2)])
    winner = winner_of(compute_result(made.directory))
    assert winner is not None
    network: Graph = made._graphs[0]
    assert (winner.layers, winner.parameters) == (network.depth, network.parameters)
    assert winner_lines(winner)[2].endswith(f" {network.depth} layers, {network.parameters:,} parameters")
    assert winner_lines(winner)[4].endswith(", kernel size 3")
    made.directory.spec(0).write_text("{")
    damaged = winner_of(compute_result(made.directory))
    assert damaged is not None
    assert damaged.layers == (network.depth if stated else None)


def test_the_summary_counts_the_failures(campaign: Build) -> None:
    made = campaign()
    assert winner_of(compute_result(made.directory)) is None
    made.trial(0, [(5, 0.2)])
    assert "failures" not in summary(compute_result(made.directory))
    for trial, reason in enumerate(["LOST", "TRIAL_ERROR", "LOST", "STOPPED"], start=1):
        made.submit(trial)
        made.ended(trial, reason=reason)
    lines = summary(compute_result(made.directory)).splitlines()
    assert "winner           trial 0, error 20.00% at epoch 1" in lines
    [failures] = [number for number, line in enumerate(lines) if line.startswith("failures ")]
    assert lines[failures] == "failures         3 of 5 attempts failed: 2 LOST, 1 TRIAL_ERROR"
    assert lines[failures + 1].endswith(f" status {made.path} --failed")
