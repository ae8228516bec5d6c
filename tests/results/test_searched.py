"""Part "What was searched" of the report: its data, its section, and their limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.results import searched as limits
from aiperf_orch.results.report import render_report
from aiperf_orch.results.report_data import report_data
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.search_section import search_section
from aiperf_orch.results.searched import described, evenly, searched
from campaign_builder import CampaignBuilder

pytestmark = pytest.mark.unit
Build = Callable[..., Any]


def _of(made: Any) -> dict[str, Any]:
    found = searched(compute_result(made.directory))
    assert found is not None
    return found


def _section(made: Any) -> dict[str, Any]:
    section = search_section(report_data(compute_result(made.directory))["searched"], ("seconds", 1.0))
    assert section is not None
    return section


@pytest.fixture
def whole(campaign: Build, tmp_path: Any) -> Any:
    """A campaign of four trials with networks: 1 and 3 descend from 0; 3 is the best, 2 of the seed failed."""
    made = CampaignBuilder(tmp_path / "whole", campaign().directory.settings)
    made.propose(0, edits=[Edit("deeper", 3, kernel=5)])
    made.trial(0, [(5, 0.4), (9, 0.3)])
    made.propose(1, parent=0, edits=[Edit("wider", 1)])
    made.trial(1, [(15, 0.35)], at=10)
    made.submit(2)
    made.ended(2, reason="TRIAL_ERROR")
    made.propose(3, parent=0, edits=[Edit("deeper", 3, kernel=3)])
    made.trial(3, [(25, 0.2), (30, 0.25)], at=20)
    return made


def test_the_lineage_has_edit_error_and_size_of_each_step(whole: Any) -> None:
    steps = _of(whole)["lineage"]
    assert [(step["trial"], step["edits"], step["error"]) for step in steps] == [
        (0, "deeper after 3 (5×5)", 0.3),  # noqa: RUF001
        (3, "deeper after 3 (3×3)", 0.2),  # noqa: RUF001
    ]
    for step in steps:
        graph = whole._graphs[step["trial"]]
        assert (step["layers"], step["parameters"]) == (graph.depth, graph.parameters)
    section = _section(whole)
    assert [step["change"] for step in section["lineage"]] == [None, pytest.approx(-10)]
    assert section["network"]
    assert section["last"]["layers"] == whole._graphs[3].depth


def test_trials_have_time_and_value_of_their_lowest_error(whole: Any) -> None:
    trials = _of(whole)["trials"]
    assert trials["trial"] == [0, 1, 3]
    assert trials["ancestor"] == trials["parent"] == [None, 0, 0]
    assert trials["seconds"] == [9, 15, 25]
    assert trials["error"] == [0.3, 0.35, 0.2]
    assert trials["kernel_size"] == [3, None, 3]
    assert trials["layers"] == [whole._graphs[trial].depth for trial in (0, 1, 3)]


def test_the_best_curve_is_the_first(whole: Any) -> None:
    curves = _of(whole)["curves"]
    assert [curve["trial"] for curve in curves] == [3, 0, 1]
    assert (curves[0]["epochs"], curves[0]["errors"]) == ([1, 2], [0.2, 0.25])
    assert _section(whole)["best"] == ["solid: trial 3, 20 %", "dashed: trial 0, 30 %", "dotted: trial 1, 35 %"]


def test_hyperparameters_with_one_value_are_named_and_not_drawn(whole: Any) -> None:
    section = _section(whole)
    assert [panel["name"] for panel in section["panels"]] == ["number of layers", "number of parameters"]
    assert section["constant"] == ["dropout: 0", "batch size of a worker: 32", "kernel size of added convolutions: 3"]


def test_of_equal_errors_the_winner_is_the_best_curve(campaign: Build) -> None:
    made = campaign()
    made.trial(0, [(20, 0.2), (30, 0.1)])
    made.trial(1, [(25, 0.1)])
    found = _of(made)
    assert found["winner"]["trial"] == found["curves"][0]["trial"] == 1


def test_before_an_epoch_there_is_no_such_part(campaign: Build) -> None:
    made = campaign()
    assert searched(compute_result(made.directory)) is None
    made.submit()
    made.ended(reason="TRIAL_ERROR")
    assert "What was searched" not in render_report(compute_result(made.directory))


@pytest.mark.parametrize("error", [0.5, 0.0, 1.0])
def test_one_trial_with_one_epoch_is_drawn(campaign: Build, error: float) -> None:
    made = campaign()
    made.trial(0, [(2, error)])
    section = _section(made)
    assert (section["measured"], section["drawn"], section["panels"]) == (1, 1, [])
    assert section["network"] is None  # it has no specification
    assert "h0" in section["curves"]


def test_many_trials_are_thinned_and_the_winners_line_is_kept(campaign: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_TRIALS", 10)
    monkeypatch.setattr(limits, "MOST_CURVES", 7)
    monkeypatch.setattr(limits, "_MOST_EPOCHS", 5)
    made = campaign()
    for trial in range(40):
        point = Hyperparameters(kernel_size=3, dropout=trial / 100, batch_size=32)
        made.propose(trial, parent=trial - 5 if trial >= 5 else None, round=0, hyperparameters=point)
        best = 0.1 if trial == 38 else 0.5
        made.trial(trial, [((trial + at) / 10, best if at == 7 else 0.9) for at in range(1, 20)], at=trial / 10)
    found = _of(made)
    trials = found["trials"]["trial"]
    assert len(trials) == 10
    assert {3, 8, 13, 18, 23, 28, 33, 38} <= set(trials)
    assert found["measured_trials"] == 40
    for trial, ancestor in zip(trials, found["trials"]["ancestor"], strict=True):
        assert ancestor is None or (ancestor in trials and (trial - ancestor) % 5 == 0)
    assert len(found["curves"]) == 7
    for curve in found["curves"]:
        assert len(curve["epochs"]) <= 5
        assert (curve["epochs"][0], curve["epochs"][-1]) == (1, 19)
        assert 7 in curve["epochs"]  # its lowest error
    page = render_report(compute_result(made.directory))
    assert "10 of 40 trials are drawn" in page
    assert "7 of 40 trials are drawn" in page
    assert "It is that of the 10 trials that are drawn." in page


def test_a_long_lineage_names_the_number_of_trials_left_out(campaign: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MOST_STEPS", 3)
    made = campaign()
    for trial in range(6):
        made.propose(trial, parent=trial - 1 if trial else None, edits=[{"kind": "wider", "at": 1}])
        made.trial(trial, [(trial + 1, 0.9 - trial / 10)], at=trial)
    found = _of(made)
    assert [step["trial"] for step in found["lineage"]] == [0, 4, 5]
    assert found["left_out_steps"] == 3
    assert [step["change"] for step in _section(made)["lineage"]][:2] == [None, None]
    assert "3 trials after the first are left out." in render_report(compute_result(made.directory))


@pytest.mark.parametrize(
    ("number", "kept"),
    [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, list(range(10))), (20, list(range(10))), (0, [])],
)
def test_items_at_equal_distances(number: int, kept: list[int]) -> None:
    assert evenly(range(10), number) == kept


def test_edits_are_described() -> None:
    assert described([{"kind": "wider", "at": 4}, {"kind": "skip_add", "at": 3, "to": 9}]) == (
        "wider at 4, skip_add from 3 to 9"
    )
    assert described([{"kind": "<script>", "at": 1}]) == "unknown edit"
    assert described([{"kind": "wider", "at": 4}] * 8).endswith("wider at 4 and 2 more")
    assert described([]) == ""


def test_times_before_the_first_begin_are_drawn(campaign: Build) -> None:
    """As clocks that were set back give them."""
    data = _of_one(campaign)
    data["trials"]["seconds"] = [-5.0]
    assert search_section(data, ("seconds", 1.0))


def test_the_largest_section_is_small(campaign: Build) -> None:
    """With the data block, at most 200 kB, so that the whole page has 300 kB at most."""
    data = _of_one(campaign)
    number, points = limits.MOST_TRIALS, 20
    data["trials"] = {
        "trial": list(range(30_000, 30_000 + number)),
        "parent": [None, *range(29_999, 29_999 + number - 1)],
        "ancestor": [None, *range(30_000, 30_000 + number - 1)],
        "seconds": [40_000.1 + trial for trial in range(number)],
        "error": [0.212345 + trial / 1000 for trial in range(number)],
        "dropout": [0.1234 + trial / 1000 for trial in range(number)],
        "batch_size": [100 + trial for trial in range(number)],
        "kernel_size": [3 + trial % 3 for trial in range(number)],
        "layers": [150 + trial for trial in range(number)],
        "parameters": [30_000_000 + 1234 * trial for trial in range(number)],
    }
    curve = {"epochs": list(range(1, points + 1)), "errors": [0.212345 + at / 1000 for at in range(points)]}
    data["curves"] = [curve | {"trial": 30_000 + trial} for trial in range(limits.MOST_CURVES)]
    block = {"kind": "conv", "name": "conv 3x3", "layers": ["conv 3x3", "batch norm", "relu"], "channels": 512}
    data["blocks"] = [block | {"side": 14, "inputs": [max(at - 1, 0), max(at - 3, 0)]} for at in range(1, 131)]
    data["lineage"] = [
        data["lineage"][0] | {"trial": 30_000 + at, "edits": "skip_add from 11 to 90"} for at in range(40)
    ]
    section = search_section(data, ("hours", 3600.0))
    assert section is not None
    pictures = [
        section["network"],
        section["tree"],
        section["curves"],
        *(each["picture"] for each in section["panels"]),
    ]
    assert len(section["panels"]) == 5
    assert sum(map(len, pictures)) + len(json.dumps(data, separators=(",", ":"))) < 200_000


def _of_one(campaign: Build) -> dict[str, Any]:
    """The data of a campaign of one trial."""
    made = campaign()
    made.trial(0, [(2, 0.5)])
    return _of(made)
