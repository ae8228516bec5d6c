"""Tests of the rules with the records of campaigns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from importlib.resources import files
from typing import Any

import pytest

from aiperf_orch.records.journal import Finished
from aiperf_orch.results import rules
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import result_row
from aiperf_orch.util.units import now
from results.rankable import RANKABLE, short_score


def test_the_interrupted_epoch_may_be_as_long_as_the_longest_one(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.trial(0, [])
    made.submit(1)
    epochs = [made.epoch(1, 600, trial=1, start=300), made.epoch(2, 3400, trial=1, start=3290)]
    made.events(made.begin(trial=1), *epochs, trial=1)
    result = compute_result(made.directory)
    assert (result.score.seconds, result.longest_epoch) == (3400.0, 300.0)
    assert "duration" in [miss.rule.id for miss in rules.misses(result)]  # the campaign is still running
    made.write(Finished, reason="its 1h are over", by_deadline=True)
    result = compute_result(made.directory)
    assert "duration" not in [miss.rule.id for miss in rules.misses(result)]
    assert "duration" in [miss.rule.id for miss in rules.misses(replace(result, longest_epoch=110.0))]


def test_trials_that_end_before_an_hour_miss_the_duration(campaign: Callable[..., Any]) -> None:
    made = campaign(campaign__max_trials=1)
    made.submit(0)
    made.events(made.begin(), made.epoch(1, 1810, start=1))
    made.write(Finished, reason="its 1 trials have ended", by_deadline=False)
    result = compute_result(made.directory)
    assert result.score.seconds + result.longest_epoch > 3600
    assert "duration" in [miss.rule.id for miss in rules.misses(result)]


def test_the_result_does_not_depend_on_the_time_of_reading(
    campaign: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = campaign()
    made.start = now()
    made.trial(0, [(0.01, 0.1)])
    made.write(Finished, reason="its 1 trials have ended", by_deadline=False)
    result = compute_result(made.directory)
    monkeypatch.setattr("aiperf_orch.results.result.now", lambda: now() + timedelta(hours=2), raising=False)
    assert compute_result(made.directory) == result
    assert "duration" in [miss.rule.id for miss in rules.misses(result)]


def test_result_rows_state_modified_rules(campaign: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    text = (files("aiperf_orch.results") / "aiperf-1.0.json").read_text()
    changed = rules.read_rules(text.replace("0.3}", "0.5}"))
    monkeypatch.setattr(rules, "RULES", changed.rules)
    monkeypatch.setattr(rules, "VERSION", changed.version)
    row = result_row(replace(RANKABLE, directory=campaign().directory, score=replace(short_score(3600), error=0.4)))
    assert (row["rankable"], row["rules"]) == ("yes", changed.version)


def test_a_campaign_on_digits_is_never_rankable(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.trial(0, [(3600, 0.1)])
    missed = [miss.rule.id for miss in rules.misses(compute_result(made.directory))]
    assert missed == ["ended", "trained", "data"]
