"""Whole campaigns with the simulated trainer: end, stop, resumption, failure and repetition, on any scheduler."""

import time
from datetime import timedelta

import psutil
import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.records.base import EndReason
from aiperf_orch.results.result import compute_result
from aiperf_orch.util.errors import LockedError, RecordError
from controller.following import once, run_until, trained


def reasons(state):
    return {end.reason for end in state.ends}


def test_a_campaign_ends_after_its_trials_and_is_scored(any_campaign):
    campaign = any_campaign(campaign__max_trials=5)
    phase, state = campaign.run()
    assert phase is Phase.FINISHED
    assert len(state.trials) == 5
    assert len({trial.proposal.network_hash for trial in state.trials.values()}) == 5
    result = compute_result(campaign.directory)
    assert result.faults == []
    assert result.score.epochs == sum(end.epochs for end in state.ends)
    assert result.score.operations == sum(end.ops for end in state.ends) == state.operations
    assert result.score.error == state.best_error
    assert campaign.leaves_nothing_running()
    campaign.check_verifies()


def test_a_campaign_ends_at_its_deadline_and_nothing_after_it_counts(make_campaign, long_trials):
    campaign = make_campaign(campaign__duration="3s", campaign__max_trials=None, **long_trials)
    phase, state = campaign.run()
    assert phase is Phase.FINISHED
    assert EndReason.CAMPAIGN_ENDED in reasons(state)
    assert campaign.leaves_nothing_running()
    deadline = state.first_begin + timedelta(seconds=3)
    assert all(epoch.end <= deadline for epoch in compute_result(campaign.directory).collected.epochs)
    campaign.check_verifies()


def test_the_first_trial_runs_alone_until_it_has_ended_an_epoch(make_campaign):
    campaign = make_campaign(training__simulated_epoch_seconds=0.5)
    _, state = campaign.run(until=lambda controller: len(controller.state.live) > 1)
    second = state.trials[1].attempts[0].submitted.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    first_epoch = campaign.events()["00000-1.0.jsonl"][1]
    assert first_epoch["type"] == "epoch"
    assert first_epoch["end"] <= second


def test_a_stopped_campaign_goes_on_to_the_same_deadline(any_campaign, long_trials):
    campaign = any_campaign(**long_trials)

    def some_epochs(controller):
        return sum(len(live.epochs) for live in controller.live_attempts.values()) >= 3

    wanted = []
    phase, state = campaign.run(
        stop=lambda controller: bool(wanted) or (some_epochs(controller) and not wanted.append(1))
    )
    assert phase is Phase.STOPPED
    assert reasons(state) == {EndReason.STOPPED}
    assert campaign.leaves_nothing_running()
    before = compute_result(campaign.directory)
    assert before.score.epochs >= 3
    first_begin = state.first_begin

    phase, state = campaign.run(until=lambda controller: len(controller.state.trials) == 3)
    assert state.first_begin == first_begin
    after = compute_result(campaign.directory)
    kept = {(epoch.trial, epoch.epoch): epoch for epoch in after.collected.epochs}
    assert all(kept[epoch.trial, epoch.epoch] == epoch for epoch in before.collected.epochs)
    campaign.check_verifies()


def test_a_stop_request_file_is_obeyed(make_campaign, long_trials):
    campaign = make_campaign(**long_trials)

    def ask(controller):
        if controller.live_attempts and any(live.begin for live in controller.live_attempts.values()):
            campaign.directory.request_stop()
        return False

    phase, _ = campaign.run(until=ask)
    assert phase is Phase.STOPPED
    campaign.check_verifies()


def test_at_concurrency_one_a_campaign_repeats(make_campaign):
    first, second = (
        make_campaign(name, campaign__concurrency=1, campaign__max_trials=6, training__warmup_epochs=[2])
        for name in "ab"
    )
    first.run()
    second.run(until=lambda controller: controller.state.trials_ended >= 3)  # and with a restart in between
    second.run()
    assert first.specs() == second.specs()
    errors = [[end.best_error for end in compute_result(each.directory).state.ends] for each in (first, second)]
    assert errors[0] == errors[1]


def test_another_seed_gives_other_networks(make_campaign):
    first, second = (
        make_campaign(name, campaign__seed=seed, campaign__max_trials=2) for name, seed in (("a", 1), ("b", 2))
    )
    first.run()
    second.run()
    assert first.specs()[1]["network_hash"] != second.specs()[1]["network_hash"]


def test_a_job_that_is_killed_is_retried_from_its_checkpoint(any_campaign, long_trials):
    campaign = any_campaign(campaign__max_trials=1, **long_trials)

    def kill(_controller):
        assert campaign.kill_job(0)

    run_until(
        campaign,
        lambda controller: trained(controller, 0, attempt=2, epochs=3),
        once(lambda controller: trained(controller, 0, epochs=3), kill),
    )
    phase, state = campaign.run(stop=lambda controller: True)
    assert phase is Phase.STOPPED
    first, second = state.ends
    assert (first.reason, first.final) == (EndReason.LOST, False)
    assert "without an end line" in first.message
    events = campaign.events()
    done = [event["epoch"] for event in events["00000-1.0.jsonl"] if event["type"] == "epoch"]
    again = [event["epoch"] for event in events["00000-2.0.jsonl"] if event["type"] == "epoch"]
    assert done == list(range(1, len(done) + 1))
    assert (
        done[-1] <= again[0] <= done[-1] + 1
    )  # killed between an epoch's line and its checkpoint, it does that one again
    assert again == list(range(again[0], again[0] + len(again)))
    assert (second.reason, second.epochs) == (EndReason.STOPPED, again[-1])
    assert events["00000-1.1.jsonl"][0]["reason"] == "LOST"  # the attempt was taken from its job
    campaign.check_verifies()


def test_a_broken_site_costs_one_job_and_pauses_the_campaign(any_campaign):
    campaign = any_campaign(campaign__concurrency=2, scheduler__python="/no/such/python", campaign__max_trials=9)
    phase, state = campaign.run()
    assert phase is Phase.PAUSED
    assert [(end.trial, end.attempt) for end in state.ends] == [(0, 1)]
    assert "No such file" in state.phase_reason
    campaign.check_verifies()


def test_bad_data_pauses_the_campaign_at_once(make_campaign):
    campaign = make_campaign(training__simulated_failure_rate=1.0, training__simulated_failure_reason="BAD_DATA")
    phase, state = campaign.run()
    assert phase is Phase.PAUSED
    assert state.phase_reason.startswith("trial 0 ended BAD_DATA")
    campaign.check_verifies()


def test_equal_failures_in_a_row_pause_the_campaign_until_it_is_run_again(make_campaign):
    campaign = make_campaign(
        campaign__max_trials=None,
        campaign__pause_after_failures=3,
        training__warmup_epochs=[30],
        training__epochs=30,
        training__patience=30,
        training__simulated_epoch_seconds=0.0,
        training__simulated_failure_rate=1.0,
        training__simulated_failure_reason="TRAINING_DIVERGED",
    )
    phase, state = campaign.run()
    assert phase is Phase.PAUSED
    assert "3 trials in a row ended TRAINING_DIVERGED" in state.phase_reason
    trials = len(state.trials)
    phase, state = campaign.run()
    assert phase is Phase.PAUSED
    assert len(state.trials) >= trials + 3
    campaign.check_verifies()


def test_a_trial_gets_no_more_attempts_than_the_settings_allow(make_campaign):
    campaign = make_campaign(
        campaign__max_trials=1,
        campaign__max_attempts=2,
        training__simulated_failure_rate=1.0,
        training__simulated_failure_reason="TRIAL_ERROR",
    )
    _, state = campaign.run()
    assert [(end.attempt, end.reason, end.final) for end in state.ends] == [
        (1, EndReason.TRIAL_ERROR, False),
        (2, EndReason.TRIAL_ERROR, True),
    ]
    campaign.check_verifies()


def test_a_job_that_is_cancelled_manually_is_not_retried(any_campaign, long_trials):
    campaign = any_campaign(campaign__max_trials=1, **long_trials)
    cancelled = []

    def cancel_once(controller):
        if not cancelled and any(live.epochs for live in controller.live_attempts.values()):
            assert campaign.cancel_job(0)
            cancelled.append(0)
        return False

    _, state = campaign.run(until=cancel_once)
    assert [(end.reason, end.final) for end in state.ends] == [(EndReason.CANCELLED, True)]
    campaign.check_verifies()


def test_a_garbage_line_in_events_is_named_and_the_rest_counts(make_campaign, long_trials):
    campaign = make_campaign(campaign__max_trials=1, **long_trials)
    path = campaign.directory.events(0, 1, 0)
    seen = []

    def spoil(controller):
        seen.append(len(trained(controller, 0).epochs))
        with path.open("a") as file:
            file.write("\x00garbage\n")

    run_until(
        campaign,
        lambda controller: seen and trained(controller, 0, epochs=seen[0] + 3),
        once(lambda controller: trained(controller, 0), spoil),
    )
    phase, state = campaign.run(stop=lambda controller: True)
    assert phase is Phase.STOPPED
    assert state.ends[0].epochs == path.read_text().count('"type":"epoch"') > seen[0]
    assert any(str(path) in warning and "not an event" in warning for warning in campaign.warnings)
    result = compute_result(campaign.directory)
    assert len(result.faults) == 1


def test_two_controllers_cannot_have_one_campaign(make_campaign):
    campaign = make_campaign()
    controller = campaign.controller()
    try:
        with pytest.raises(LockedError, match="live controller"):
            campaign.controller()
    finally:
        controller.close()


def test_settings_that_were_edited_after_freezing_are_refused(make_campaign):
    campaign = make_campaign(campaign__max_trials=1)
    campaign.run()
    file = campaign.directory.path / "campaign.yaml"
    file.write_text(file.read_text().replace("seed: 7", "seed: 8"))
    edited = type(campaign.directory).open(campaign.directory.path)
    campaign.directory = edited
    with pytest.raises(RecordError, match="changed after the campaign was made"):
        campaign.controller()


def test_only_the_best_weights_and_no_checkpoint_are_kept(make_campaign):
    campaign = make_campaign(campaign__max_trials=6, campaign__keep_weights=2)
    _, state = campaign.run()
    best = sorted(state.ends, key=lambda end: min(end.best_error, end.predicted_error or 1))[:2]
    kept = sorted(path.name for path in (campaign.directory.path / "weights").iterdir())
    assert kept == sorted(f"{end.trial:05d}.safetensors" for end in best)


def test_ticks_alone_run_a_campaign_to_its_end(any_campaign, wait_for):
    campaign = any_campaign(campaign__max_trials=2)

    def tick():
        controller = campaign.controller(resume=False)
        try:
            return controller.tick() is Phase.FINISHED
        finally:
            controller.close()

    wait_for(tick, "the last tick of the campaign", seconds=campaign.patience)
    assert compute_result(campaign.directory).score.epochs == 6
    campaign.check_verifies()


def test_a_tick_does_not_wake_a_stopped_campaign(make_campaign):
    campaign = make_campaign()
    campaign.run(stop=lambda controller: True)
    controller = campaign.controller(resume=False)
    try:
        assert controller.tick() is Phase.STOPPED
    finally:
        controller.close()
    assert campaign.leaves_nothing_running()


def test_files_on_disk_stay_within_eight_a_trial(make_campaign):
    campaign = make_campaign(campaign__max_trials=4)
    campaign.run()
    for trial in range(4):
        name = f"{trial:05d}"
        files = [path for path in campaign.directory.path.rglob("*") if path.is_file() and name in str(path)]
        assert len(files) <= 8, files


def test_a_failure_after_a_first_epoch_does_not_pause_the_campaign(make_campaign, long_trials):
    campaign = make_campaign(campaign__max_trials=3, campaign__concurrency=2, **long_trials)

    def fail_trial_one(controller):
        if (
            1,
            1,
        ) in controller.live_attempts:  # from its job's start on, and again: it may be about to start another process
            campaign.kill_job(1)
        return controller.state.ends

    phase, state = campaign.run(until=fail_trial_one)
    assert phase is Phase.RUNNING
    (end,) = state.ends
    assert (end.trial, end.reason, end.epochs) == (1, EndReason.LOST, 0)
    campaign.check_verifies()


def test_a_job_that_never_begins_is_hung_and_ended(make_campaign):
    campaign = make_campaign(
        scheduler__setup=["sleep 1000"], scheduler__silent_after="200ms", scheduler__begin_within="1s"
    )
    phase, state = campaign.run()
    assert phase is Phase.PAUSED
    assert [end.reason for end in state.ends] == [EndReason.HUNG]
    assert campaign.leaves_nothing_running()
    campaign.check_verifies()


def test_a_missing_job_that_is_found_gets_the_whole_grace_again(make_campaign):
    campaign = make_campaign(scheduler__silent_after="100ms", scheduler__setup=["sleep 1000"])
    controller = campaign.controller()
    query = controller.scheduler.query
    try:
        controller.tick()
        time.sleep(0.2)
        controller.scheduler.query = lambda names: {}
        controller.tick()
        (attempt,) = controller.state.live.values()
        assert attempt.missing_since is not None
        controller.scheduler.query = query
        controller.tick()
        assert attempt.missing_since is None
        assert not attempt.is_uncertain
    finally:
        controller.close()
    campaign.check_verifies()


def test_a_search_with_nothing_left_ends_the_campaign(make_campaign):
    campaign = make_campaign(campaign__max_trials=None, network__max_layers=21, network__max_operations=3_300_000)
    phase, state = campaign.run()
    assert phase is Phase.FINISHED
    assert "the search proposes nothing more" in state.phase_reason
    assert len(state.trials) == 1


def test_a_journal_that_lost_its_end_is_refused_and_nothing_changes(make_campaign):
    campaign = make_campaign()
    campaign.run()
    lines = campaign.directory.journal.read_bytes().splitlines(keepends=True)
    specs, events = campaign.specs(), campaign.events()
    for kept in (lines[:4], []):
        campaign.directory.journal.write_bytes(b"".join(kept))
        with pytest.raises(RecordError, match="lines are missing at its end"):
            campaign.controller()
        assert campaign.directory.journal.read_bytes() == b"".join(kept)
    assert (campaign.specs(), campaign.events()) == (specs, events)


def test_ended_jobs_are_reaped_and_hold_no_core(make_campaign):
    campaign = make_campaign(campaign__max_trials=6, campaign__concurrency=1)
    # what earlier tests of this process left behind, or still use
    others = {child.pid for child in psutil.Process().children()}
    zombies = []

    def count(controller):
        jobs = [child for child in psutil.Process().children() if child.pid not in others]
        zombies.append(sum(child.status() == psutil.STATUS_ZOMBIE for child in jobs))
        return False

    campaign.run(until=count)
    assert max(zombies) <= 3
