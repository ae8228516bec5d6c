"""Tests of the rules: a result that meets all of them, and results that miss one each."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from aiperf_orch.campaign.events import LineFault
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.results import rules
from aiperf_orch.results.score import Score
from results.rankable import RANKABLE, short_score

pytestmark = pytest.mark.unit


def test_a_result_that_meets_every_rule_is_rankable() -> None:
    assert rules.misses(RANKABLE) == []


@pytest.mark.parametrize(
    ("changes", "rule", "why"),
    [
        ({"score": short_score(3500), "duration": 3599.0}, "duration", "it measured 58m20s"),
        ({"score": short_score(3500), "longest_epoch": 99.999}, "duration", "it measured 58m20s"),
        ({"score": short_score(3499.999)}, "duration", "it measured 58m20s"),
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
        ({"training_sizes": frozenset({1, 2, 3, 4})}, "data", "its epochs trained on 1, 2, 3 images"),
        ({"data_digests": frozenset({"1" * 64, "2" * 64})}, "data", "its trials read 2 different listings of the data"),
        ({"input_shape": (32, 32, 3)}, "data", "its images are (32, 32, 3), and it validated on 50000"),
        (
            {"foreign_weights": [1, 2, 3, 4, 5, 6]},
            "weights",
            "trials 1, 2, 3, 4, 5 began with weights from outside the campaign",
        ),
        ({"foreign_weights": [3, 4]}, "weights", "trials 3, 4 began with weights from outside the campaign"),
        ({"score": replace(short_score(3600), error=0.3001)}, "error", "its error is 30.01%"),
        ({"score": replace(short_score(3600), error=1.0)}, "error", "its error is 100.00%"),
        ({"score": replace(short_score(3600), error=None)}, "error", "no epoch has ended"),
        ({"clock_skew": 2.0}, "clocks", "a node's clock is 2.0 s off"),
        ({"faults": ["x:3: y", "z"]}, "records", "2 line(s) do not count; the first: x:3: y"),
    ],
)
def test_each_missed_rule_is_reported_with_its_reason(changes: Any, rule: str, why: str) -> None:
    [miss] = rules.misses(replace(RANKABLE, **changes))
    assert (miss.rule.id, miss.why) == (rule, why)


@pytest.mark.parametrize(
    "changes",
    [
        {"score": short_score(3600), "longest_epoch": 0.0},
        {"score": short_score(3500), "duration": 3600.0},
        {"data_digests": frozenset()},
        {"training_sizes": frozenset(), "validation_sizes": frozenset()},
        {"precisions": frozenset()},
        {"clock_skew": 0.0},
        {"score": replace(short_score(3600), error=0.0)},
    ],
)
def test_results_at_the_limits_miss_no_rule(changes: Any) -> None:
    assert rules.misses(replace(RANKABLE, **changes)) == []


def test_several_missed_rules_are_reported_in_the_order_of_the_rules() -> None:
    faults = [LineFault.at("events.line", "x:1", "y")]
    result = replace(RANKABLE, phase=Phase.STOPPED, clock_skew=3.0, faults=faults)
    assert [miss.rule.id for miss in rules.misses(result)] == ["ended", "clocks", "records"]


@pytest.mark.parametrize(("by_deadline", "missed"), [(True, []), (False, ["duration"])])
def test_only_the_deadline_interrupts_an_epoch(by_deadline: bool, missed: list[str]) -> None:
    for seconds in (3500, 3599.5):
        result = replace(RANKABLE, score=short_score(seconds), state=CampaignState(by_deadline=by_deadline))
        assert [miss.rule.id for miss in rules.misses(result)] == missed


def test_an_hour_with_an_interrupted_last_epoch_is_long_enough() -> None:
    assert rules.misses(replace(RANKABLE, score=short_score(3500))) == []
    assert rules.misses(replace(RANKABLE, score=short_score(3600), longest_epoch=0.0)) == []
    assert rules.misses(replace(RANKABLE, score=short_score(1900), longest_epoch=1700.0, duration=7200.0)) == []


def test_rule_ids_are_unique_and_the_version_is_frozen() -> None:
    ids = [rule.id for rule in rules.RULES]
    assert len(set(ids)) == len(ids)
    assert rules.VERSION == "aiperf-1.0"
    assert rules.RULE_SET.sha256 == rules.FROZEN["aiperf-1.0"]


_TEXT = (files("aiperf_orch.results") / "aiperf-1.0.json").read_text()


@pytest.mark.parametrize(
    ("was", "now"),
    [("3600", "60"), ("0.3}", "0.5}"), ("at most 30 %", "at most 35 %"), ("50000", "5000"), ('"fp16"', '"fp8"')],
)
def test_modified_rules_have_a_modified_version(was: str, now: str) -> None:
    assert was in _TEXT
    changed = rules.read_rules(_TEXT.replace(was, now))
    assert changed.version == f"aiperf-1.0-modified-{changed.sha256[:12]}"
    assert rules.read_rules(json.dumps(json.loads(_TEXT))).version == "aiperf-1.0"  # other whitespace, the same rules
