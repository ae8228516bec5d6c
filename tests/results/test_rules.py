"""The rules of a ranked result: one that keeps them all, and each missed alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from importlib.resources import files
from typing import Any

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.records.journal import Finished
from aiperf_orch.results import rules
from aiperf_orch.results.result import Result, compute_result
from aiperf_orch.results.score import Score
from aiperf_orch.results.tables import result_row
from aiperf_orch.util.units import now


@pytest.fixture
def rankable(campaign: Callable[..., Any]) -> Result:
    """A result that keeps every rule, of a campaign that its deadline ended."""
    made = campaign()
    made.write(Finished, reason="its 1h are over", by_deadline=True)
    return replace(
        compute_result(made.directory),
        score=Score(operations=10, seconds=3600.0, score=1.0, error=0.30, regulated=1.0, epochs=1),
        phase=Phase.FINISHED,
        duration=3600.0,
        longest_epoch=100.0,
        simulated=False,
        data="imagenet",
        input_shape=(224, 224, 3),
        classes=1000,
        data_digests=frozenset({"1" * 64}),
        training_sizes=frozenset({1_281_167}),
        validation_sizes=frozenset({50_000}),
        precisions=frozenset({"bf16"}),
        foreign_weights=[],
        clock_skew=1.999,
        faults=[],
    )


def test_a_result_that_keeps_every_rule_is_rankable(rankable: Result) -> None:
    assert rules.misses(rankable) == []


def _short(seconds: float) -> Score:
    return Score(operations=10, seconds=seconds, score=1.0, error=0.2, regulated=1.0, epochs=1)


@pytest.mark.parametrize(
    ("changes", "rule", "why"),
    [
        ({"score": _short(3500), "duration": 3599.0}, "duration", "it measured 58m20s"),
        ({"score": _short(3500), "longest_epoch": 99.999}, "duration", "it measured 58m20s"),
        ({"score": _short(3499.999)}, "duration", "it measured 58m20s"),
        ({"score": Score(error=0.2), "longest_epoch": 0.0}, "duration", "it measured 0s"),
        ({"phase": Phase.RUNNING}, "ended", "it is running"),
        ({"phase": Phase.STOPPED}, "ended", "it is stopped"),
        ({"simulated": True}, "trained", "its trials were simulated"),
        ({"precisions": frozenset({"fp32", "fp8", "int8"})}, "precision", "trials computed in fp8, int8"),
        ({"data": "digits"}, "data", "its data set is digits"),
        (
            {"validation_sizes": frozenset({50_000, 360})},
            "data",
            "its images are (224, 224, 3), and it validated on 360",
        ),
        ({"training_sizes": frozenset({1_281_167, 900})}, "data", "its epochs trained on 900 images"),
        ({"data": "synthetic"}, "data", "its data set is synthetic"),
        ({"classes": 100}, "data", "its images are of 100 classes"),
        ({"data_digests": frozenset({"1" * 64, "2" * 64})}, "data", "its trials read 2 different listings of the data"),
        ({"input_shape": (32, 32, 3)}, "data", "its images are (32, 32, 3), and it validated on 50000"),
        ({"foreign_weights": [3, 4]}, "weights", "trials 3, 4 began with weights of no trial of it"),
        ({"score": replace(_short(3600), error=0.3001)}, "error", "its error is 30.01%"),
        ({"score": replace(_short(3600), error=None)}, "error", "no epoch has ended"),
        ({"clock_skew": 2.0}, "clocks", "a node's clock is 2.0 s off"),
        ({"faults": ["x:3: y", "z"]}, "records", "2 line(s) do not count; the first: x:3: y"),
    ],
)
def test_each_rule_is_missed_alone_and_says_why(rankable: Result, changes: Any, rule: str, why: str) -> None:
    [miss] = rules.misses(replace(rankable, **changes))
    assert (miss.rule.id, miss.why) == (rule, why)


def test_an_hour_whose_last_epoch_ended_earlier_is_long_enough(rankable: Result) -> None:
    assert rules.misses(replace(rankable, score=_short(3500))) == []
    assert rules.misses(replace(rankable, score=_short(3600), longest_epoch=0.0)) == []
    assert rules.misses(replace(rankable, score=_short(1900), longest_epoch=1700.0, duration=7200.0)) == []


def test_the_epoch_that_the_deadline_cut_off_may_have_been_as_long_as_the_longest(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.trial(0, [])
    made.submit(1)
    epochs = [made.epoch(1, 600, trial=1, start=300), made.epoch(2, 3400, trial=1, start=3290)]
    made.events(made.begin(trial=1), *epochs, trial=1)
    result = compute_result(made.directory)
    assert (result.score.seconds, result.longest_epoch) == (3400.0, 300.0)
    assert "duration" in [miss.rule.id for miss in rules.misses(result)]  # it may yet train on
    made.write(Finished, reason="its 1h are over", by_deadline=True)
    result = compute_result(made.directory)
    assert "duration" not in [miss.rule.id for miss in rules.misses(result)]
    assert "duration" in [miss.rule.id for miss in rules.misses(replace(result, longest_epoch=110.0))]


def test_trials_that_ran_out_before_the_hour_are_not_an_hour(campaign: Callable[..., Any]) -> None:
    made = campaign(campaign__max_trials=1)
    made.submit(0)
    made.events(made.begin(), made.epoch(1, 1810, start=1))
    made.write(Finished, reason="its 1 trials have ended", by_deadline=False)
    result = compute_result(made.directory)
    assert result.score.seconds + result.longest_epoch > 3600
    assert "duration" in [miss.rule.id for miss in rules.misses(result)]


def test_a_short_campaign_does_not_grow_long_by_waiting(
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


def test_rules_are_named_once_and_versioned() -> None:
    ids = [rule.id for rule in rules.RULES]
    assert len(set(ids)) == len(ids)
    assert rules.VERSION == "aiperf-1.0"
    assert rules.RULE_SET.sha256 == rules.FROZEN["aiperf-1.0"]


_TEXT = (files("aiperf_orch.results") / "aiperf-1.0.json").read_text()


@pytest.mark.parametrize(
    ("was", "now"),
    [("3600", "60"), ("0.3}", "0.5}"), ("at most 30 %", "at most 35 %"), ("50000", "5000"), ('"fp16"', '"fp8"')],
)
def test_rules_that_a_site_changed_are_not_called_by_their_version(was: str, now: str) -> None:
    assert was in _TEXT
    changed = rules.read_rules(_TEXT.replace(was, now))
    assert changed.version.startswith("aiperf-1.0-modified-")
    assert rules.read_rules(json.dumps(json.loads(_TEXT))).version == "aiperf-1.0"  # written otherwise, the same rules


def test_every_row_says_that_the_rules_were_changed(rankable: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = rules.read_rules(_TEXT.replace("0.3}", "0.5}"))
    monkeypatch.setattr(rules, "RULES", changed.rules)
    monkeypatch.setattr(rules, "VERSION", changed.version)
    row = result_row(replace(rankable, score=replace(_short(3600), error=0.4)))
    assert (row["rankable"], row["rules"]) == ("yes", changed.version)


def test_a_campaign_on_digits_is_never_rankable(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.trial(0, [(3600, 0.1)])
    missed = [miss.rule.id for miss in rules.misses(compute_result(made.directory))]
    assert missed == ["ended", "trained", "data"]
