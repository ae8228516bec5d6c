"""Metrics of a campaign for monitoring: each value is that of the records, and what is unknown is absent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from agent_builder import AgentBuilder
from aiperf_orch.commands.metrics import show_metrics
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import Finished
from aiperf_orch.results.result import compute_result

pytestmark = pytest.mark.unit
Build = Callable[..., Any]
Values = dict[str, float]


def _values(text: str, tag: str) -> Values:
    """Values by name, and by `name:label` where there is a label besides the campaign's tag."""
    found: Values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("campaign") == tag
            key = ":".join([sample.name.removeprefix("aiperf_"), *labels.values()])
            assert key not in found
            found[key] = sample.value
    return found


def _shown(made: Any) -> Values:
    return _values(show_metrics(made.path).text, made.directory.config.tag)


@pytest.fixture
def made(campaign: Build) -> Any:
    """A campaign with trials that ended, are lost, run and wait."""
    made = campaign(campaign__duration="3h")
    made.trial(0, [(2, 0.5), (8, 0.2)])
    made.submit(1)
    made.run(made.begin(1, 1), [made.epoch(1, 9, 0.4, 1)], 10, reason="LOST", final=False)
    made.submit(2)
    made.events(made.begin(3, 2), made.epoch(1, 20, 0.1, 2), made.epoch(2, 40, 0.3, 2), trial=2)
    made.began(3, 2)
    made.submit(3)
    return made


def test_the_values_are_those_of_the_score_and_the_journal(made: Any) -> None:
    found, score = _shown(made), compute_result(made.directory).score
    assert found["score_operations_per_second"] == pytest.approx(score.score, rel=1e-12)
    assert (found["operations_total"], found["epochs_total"]) == (score.operations, score.epochs) == (5 * 220, 5)
    assert found["best_error_ratio"] == score.error == 0.1
    states = {name: found[f"trials:{name}"] for name in ("running", "halted", "waiting", "to_be_retried", "ended")}
    assert states == {"running": 1, "halted": 0, "waiting": 1, "to_be_retried": 1, "ended": 1}
    assert {reason: found[f"attempts_total:{reason.value}"] for reason in EndReason} == {
        reason: int(reason in (EndReason.COMPLETED, EndReason.LOST)) for reason in EndReason
    }
    assert found["nodes_at_work"] == 1
    assert found["begin_timestamp_seconds"] == pytest.approx(made.start.timestamp(), abs=1e-3)
    assert found["deadline_timestamp_seconds"] == pytest.approx(made.at(3 * 3600).timestamp(), abs=1e-3)
    assert found["last_event_timestamp_seconds"] == pytest.approx(made.at(40).timestamp(), abs=1e-3)
    assert (found["phase:running"], found["phase:finished"]) == (1, 0)


def test_before_the_first_epoch_unknown_values_are_absent(campaign: Build) -> None:
    found = _shown(campaign())
    assert found["epochs_total"] == 0
    unknown = ("score", "best_error", "begin", "deadline", "power")
    assert not [name for name in found if name.startswith(unknown)]


@pytest.mark.parametrize(("trainer", "simulated"), [("torch", 0), ("simulated", 1)])
def test_a_campaign_says_that_it_is_over_and_whether_it_is_simulated(
    campaign: Build, trainer: str, simulated: int
) -> None:
    made = campaign(training__trainer=trainer)
    made.trial(0, [(2, 0.5)])
    made.write(Finished, reason="its 1 trials have ended", by_deadline=False)
    found = _shown(made)
    assert (found["phase:finished"], found["phase:running"], found["simulated"]) == (1, 0, simulated)


def test_power_is_that_of_the_latest_epoch_of_each_attempt_that_runs(campaign: Build) -> None:
    made = campaign()

    def epoch(number: int, end: float, joules: float | None, trial: int, attempt: int = 1) -> Any:
        made_epoch = made.epoch(number, end, 0.5, trial, attempt, start=end - 10)
        return replace(made_epoch, energy=joules, energy_of=None if joules is None else "accelerators")

    for trial, joules in enumerate([4000.0, 6000.0, None]):
        made.submit(trial)
        made.events(made.begin(1, trial), epoch(1, 20, 9e9, trial), epoch(2, 30, joules, trial), trial=trial)
    made.submit(3)
    made.run(made.begin(1, 3), [epoch(1, 20, 9e9, 3)], 21, reason="LOST", final=False)
    made.submit(3, 2)
    made.events(made.begin(30, 3, 2), trial=3, attempt=2)
    found = _shown(made)
    assert {name: value for name, value in found.items() if name.startswith("power")} == {
        "power_watts:accelerators": 400 + 600,
        "power_trials:accelerators": 2,
    }


def test_slots_are_those_of_the_agents(campaign: Build) -> None:
    made = campaign(campaign__duration="12h", campaign__concurrency=2, scheduler__kind="agents")
    workforce = AgentBuilder(made)
    [agent] = workforce.join("n1")
    workforce.run(0, [agent])
    found = _shown(made)
    assert found["slots:at_work"] == 1
    assert found["slots:idle"] == 8 - 1
