"""The time that a campaign still takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.commands.remaining_time import estimated_seconds, progress_text
from aiperf_orch.records.journal import Finished, Opened, Paused

pytestmark = pytest.mark.unit
Build = Callable[..., Any]


@pytest.fixture
def bounded(campaign: Build) -> Any:
    """Trials 0 to 2 of 10 ended after 10, 20 and 30 seconds, trial 2 by an error; trial 3 runs."""
    made = campaign(campaign__max_trials=10)
    made.write(Opened, host="login1", pid=1)
    for trial in range(4):
        made.submit(trial)
        end = 10 * (trial + 1)
        made.events(made.begin(0, trial), *([made.epoch(1, end, 0.2, trial)] if trial < 2 else []), trial=trial)
        made.began(0, trial)
        if trial < 3:
            made.ended(trial, at=end, reason="COMPLETED" if trial < 2 else "TRIAL_ERROR", final=True)
    return made


def _estimate(made: Any, seconds: float, shares: list[float]) -> float | None:
    return estimated_seconds(read_state(made.directory), made.directory.settings, shares, made.at(seconds))


def _text(made: Any, seconds: float, shares: list[float]) -> str:
    state, settings, time = read_state(made.directory), made.directory.settings, made.at(seconds)
    return progress_text(state, settings, estimated_seconds(state, settings, shares, time), time)


def test_the_pace_since_the_controller_began_counts(bounded: Any) -> None:
    assert _estimate(bounded, 40, [0.5]) == pytest.approx(6.5 * 40 / 3.5)
    bounded.write(Opened, host="login1", pid=2, at=3000)
    assert _estimate(bounded, 3100, [0.5]) is None, "too little since then"
    assert _estimate(bounded, 3100, [0.5, 1.0]) == pytest.approx(5.5 * 100 / 1.5)


def test_the_last_trials_take_as_long_as_others_took(campaign: Build) -> None:
    made = campaign(campaign__max_trials=4)
    made.write(Opened, host="login1", pid=1)
    for trial in range(3):
        made.trial(trial, [(5, 0.2), (20 + 10 * trial, 0.1)])
    made.submit(3)
    made.events(made.begin(25, 3), trial=3)
    made.began(25, 3)
    assert _estimate(made, 200, [0.9]) == pytest.approx(0.1 * 200 / 3.9)
    assert _estimate(made, 42, [0.25]) == pytest.approx(0.75 * 30)
    more = campaign("more", campaign__max_trials=5)
    more.write(Opened, host="login1", pid=1)
    more.trial(0, [(40, 0.2)])
    assert _estimate(more, 45, [0.9, 0.9, 0.9]) == pytest.approx(40), "the fifth has not begun"


def test_there_is_no_estimate_where_nothing_bounds_the_number_or_runs(bounded: Any, campaign: Build) -> None:
    bounded.write(Paused, reason="trial 2 ended TRIAL_ERROR", at=40)
    assert _estimate(bounded, 50, [0.5]) is None
    endless = campaign("endless", campaign__max_trials=None)
    endless.submit()
    endless.events(endless.begin(0))
    endless.began(0)
    assert _estimate(endless, 50, [1.0]) is None
    assert _text(endless, 600, [1.0]) == f"50m left until {_written(endless.at(3600))}"


def test_the_shorter_of_estimate_and_deadline_is_shown(bounded: Any) -> None:
    assert _text(bounded, 40, [0.5]) == "3 of 10 trials, about 1m14s left"
    assert _text(bounded, 3595, [0.5]) == f"3 of 10 trials, 5s left until {_written(bounded.at(3600))}"
    assert _text(bounded, 4000, [0.5]) == f"3 of 10 trials, 0s left until {_written(bounded.at(3600))}"


def test_a_finished_campaign_has_no_time_left(bounded: Any, campaign: Build) -> None:
    bounded.write(Finished, reason="its 1h are over", by_deadline=True, at=40)
    assert _text(bounded, 50, []) == "3 of 10 trials"
    assert _text(campaign("new", campaign__max_trials=None), 0, []) == ""


def _written(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
