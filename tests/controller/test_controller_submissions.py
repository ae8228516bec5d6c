"""Steps of a controller that submits: answers, limits, what is due at once, and what a tick waits for."""

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller import job_requests
from aiperf_orch.controller.attempt_monitor import Unsubmitted
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import SubmitResult
from controller.stepping import DEADLINE, answer_while_waiting, ends, fail_once, step_until, write_events


def test_trials_that_start_together_are_an_array(open_controller, scheduler):
    scheduler.limit = 10
    controller = open_controller(first=[(1, 0.5)], campaign__concurrency=3)
    controller.step()
    assert [name.partition("[")[2] for _, name in scheduler.calls] == ["0]", "1]", "2]"]
    assert len(controller.live_attempts) == 3
    controller.step()
    assert len(scheduler.calls) == 3


def test_cancellations_beyond_one_call_are_due_at_once(open_controller, scheduler):
    scheduler.max_cancels_per_call, scheduler.never_starts = 1, False
    controller = open_controller(first=[(1, 0.5)], campaign__concurrency=2)
    controller.step()
    assert (controller.has_pending_work, controller.seconds_to_next_step) == (False, 0.01)
    controller.step(stop=True)
    assert (controller.has_pending_work, controller.seconds_to_next_step, controller.cancelled_count) == (True, 0.0, 1)
    controller.step(stop=True)
    assert (controller.has_pending_work, controller.seconds_to_next_step, controller.cancelled_count) == (
        False,
        0.01,
        2,
    )


def test_the_end_of_a_job_makes_room_below_a_limit_of_the_site(open_controller, scheduler):
    accept = scheduler.submit_result
    scheduler.submit_result = lambda requests: SubmitResult(
        jobs={requests[0].name: "7"}, waiting={requests[1].name: "a limit"}
    )
    controller = open_controller(first=[(1, 0.5)], campaign__concurrency=2, scheduler__poll_interval="10m")
    controller.step()
    controller.step()
    assert scheduler.calls == [("submit", "00001-1"), ("submit", "00002-1")]  # in one call
    scheduler.submit_result = accept
    write_events(controller, trial=1, epochs=[1], end="COMPLETED")
    controller.step()
    assert scheduler.calls[2:] == [("submit", "00002-1")]


def test_a_submission_of_which_no_job_is_known_is_repeated(open_controller, scheduler):
    scheduler.listed = False
    scheduler.submit_result = lambda requests: SubmitResult(unsure={requests[0].name: "no answer"})
    controller = open_controller(scheduler__lost_after="10ms")
    step_until(controller, lambda: len(scheduler.calls) > 1)
    assert scheduler.calls == [("submit", "00000-1")] * 2
    assert ends(controller) == []


def test_a_submission_in_flight_is_recorded_when_the_controller_closes(open_controller, slow):
    controller = open_controller(slow)
    controller.step()
    assert slow.began.wait(DEADLINE)
    assert controller.busy
    slow.go_on.set()
    (attempt,) = open_controller(slow).state.live.values()
    assert attempt.job == "7"


def test_a_job_is_cancelled_only_once_its_submission_has_ended(open_controller, slow):
    controller = open_controller(slow)
    controller.step()
    controller.step(stop=True)
    assert controller.state.live[0, 1].cancelling is EndReason.STOPPED
    slow.go_on.set()
    controller.tick(stop=True)
    assert slow.calls == [("submit", "00000-1"), ("cancel", "00000-1")]
    assert ends(controller) == [(0, 1, "STOPPED", False)]


def test_a_tick_waits_for_submissions_and_cancellations(open_controller, slow, monkeypatch):
    controller = open_controller(slow, first=[(1, 0.5)], scheduler__poll_interval="10m")
    answer_while_waiting(controller, slow, monkeypatch)
    assert controller.tick() is Phase.RUNNING
    assert controller.state.live[1, 1].job == "7"
    slow.slow_call = "cancel"
    slow.go_on.clear()
    assert controller.tick(stop=True) is Phase.STOPPED
    assert ends(controller)[1:] == [(1, 1, "STOPPED", False)]


def test_a_tick_waits_for_the_queue(open_controller, slow, monkeypatch):
    slow.slow_call = "query"
    slow.submit_result = lambda requests: SubmitResult(unsure={requests[0].name: "no answer"})
    controller = open_controller(slow)
    answer_while_waiting(controller, slow, monkeypatch)
    for _ in range(2):  # the poll begins after the submission was taken
        controller.tick()
    assert controller.state.live[0, 1].job == "7"


def test_a_tick_waits_for_the_array_limit(open_controller, slow, monkeypatch):
    slow.slow_call, slow.limit = "array_limit", 10
    controller = open_controller(slow, first=[(1, 0.5)], campaign__concurrency=3)
    answer_while_waiting(controller, slow, monkeypatch)
    controller.tick()
    assert [name.partition("[")[2] for _, name in slow.calls] == ["0]", "1]", "2]"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda name: SubmitResult(jobs={name: "7"}), id="accepted"),
        pytest.param(lambda name: SubmitResult(refused={name: "no"}), id="refused"),
        pytest.param(lambda name: SubmitResult(unsure={name: "no answer"}), id="no answer"),
        pytest.param(lambda name: SubmitResult(waiting={name: "a limit"}), id="a limit"),
    ],
)
def test_the_answer_to_a_job_that_has_ended_already_is_dropped(open_controller, slow, answer):
    slow.submit_result = lambda requests: answer(requests[0].name)
    controller = open_controller(slow, campaign__max_trials=1)
    controller.step()
    write_events(controller, epochs=[1], end="COMPLETED")
    controller.step()
    slow.go_on.set()
    controller.tick()
    assert ends(controller) == [(0, 1, "COMPLETED", True)]
    assert not controller.live_attempts


def test_a_job_that_was_perhaps_submitted_is_looked_for_in_the_queue(open_controller, scheduler, warnings):
    controller = open_controller()
    accepted = scheduler.submit_result
    scheduler.submit_result = lambda requests: SubmitResult(unsure={request.name: "no answer" for request in requests})
    controller.step()
    assert (controller.busy, controller.state.live[0, 1].job) == (True, None)
    controller.step()
    assert controller.state.live[0, 1].job == "7"  # the queue lists it
    assert warnings == ["1 job(s) perhaps not submitted: no answer"]
    scheduler.submit_result = accepted


def test_a_site_that_accepted_a_job_before_refuses_none_for_good(open_controller, scheduler):
    open_controller(first=[(1, 0.5)])
    controller = open_controller()
    scheduler.submit_result = lambda requests: SubmitResult(refused={requests[0].name: "invalid account"})
    controller.step()
    (live,) = controller.live_attempts.values()
    assert (live.unsubmitted, len(controller.state.ends), controller.busy) == (Unsubmitted.POSTPONED, 1, False)


def test_a_job_that_cannot_be_written_is_submitted_at_a_later_step(open_controller, scheduler, warnings, monkeypatch):
    controller = open_controller()
    fail_once(monkeypatch, "make_request", OSError(28, "No space left on device", "jobs/00000-1"), job_requests)
    controller.step()
    assert warnings == ["1 trial(s) wait to be submitted: jobs/00000-1: cannot be made: No space left on device"]
    assert (scheduler.calls, controller.busy, controller.has_pending_work) == ([], False, False)
    controller.step()
    assert (scheduler.calls, controller.busy) == ([("submit", "00000-1")], True)


def test_the_wait_ends_with_a_scheduler_call(open_controller, slow):
    controller = open_controller(slow, first=[(1, 0.5)], scheduler__poll_interval="10m")
    controller.step()
    assert controller.wait(0.0) is False
    slow.go_on.set()
    assert controller.wait(DEADLINE) is True
    controller.step()  # takes the result; no other call is due
    assert controller.wait(0.0) is False


@pytest.mark.parametrize(
    ("answer", "due"),
    [
        pytest.param({"waiting": ""}, True, id="one accepted, one left"),
        pytest.param({"waiting": "a limit"}, False, id="one accepted, one beyond a limit"),
        pytest.param({"waiting": "", "postponed": "no"}, False, id="one refused for now, one left"),
    ],
)
def test_what_was_left_of_a_submission_is_due_unless_it_must_wait(open_controller, scheduler, answer, due):
    def submit(requests):
        first, second = (request.name for request in requests)
        accepted = {} if "postponed" in answer else {first: "7"}
        postponed = {first: answer["postponed"]} if "postponed" in answer else {}
        return SubmitResult(jobs=accepted, postponed=postponed, waiting={second: answer["waiting"]})

    scheduler.submit_result = submit
    controller = open_controller(first=[(1, 0.5)], campaign__concurrency=2)
    controller.step()
    assert controller.has_pending_work is due
    assert controller.busy is ("postponed" not in answer)


def test_a_controller_is_busy_while_it_submits_again(open_controller, slow, monkeypatch):
    accept = slow.submit_result
    slow.submit_result = lambda requests: SubmitResult(waiting={requests[0].name: ""})
    slow.go_on.set()
    controller = open_controller(slow)
    controller.step()
    assert controller.wait(DEADLINE)
    slow.go_on.clear()
    slow.submit_result = accept
    controller.step()  # takes the first answer, and submits again
    assert [live.unsubmitted for live in controller.live_attempts.values()] == [Unsubmitted.DUE]
    assert (controller.busy, controller.has_pending_work) == (True, False)
    answer_while_waiting(controller, slow, monkeypatch)
    controller.tick()
    assert controller.state.live[0, 1].job == "7"


def test_a_doubtful_submission_says_nothing_of_other_missing_jobs(open_controller, scheduler):
    controller = open_controller(first=[(1, 0.5)], campaign__concurrency=2, scheduler__lost_after="1h")
    controller.step()
    scheduler.listed = False
    other = controller.live_attempts[2, 1].attempt
    step_until(controller, lambda: other.missing_since)
    scheduler.submit_result = lambda requests: SubmitResult(unsure={request.name: "no answer" for request in requests})
    missing_since = other.missing_since
    write_events(controller, trial=1, epochs=[1], end="COMPLETED")
    controller.step()
    assert scheduler.calls[-1] == ("submit", "00003-1")
    assert other.missing_since == missing_since


def test_each_submission_of_which_no_job_is_known_gets_the_whole_grace(open_controller, scheduler):
    scheduler.listed = False
    scheduler.submit_result = lambda requests: SubmitResult(unsure={requests[0].name: "no answer"})
    controller = open_controller(scheduler__lost_after="10ms")
    step_until(controller, lambda: len(scheduler.calls) == 4)
    missing = [line for line in controller.builder.journal_lines() if '"type":"missing"' in line]
    assert len(missing) == 3  # counted from its own submission


def test_what_is_not_submitted_is_not_missing(open_controller, scheduler):
    scheduler.listed = False
    scheduler.submit_result = lambda requests: SubmitResult(waiting={requests[0].name: "a limit"})
    controller = open_controller()
    step_until(controller, lambda: len(scheduler.calls) == 4)
    (live,) = controller.live_attempts.values()
    assert (live.attempt.missing_since, controller.busy) == (None, False)


def test_a_trial_may_begin_before_its_job_is_known(open_controller, scheduler):
    scheduler.listed = False
    scheduler.submit_result = lambda requests: SubmitResult(unsure={requests[0].name: "no answer"})
    controller = open_controller(scheduler__lost_after="1h")
    controller.step()
    (live,) = controller.live_attempts.values()
    step_until(controller, lambda: live.attempt.missing_since)
    write_events(controller)
    controller.step()
    assert (live.attempt.began.job, live.attempt.missing_since) == ("7", None)


def test_a_job_that_is_being_submitted_is_not_missing(open_controller, slow):
    slow.listed = False
    controller = open_controller(slow, scheduler__lost_after="10ms")
    for _ in range(20):
        controller.step()
        controller.wait(0.01)
    (live,) = controller.live_attempts.values()
    assert (live.attempt.missing_since, live.unsubmitted) == (None, None)


def test_nothing_is_due_in_a_paused_campaign(open_controller, scheduler):
    scheduler.submit_result = lambda requests: SubmitResult(
        jobs={requests[0].name: "7"}, waiting={requests[1].name: ""}
    )
    controller = open_controller(first=[(1, 0.5)], campaign__concurrency=2)
    controller.step()
    write_events(controller, trial=1, end="BAD_DATA")
    assert controller.step() is Phase.PAUSED
    assert (controller.has_pending_work, controller.busy) == (False, False)


def test_the_answer_to_a_cancellation_may_come_after_the_end(open_controller, slow):
    slow.slow_call = "cancel"
    controller = open_controller(slow, first=[(1, 0.5)], scheduler__poll_interval="10m")
    controller.tick()
    controller.step(stop=True)
    write_events(controller, trial=1, end="STOPPED")
    controller.step(stop=True)
    assert ends(controller)[1:] == [(1, 1, "STOPPED", True)]
    slow.go_on.set()
    assert controller.tick(stop=True) is Phase.STOPPED
    assert len(ends(controller)) == 2
