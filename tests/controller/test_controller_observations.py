"""Steps of a controller whose trials write events: what it records, cancels and submits, and what it waits for."""

from functools import partial

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller import cancellation, queue_poller
from aiperf_orch.controller import controller as controller_module
from aiperf_orch.controller.controller import Controller
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobEnd, SubmitResult
from aiperf_orch.util.errors import TransientError
from controller.stepping import ends, fail_once, step_until, write_events

HOUR = 3600  # seconds


def test_begin_epochs_and_end_of_a_trial_are_recorded(open_controller, scheduler):
    controller = open_controller()
    assert controller.deadline is None
    controller.step()
    write_events(controller, begin=0, epochs=[1])
    controller.step()
    (live,) = controller.live_attempts.values()
    assert (live.attempt.began.time, len(live.epochs)) == (controller.builder.at(0), 1)
    assert controller.deadline == controller.builder.at(9 * HOUR)
    assert sum('"submitted"' in line for line in controller.builder.journal_lines()) == 1
    scheduler.calls.clear()
    write_events(controller, begin=0, epochs=[1, 2], end="COMPLETED")
    controller.step()
    assert ends(controller) == [(0, 1, "COMPLETED", True)]
    assert (controller.state.ends[0].epochs, controller.state.ends[0].files[0].run) == (2, 0)
    assert scheduler.calls == [("submit", "00001-1")]  # in the same step


def test_a_fault_of_the_events_is_reported(open_controller, warnings):
    controller = open_controller()
    controller.step()
    write_events(controller, lines=["garbage"])
    controller.step()
    controller.step()
    assert len(warnings) == 1
    assert "garbage" in warnings[0] or ":2:" in warnings[0]


def test_a_campaign_ends_at_its_deadline(open_controller, scheduler):
    controller = open_controller(campaign__duration="1h")
    controller.step()
    write_events(controller, begin=0, epochs=[1])  # two hours ago
    controller.step()
    assert scheduler.calls == [("submit", "00000-1"), ("cancel", "00000-1")]
    assert ends(controller) == [(0, 1, "CAMPAIGN_ENDED", True)]
    assert controller.step() is Phase.FINISHED
    assert (controller.state.phase_reason, controller.state.by_deadline) == ("its 1h are over", True)
    before = len(controller.builder.journal_lines())
    assert controller.step(stop=True) is Phase.FINISHED
    assert len(controller.builder.journal_lines()) == before


def test_jobs_that_outlive_the_deadline_delay_the_end_of_the_campaign(open_controller, scheduler):
    scheduler.never_starts = False
    controller = open_controller(campaign__duration="1h")
    controller.step()
    write_events(controller, begin=0, epochs=[1])
    for _ in range(3):
        assert controller.step() is Phase.RUNNING
    assert (controller.cancelled_count, controller.busy) == (1, True)
    assert scheduler.calls == [("submit", "00000-1"), ("cancel", "00000-1")]
    write_events(controller, begin=0, epochs=[1], end="STOPPED")
    assert controller.step() is Phase.FINISHED
    assert ends(controller) == [(0, 1, "CAMPAIGN_ENDED", True)]


def test_a_stop_waits_for_the_end_of_its_jobs_and_is_recorded_once(open_controller, scheduler):
    scheduler.never_starts = False
    controller = open_controller()
    controller.step()
    assert controller.step(stop=True) is Phase.RUNNING
    assert controller.cancelled_count == 1
    before = len(controller.builder.journal_lines())
    controller.step(stop=True)
    assert len(controller.builder.journal_lines()) == before
    write_events(controller, end="STOPPED")
    assert controller.step(stop=True) is Phase.STOPPED
    before = len(controller.builder.journal_lines())
    assert controller.step(stop=True) is Phase.STOPPED
    assert controller.step() is Phase.STOPPED
    assert len(controller.builder.journal_lines()) == before
    assert ends(controller)[0][2] == "STOPPED"


def test_a_requested_stop_ends_the_campaign(open_controller, scheduler):
    controller = open_controller()
    controller.step()
    controller.directory.request_stop()
    assert controller.step() is Phase.STOPPED
    assert ends(controller) == [(0, 1, "STOPPED", False)]


def test_a_cancelled_job_that_begins_is_cancelled_again(open_controller, scheduler):
    scheduler.never_starts = False
    controller = open_controller()
    controller.step()
    controller.step(stop=True)
    write_events(controller)  # it began before it could receive the signal
    controller.step(stop=True)
    assert scheduler.calls == [("submit", "00000-1"), ("cancel", "00000-1"), ("cancel", "00000-1")]


def test_a_missing_job_that_writes_events_is_found(open_controller, scheduler, monkeypatch):
    controller = open_controller(scheduler__lost_after="1h", scheduler__silent_after="10ms")
    controller.step()
    write_events(controller)
    controller.step()
    scheduler.listed = False
    (live,) = controller.live_attempts.values()
    step_until(controller, lambda: live.attempt.missing_since)
    monkeypatch.setattr(queue_poller, "needs_query", lambda *attempt, proven: False)  # it is not missed again
    write_events(controller, epochs=[1])
    controller.step()
    assert '"submitted"' in controller.builder.journal_lines()[-1]
    assert (live.attempt.missing_since, live.attempt.job) == (None, "7")


def test_an_attempt_that_begins_needs_no_submission(open_controller, scheduler):
    scheduler.submit_result = lambda requests: SubmitResult(waiting={requests[0].name: ""})
    controller = open_controller()
    controller.step()
    assert controller.has_pending_work
    write_events(controller)
    controller.step()
    assert (controller.has_pending_work, controller.busy) == (False, True)
    assert scheduler.calls == [("submit", "00000-1")]


def test_a_campaign_without_further_trials_finishes(open_controller, scheduler):
    controller = open_controller(first=[(1, 0.5)], campaign__max_trials=1)
    assert controller.step() is Phase.FINISHED
    assert (controller.state.phase_reason, controller.state.by_deadline) == ("its 1 trials have ended", False)
    assert scheduler.calls == []


@pytest.mark.parametrize(
    ("function", "prepare"),
    [
        pytest.param(
            "reclaim_attempt",
            {"listed": False, "known": JobEnd(EndReason.TRIAL_ERROR, "exit status 1")},
            id="its job ended",
        ),
        pytest.param(
            "revoke",
            {"submit_result": lambda requests: SubmitResult(refused={requests[0].name: "no"})},
            id="its job was refused",
        ),
    ],
)
def test_an_attempt_whose_files_fail_ends_at_a_later_step(
    open_controller, scheduler, warnings, monkeypatch, function, prepare
):
    controller = open_controller(scheduler__lost_after="10ms")
    if function != "revoke":
        controller.step()
    for name, value in prepare.items():
        setattr(scheduler, name, value)
    module = cancellation if function == "revoke" else controller_module
    fail_once(monkeypatch, function, TransientError("events: stale"), module)
    step_until(controller, partial(bool, controller.state.ends))
    assert warnings == ["events: stale; it is read again at each step"]
    assert len(ends(controller)) == 1


def test_a_later_controller_goes_on_with_the_attempts_of_the_last(open_controller, scheduler):
    open_controller().step()
    controller = open_controller()
    assert list(controller.live_attempts) == [(0, 1)]
    write_events(controller, epochs=[1], end="COMPLETED")
    controller.step()
    assert ends(controller) == [(0, 1, "COMPLETED", True)]


def test_steps_never_wait_for_files(open_controller):
    assert open_controller().directory.retry_for == 0.0  # a later step reads them again


def test_a_trial_cancelled_by_others_ends_as_soon_as_its_job_is_gone(open_controller, scheduler, monkeypatch):
    controller = open_controller()
    controller.step()
    write_events(controller, begin=2 * HOUR - 1, epochs=[2 * HOUR], end="STOPPED")  # a moment ago
    for _ in range(3):  # its job is still listed
        controller.step()
        controller.wait(0.01)
    assert ends(controller) == []
    monkeypatch.setattr(controller_module, "job_is_over", lambda live, settings: False)  # without a pause for its files
    scheduler.listed, scheduler.known = False, JobEnd(EndReason.PREEMPTED, "for job 9")
    step_until(controller, partial(bool, controller.state.ends))
    assert ends(controller) == [(0, 1, "PREEMPTED", False)]
    assert controller.state.ends[0].message == "for job 9"


@pytest.mark.parametrize("options", [{}, {"take_over": True, "snapshot": "what was read before"}])
def test_a_lock_is_taken_over_on_request_only(campaign, scheduler, warnings, monkeypatch, options):
    asked = []

    def held(directory, **options):
        asked.append(options)
        raise TransientError("stale")

    monkeypatch.setattr(controller_module, "HeldCampaign", held)
    with pytest.raises(TransientError):
        Controller(campaign().directory, scheduler, resume=False, warn=warnings.append, **options)
    assert asked == [{"resume": False, "take_over": False, "snapshot": None} | options]


def test_a_controller_that_cannot_adopt_its_attempts_releases_the_campaign(open_controller, monkeypatch):
    open_controller().step()
    fail_once(monkeypatch, "monitor_attempt", TransientError("stale"))
    with pytest.raises(TransientError):
        open_controller()
    assert list(open_controller().live_attempts) == [(0, 1)]


@pytest.mark.parametrize(("left", "seconds"), [(None, 600.0), (30.0, 30.0), (0.01, 0.1), (-1.0, 0.1), (700.0, 600.0)])
def test_the_next_step_comes_when_the_files_of_a_job_must_be_there(open_controller, monkeypatch, left, seconds):
    controller = open_controller(scheduler__poll_interval="10m")
    controller.step()
    monkeypatch.setattr(controller_module, "seconds_until_over", lambda live, settings: left)
    assert controller.seconds_to_next_step == seconds


def test_an_answer_concerns_only_the_jobs_that_were_polled_for(open_controller, scheduler):
    controller = open_controller(first=[(1, 0.5)], campaign__concurrency=2, scheduler__lost_after="1h")
    controller.step()
    write_events(controller, trial=1)
    controller.step()
    scheduler.listed = False
    training, pending = (live.attempt for live in controller.live_attempts.values())
    step_until(controller, lambda: pending.missing_since)
    assert training.missing_since is None  # it wrote events a moment ago


def test_the_end_of_a_job_is_noticed_though_it_wrote_events_a_moment_ago(open_controller, scheduler):
    controller = open_controller(first=[(1, 0.5)], campaign__concurrency=2, scheduler__lost_after="10ms")
    controller.step()
    write_events(controller, trial=1)
    controller.step()
    scheduler.ended = {controller.live_attempts[1, 1].name}
    scheduler.known = JobEnd(EndReason.TRIAL_ERROR, "exit status 1")
    step_until(controller, lambda: len(controller.state.ends) > 1)
    assert ends(controller)[1:] == [(1, 1, "TRIAL_ERROR", False)]
