"""Tests of the rules: a result that meets all of them, and results that miss one each."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from aiperf_orch.campaign.events import LineFault
from aiperf_orch.campaign.format_versions import JOURNAL
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.results import rules
from aiperf_orch.results.result import Result
from aiperf_orch.results.score import Score
from results.rankable import RANKABLE, short_score

pytestmark = pytest.mark.unit

_OF_1_0 = CampaignState(by_deadline=True, journal_format=1)
_TRIALS_ENDED = CampaignState(by_deadline=False)


def _misses(result: Result) -> list[rules.Miss]:
    return rules.rules_of(result).misses(result)


@pytest.mark.parametrize("state", [RANKABLE.state, _OF_1_0])
def test_a_result_that_meets_every_rule_is_rankable(state: CampaignState) -> None:
    assert _misses(replace(RANKABLE, state=state)) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"score": short_score(3500), "duration": 3599.0}, "it measured 58m20s"),
        ({"score": short_score(3500), "longest_epoch": 99.999}, "it measured 58m20s"),
        ({"score": short_score(3499.999)}, "it measured 58m20s"),
        ({"score": Score(error=0.2), "longest_epoch": 0.0}, "it measured 0s"),
        ({"score": short_score(3600), "longest_epoch": 0.0}, None),
        ({"score": short_score(3500), "duration": 3600.0}, None),
        ({"score": short_score(1900), "longest_epoch": 1700.0, "duration": 7200.0}, None),  # a reason for 1.1
        ({"score": short_score(3600), "under_way": 2.0}, None),  # another one
    ],
)
def test_the_duration_of_version_1_0_is_that_of_the_measured_time(changes: Any, why: str | None) -> None:
    missed = [(miss.rule.id, miss.why) for miss in _misses(replace(RANKABLE, state=_OF_1_0, **changes))]
    assert missed == ([] if why is None else [("duration", why)])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"duration": 3599.0}, "it lasted 59m59s"),
        ({"duration": 3599.0, "score": short_score(3599)}, "it lasted 59m59s"),
        ({"state": _TRIALS_ENDED, "score": short_score(3599)}, "it lasted 59m59s"),
        ({"state": _TRIALS_ENDED, "score": Score(error=0.2)}, "it lasted 0s"),
        ({"under_way": 3239.0}, "epochs were under way for 53m59s"),
        ({"under_way": 1920.0, "score": short_score(1920), "longest_epoch": 1680.0}, "epochs were under way for 32m"),
        ({"under_way": 120.0, "longest_epoch": 60.0}, "epochs were under way for 2m"),
        ({"under_way": 0.0, "score": Score(error=0.2)}, "epochs were under way for 0s"),
        ({"under_way": 120.0, "state": _TRIALS_ENDED}, "epochs were under way for 2m"),
        ({"duration": 3600.0, "score": short_score(3590), "longest_epoch": 1.0}, None),
        ({"duration": 43200.0, "score": short_score(43000), "under_way": 20000.0}, None),  # twelve hours, with outages
        ({"state": _TRIALS_ENDED, "duration": 43200.0}, None),
    ],
)
def test_the_duration_since_version_1_1_is_that_of_epochs_under_way(changes: Any, why: str | None) -> None:
    missed = [(miss.rule.id, miss.why) for miss in _misses(replace(RANKABLE, **changes))]
    assert missed == ([] if why is None else [("duration", why)])


@pytest.mark.parametrize("state", [RANKABLE.state, _OF_1_0])
@pytest.mark.parametrize(
    ("changes", "rule", "why"),
    [
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
def test_each_missed_rule_is_reported_with_its_reason(changes: Any, rule: str, why: str, state: CampaignState) -> None:
    [miss] = _misses(replace(RANKABLE, state=state, **changes))
    assert (miss.rule.id, miss.why) == (rule, why)


@pytest.mark.parametrize(
    "changes",
    [
        {"data_digests": frozenset()},
        {"training_sizes": frozenset(), "validation_sizes": frozenset()},
        {"precisions": frozenset()},
        {"clock_skew": 0.0},
        {"score": replace(short_score(3600), error=0.0)},
    ],
)
def test_results_at_the_limits_miss_no_rule(changes: Any) -> None:
    assert _misses(replace(RANKABLE, **changes)) == []


def test_several_missed_rules_are_reported_in_the_order_of_the_rules() -> None:
    faults = [LineFault.at("events.line", "x:1", "y")]
    result = replace(RANKABLE, phase=Phase.STOPPED, clock_skew=3.0, faults=faults)
    assert [miss.rule.id for miss in _misses(result)] == ["ended", "clocks", "records"]


@pytest.mark.parametrize(("by_deadline", "missed"), [(True, []), (False, ["duration"])])
def test_only_the_deadline_interrupts_an_epoch(by_deadline: bool, missed: list[str]) -> None:
    for seconds in (3500, 3599.5):
        state = CampaignState(by_deadline=by_deadline, journal_format=1)
        result = replace(RANKABLE, score=short_score(seconds), state=state)
        assert [miss.rule.id for miss in _misses(result)] == missed


@pytest.mark.parametrize(
    ("version", "sha256"),
    [
        ("aiperf-1.0", "140e0f0a1e062d45eea9a87c4e5aec3b7e8caafa4cea4309040d24d6600476c3"),
        ("aiperf-1.1", "b58a6a26bc56f598848c59cc4607fc353cec2a6cc055ef498d74af43e74cd4f5"),
    ],
)
def test_rule_ids_are_unique_and_each_version_is_frozen(version: str, sha256: str) -> None:
    ids = [rule.id for rule in rules.RULE_SETS[version].rules]
    assert len(set(ids)) == len(ids)
    assert (rules.RULE_SETS[version].version, rules.RULE_SETS[version].sha256) == (version, sha256)


def test_versions_differ_in_the_rule_of_the_duration_only() -> None:
    first, second = (rules.RULE_SETS[version].rules for version in ("aiperf-1.0", "aiperf-1.1"))
    assert [rule.id for rule in first] == [rule.id for rule in second]
    assert [one.id for one, other in zip(first, second, strict=True) if one != other] == ["duration"]


def test_each_format_of_the_journal_has_its_rules() -> None:
    assert set(rules.OF_JOURNAL_FORMAT) == set(JOURNAL.since)
    assert list(rules.OF_JOURNAL_FORMAT.values()) == list(rules.RULE_SETS)
    for number, version in rules.OF_JOURNAL_FORMAT.items():
        assert rules.rules_of(replace(RANKABLE, state=CampaignState(journal_format=number))).version == version


@pytest.mark.parametrize("version", list(rules.FROZEN))
@pytest.mark.parametrize(
    ("was", "now"),
    [("3600", "60"), ("0.3}", "0.5}"), ("at most 30 %", "at most 35 %"), ("50000", "5000"), ('"fp16"', '"fp8"')],
)
def test_modified_rules_have_a_modified_version(was: str, now: str, version: str) -> None:
    text = (files("aiperf_orch.results") / f"{version}.json").read_text()
    assert was in text
    changed = rules.read_rules(text.replace(was, now))
    assert changed.version == f"{version}-modified-{changed.sha256[:12]}"
    assert rules.read_rules(json.dumps(json.loads(text))).version == version  # other whitespace, the same rules
