"""Tests of the collection of counted epochs and of faults in records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from aiperf_orch.campaign import safe_reading
from aiperf_orch.campaign.counted_epochs import counted_runs, trial_plan
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import TrialPlan
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.attempt_monitor import monitor_attempt
from aiperf_orch.results.result import Result, compute_result
from aiperf_orch.results.tables import write_tables
from aiperf_orch.util.errors import NewerVersionError, RecordError, TransientError
from failing_files import FailingOpen


@pytest.fixture
def made(campaign: Callable[..., Any]) -> Any:
    return campaign()


def _counted(result: Result) -> list[tuple[int, int, int]]:
    return [(epoch.trial, epoch.attempt, epoch.epoch) for epoch in result.collected.epochs]


def test_a_campaign_that_has_not_begun(made: Any) -> None:
    result = compute_result(made.directory)
    assert (result.started, _counted(result), result.score.operations, result.faults) == (None, [], 0, [])
    assert (result.longest_epoch, result.networks) == (0.0, 0)


def test_epochs_of_all_trials_count_by_their_ends(made: Any) -> None:
    made.trial(0, [(2, 0.5), (8, 0.3)])
    made.trial(1, [(4, 0.2)], at=1)
    result = compute_result(made.directory)
    assert _counted(result) == [(0, 1, 1), (1, 1, 1), (0, 1, 2)]
    assert (result.started, result.score.score, result.score.error) == (made.start, 82.5, 0.2)


def test_the_clock_begins_with_the_first_begin_of_any_trial(made: Any) -> None:
    made.trial(0, [(12, 0.5)], at=5)
    made.trial(1, [], at=2, reason="TRIAL_ERROR")
    result = compute_result(made.directory)
    assert result.started == made.at(2)
    assert result.score.score == 22.0


def test_epochs_past_the_deadline_do_not_count(made: Any) -> None:
    made.trial(0, [(1800, 0.5), (3600, 0.3), (3600.001, 0.1)])
    result = compute_result(made.directory)
    assert _counted(result) == [(0, 1, 1), (0, 1, 2)]
    assert (result.score.operations, result.score.seconds, result.score.error) == (440, 3600.0, 0.3)


def test_the_deadline_also_applies_to_late_trials(made: Any) -> None:
    made.trial(0, [(1, 0.5)])
    made.trial(1, [(3599, 0.4), (3601, 0.1)], at=3000)
    assert compute_result(made.directory).score.epochs == 2


def test_a_first_begin_in_the_journal_alone_sets_clock_and_deadline(made: Any) -> None:
    made.submit()
    made.events(made.begin(), trial=0)
    made.ended(reason="NODE_FAILURE", first_begin=made.start)  # ended before the controller read its begin line
    made.directory.events(0, 1, 0).unlink()
    made.trial(1, [(3000, 0.5), (3600, 0.4), (3601, 0.1), (4090, 0.0)], at=500)
    result = compute_result(made.directory)
    assert result.started == made.start
    assert _counted(result) == [(1, 1, 1), (1, 1, 2)]
    assert (result.score.seconds, result.score.error) == (3600.0, 0.4)


def test_the_longest_epoch_is_a_counted_epoch(made: Any) -> None:
    made.submit()
    epochs = [made.epoch(1, 70, start=10), made.epoch(2, 100, start=70), made.epoch(3, 3700, start=100)]
    made.events(made.begin(), *epochs)
    assert compute_result(made.directory).longest_epoch == 60.0


def test_a_network_of_several_trials_counts_once(made: Any) -> None:
    for trial, network in enumerate("aab"):
        made.submit(trial, network_hash=network * 64)
        made.events(made.begin(trial=trial), made.epoch(1, 1 + trial, trial=trial), trial=trial)
    made.trial(3, [], reason="TRIAL_ERROR")  # it ended no epoch
    assert compute_result(made.directory).networks == 2


def test_an_epoch_of_two_attempts_counts_once_with_the_earlier_end(made: Any) -> None:
    made.submit()
    made.events(made.begin(), made.epoch(1, 2, 0.5), made.epoch(2, 9, 0.4))
    made.began()
    made.ended(reason="LOST", final=False)
    made.submit(attempt=2)
    second = [made.epoch(2, 8, 0.3, attempt=2), made.epoch(3, 10, 0.2, attempt=2)]
    made.events(made.begin(3, attempt=2), *second, made.end(11, attempt=2), attempt=2)
    made.began(3, attempt=2)
    made.ended(attempt=2)
    result = compute_result(made.directory)
    assert _counted(result) == [(0, 1, 1), (0, 2, 2), (0, 2, 3)]
    assert result.score.operations == 660
    assert result.score.error == 0.2


def test_a_running_trial_counts_with_its_ended_epochs(made: Any) -> None:
    made.submit()
    made.events(made.begin(), made.epoch(1, 2, 0.5), made.epoch(2, 4).to_line().encode())
    result = compute_result(made.directory)
    assert _counted(result) == [(0, 1, 1)]
    assert result.started == made.start
    assert result.faults == []


def test_lines_written_after_the_recorded_end_do_not_count(made: Any) -> None:
    made.submit()
    path = made.events(made.begin(), made.epoch(1, 2, 0.5))
    made.began()
    made.ended(reason="LOST")
    with path.open("a") as file:
        file.write(made.epoch(2, 3, 0.1).to_line() + "\n")
    result = compute_result(made.directory)
    assert (_counted(result), result.faults) == ([(0, 1, 1)], [])


def test_controller_and_score_count_the_same_epochs_of_an_attempt(made: Any) -> None:
    """Lines after the recorded size of an events file count neither for later attempts nor for status and score."""
    made.submit()
    path = made.events(made.begin(), made.epoch(1, 2, 0.5))
    made.began()
    made.ended(reason="LOST", final=False)
    with path.open("a") as file:
        file.write(made.epoch(2, 3, 0.1).to_line() + "\ngarbage\n")
    made.events(made.begin(3, run=1), made.epoch(3, 4, 0.0, run=1), run=1)  # a later run does not count either
    made.submit(attempt=2)
    made.events(made.begin(5, attempt=2), made.epoch(2, 6, 0.4, attempt=2), attempt=2)
    state = CampaignState.of(read_journal(made.directory.journal))
    trial = state.trials[0]
    [run], faults = counted_runs(made.directory, trial, trial.attempts[0])
    assert ([epoch.epoch for epoch in run.epochs], faults) == ([1], [])
    assert trial.attempts[0].end is not None
    assert [run.recorded()] == trial.attempts[0].end.files
    earlier = monitor_attempt(made.directory, trial.attempts[1], trial).earlier
    assert [(epoch.attempt, epoch.epoch) for epoch in earlier] == [(1, 1)]
    result = compute_result(made.directory)
    assert (_counted(result), result.faults) == ([(0, 1, 1), (0, 2, 2)], [])
    assert result.score.error == 0.4


def test_only_complete_lines_of_a_live_attempt_count(made: Any) -> None:
    made.submit()
    path = made.events(made.begin(), made.epoch(1, 2), "garbage", made.epoch(2, 3).to_line().encode())
    trial = CampaignState.of(read_journal(made.directory.journal)).trials[0]
    [run], [fault] = counted_runs(made.directory, trial, trial.attempts[0])
    assert [epoch.epoch for epoch in run.epochs] == [1]
    assert fault.startswith(f"{path}:3: not an event")


@pytest.mark.parametrize("over", [False, True])
def test_a_run_with_another_specification_does_not_count(made: Any, over: bool) -> None:
    made.submit()
    path = made.events(
        made.begin(1, spec_sha256="f" * 64, precision="fp8"), made.epoch(1, 2, 0.0), made.epoch(2, 3, 0.0), made.end(4)
    )
    if over:
        made.ended()
    made.trial(1, [(9, 0.5)], at=5)
    result = compute_result(made.directory)
    assert _counted(result) == [(1, 1, 1)]
    assert (result.score.error, result.precisions) == (0.5, {"fp32"})
    assert result.faults[0] == (
        f"{path}:1: begin: its specification is not the one in the journal: nothing of this run counts"
    )
    assert len(result.faults) == 3


def test_the_trial_plan_follows_from_the_journal(campaign: Callable[..., Any]) -> None:
    made = campaign(training__warmup_epochs=[2, 4], training__epochs=5)
    for trial, round_ in enumerate((0, 1, 2)):
        made.submit(trial, round=round_)
    trials = CampaignState.of(read_journal(made.directory.journal)).trials.values()
    planned = [trial_plan(made.directory, trial) for trial in trials]
    assert planned == [TrialPlan(made.operations, epochs, "0" * 64) for epochs in (2, 4, 5)]


def test_a_run_that_began_after_the_recorded_end_does_not_count(made: Any) -> None:
    made.trial(0, [(2, 0.5)])
    made.events(made.begin(3, run=1), made.epoch(1, 1, 0.0, run=1), run=1)
    assert _counted(compute_result(made.directory)) == [(0, 1, 1)]


def test_changed_events_do_not_count_but_keep_the_start(made: Any) -> None:
    made.trial(0, [(2, 0.5)])
    made.trial(1, [(12, 0.4)], at=10)
    path = made.directory.events(0, 1, 0)
    path.write_text(path.read_text().replace('"error":0.5', '"error":0.0'))
    result = compute_result(made.directory)
    assert _counted(result) == [(1, 1, 1)]
    assert result.started == made.start  # a missing begin line must not shorten the measured time
    assert result.faults == [f"{path}: is not what the journal recorded when the attempt ended: none of it counts"]
    path.unlink()
    assert len(compute_result(made.directory).faults) == 1


def test_faults_name_file_and_line(made: Any) -> None:
    made.submit()
    lie = json.dumps(json.loads(made.epoch(1, 2).to_line()) | {"ops": 10**9})
    path = made.events(made.begin(), lie, "garbage", made.epoch(2, 3, 0.5))
    made.began()
    made.ended()
    result = compute_result(made.directory)
    assert _counted(result) == [(0, 1, 2)]
    assert [fault.split(": ")[0] for fault in result.faults] == [f"{path}:2", f"{path}:3"]


def test_skew_precision_and_versions_come_from_the_begin_lines(made: Any) -> None:
    made.trial(0, [(1, 0.5)], clock_skew=-3.5, precision="bf16")
    made.trial(1, [(1, 0.5)], clock_skew=1.0, precision="fp32", inherited=True)
    result = compute_result(made.directory)
    assert result.clock_skew == 3.5
    assert result.precisions == {"bf16", "fp32"}
    assert result.validation_sizes == {10}
    assert result.foreign_weights == [1]  # it has no parent


def test_a_damaged_journal_is_not_scored(made: Any) -> None:
    with made.directory.journal.open("a") as file:
        file.write("garbage\n")
    with pytest.raises(RecordError, match=r"journal\.jsonl:2: not a journal entry"):
        compute_result(made.directory)


def test_edited_settings_are_not_scored(made: Any) -> None:
    made.trial(0, [(1, 0.5), (4000, 0.1)])
    file = made.path / "campaign.yaml"
    file.write_text(file.read_text().replace("duration: 3600s", "duration: 7200s"))
    edited = type(made.directory).open(made.path)
    assert edited.settings.campaign.duration == 7200
    with pytest.raises(RecordError, match=r"campaign\.yaml: was changed after the campaign was made"):
        compute_result(edited)


@pytest.mark.parametrize("part", ["/events/", "journal.jsonl", "campaign.yaml"])
def test_a_transient_open_error_does_not_change_the_score(
    campaign: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    made = campaign()
    made.trial(0, [(1, 0.5), (2, 0.4)])
    made.trial(1, [(3, 0.3)])
    before = compute_result(made.directory).score
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", FailingOpen(part, at=1, times=3))
        assert compute_result(CampaignDirectory.open(made.path)).score == before
        patched.setattr(os, "open", FailingOpen(part, at=1, times=10**6))
        patched.setattr(safe_reading, "_LONGEST_PAUSE", 0.01)
        with pytest.raises(TransientError, match=rf"{part}.*: cannot be read for now: Stale file handle"):
            compute_result(CampaignDirectory.open(made.path))


def test_events_of_a_newer_version_are_no_result(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.trial(0, [(2, 0.5), (8, 0.2)])
    write_tables(compute_result(made.directory))
    before = made.directory.result.read_bytes()
    made.submit(1)
    begin = json.loads(made.begin(9, 1).to_line()) | {"format": 7, "versions": {"aiperf-orch": "9.0.0"}}
    made.events(json.dumps(begin), trial=1)
    with pytest.raises(NewerVersionError, match=r"00001-1\.0\.jsonl:1: written by aiperf-orch 9\.0\.0 in format 7"):
        compute_result(made.directory)
    assert made.directory.result.read_bytes() == before
