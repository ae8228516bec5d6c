"""Tests of the rules with the records of campaigns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from importlib.resources import files
from typing import Any, cast

import pytest

from aiperf_orch.records.journal import Finished
from aiperf_orch.results import rules
from aiperf_orch.results.result import Result, compute_result
from aiperf_orch.results.tables import result_row
from aiperf_orch.util.units import now
from results.rankable import RANKABLE, short_score


def _missed(result: Result, version: str = "aiperf-1.1") -> list[str]:
    return [miss.rule.id for miss in rules.RULE_SETS[version].misses(result)]


def test_in_version_1_0_the_interrupted_epoch_may_be_the_longest_one(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.trial(0, [])
    made.submit(1)
    epochs = [made.epoch(1, 600, trial=1, start=300), made.epoch(2, 3400, trial=1, start=3290)]
    made.events(made.begin(trial=1), *epochs, trial=1)
    result = compute_result(made.directory)
    assert (result.score.seconds, result.longest_epoch) == (3400.0, 300.0)
    assert "duration" in _missed(result, "aiperf-1.0")  # the campaign is still running
    made.write(Finished, reason="its 1h are over", by_deadline=True)
    result = compute_result(made.directory)
    assert "duration" not in _missed(result, "aiperf-1.0")
    assert "duration" in _missed(replace(result, longest_epoch=110.0), "aiperf-1.0")
    assert "duration" in _missed(result)  # epochs were under way for seven minutes


@pytest.mark.parametrize(
    ("duration", "outages"),
    [
        ("1h", []),
        ("1h", [(600, 660)]),  # a restart
        ("12h", [(600, 1200), (20000, 34400)]),  # of minutes, and of hours
    ],
)
def test_a_campaign_with_outages_meets_the_duration(
    duration: str, outages: list[tuple[int, int]], campaign: Callable[..., Any]
) -> None:
    """One trial at a time: 45 s pass before its first epoch, and the deadline interrupts the last one."""
    made = campaign(campaign__duration=duration, training__warmup_epochs=[15], training__epochs=15)
    end, at, trial = made.directory.settings.campaign.duration, 0.0, 0
    while at < end:
        made.submit(trial, at=at - 2)
        until = min([start for start, _ in outages if start > at], default=end)
        epochs = [made.epoch(each + 1, at + 45 + 97 * (each + 1), start=at + 46 + 97 * each) for each in range(15)]
        epochs = [replace(epoch, trial=trial) for epoch in epochs if epoch.end <= made.at(until)]
        stop = at + 45 + 97 * 15 if len(epochs) == 15 else until
        reason = "COMPLETED" if len(epochs) == 15 else "CAMPAIGN_ENDED" if until == end else "TRIAL_ERROR"
        made.run(made.begin(at, trial), epochs, stop, reason=reason)
        at, trial = max([stop + 20, *(over for start, over in outages if start == until == stop)]), trial + 1
    made.write(Finished, at=end + 3, reason=f"its {duration} are over", by_deadline=True)
    result = compute_result(made.directory)
    assert not {"duration", "ended", "records"} & set(_missed(result))
    assert result.under_way < end - sum(over - start for start, over in outages)


def test_trials_that_end_before_an_hour_miss_the_duration(campaign: Callable[..., Any]) -> None:
    made = campaign(campaign__max_trials=1)
    made.submit(0)
    made.events(made.begin(), made.epoch(1, 1810, start=1))
    made.write(Finished, reason="its 1 trials have ended", by_deadline=False)
    result = compute_result(made.directory)
    assert result.score.seconds + result.longest_epoch > 3600
    assert "duration" in _missed(result, "aiperf-1.0")
    assert "duration" in _missed(result)


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
    assert "duration" in _missed(result)


def test_result_rows_state_modified_rules(campaign: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    text = (files("aiperf_orch.results") / "aiperf-1.1.json").read_text()
    changed = rules.read_rules(text.replace("0.3}", "0.5}"))
    monkeypatch.setitem(cast(Any, rules.RULE_SETS), "aiperf-1.1", changed)
    row = result_row(replace(RANKABLE, directory=campaign().directory, score=replace(short_score(3600), error=0.4)))
    assert (row["rankable"], row["rules"]) == ("yes", changed.version)


def test_a_campaign_on_digits_is_never_rankable(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.trial(0, [(3600, 0.1)])
    assert _missed(compute_result(made.directory)) == ["duration", "ended", "trained", "data"]
