"""Steps of a controller whose trials write events: what it records, cancels and submits, and what it waits for."""

import threading
from functools import partial

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller import controller as controller_module
from aiperf_orch.controller.attempt_monitor import Unsubmitted
from aiperf_orch.controller.controller import Controller
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import CancelResult, JobEnd, JobState, JobStatus, SubmitResult
from aiperf_orch.util.errors import TransientError

DEADLINE = 60  # seconds
HOUR = 3600


class Scheduler:
    """Accepts all jobs, which run until they are cancelled; `calls` lists submissions and cancellations."""

    nonblocking, query_interval, lookahead, avoids_nodes = True, 0.0, 0, True
    early_log, max_cancels_per_call = "log", None

    def __init__(self):
        self.calls, self.listed, self.known, self.limit, self.never_starts = [], True, {}, 1, True
        self.submit_result = lambda requests: SubmitResult(jobs={request.name: "7" for request in requests})

    def submit(self, requests):
        self.calls += [("submit", request.name.split("-", 1)[1]) for request in requests]
        return self.submit_result(requests)

    def array_limit(self):
        return self.limit

    def release_resources(self, names):
        pass

    def query(self, names):
        return {name: JobStatus(name, "7", JobState.RUNNING, running_for=1.0) for name in names if self.listed}

    def query_unlisted(self, jobs):
        return {name: self.known for name in jobs if self.known}

    def cancel(self, jobs, *, force):
        self.calls += [("kill" if force else "cancel", name.split("-", 1)[1]) for name in jobs]
        return CancelResult(never_started=list(jobs) if self.never_starts else [])


class SlowScheduler(Scheduler):
    """Answers calls of one kind when the test sets `go_on`, and all others at once."""

    nonblocking = False

    def __init__(self):
        super().__init__()
        self.go_on, self.began, self.slow_call = threading.Event(), threading.Event(), "submit"

    def submit(self, requests):
        self.answer("submit")
        return super().submit(requests)

    def array_limit(self):
        self.answer("array_limit")
        return super().array_limit()

    def query(self, names):
        self.answer("query")
        return super().query(names)

    def cancel(self, jobs, *, force):
        self.answer("cancel")
        return super().cancel(jobs, force=force)

    def answer(self, call):
        if call == self.slow_call:
            self.began.set()
            assert self.go_on.wait(DEADLINE), "the test did not let the call end"


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def slow():
    scheduler = SlowScheduler()
    yield scheduler
    scheduler.go_on.set()


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def open_controller(campaign, scheduler, warnings):
    """Opens a controller of one campaign, which lasts nine hours and polls every 10 ms; each call closes the last."""
    opened, made = [], []

    def open_controller(using=scheduler, first=(), **changes):
        if opened:
            opened.pop().close()
        if not made:
            settings = {"campaign__duration": "9h", "campaign__max_trials": 9, "campaign__concurrency": 1}
            settings["scheduler__poll_interval"] = "10ms"
            made.append(campaign(**settings | changes))
            if first:  # a trial that is over, of an earlier controller
                made[0].trial(0, first)
        opened.append(Controller(made[0].directory, using, resume=True, warn=warnings.append))
        opened[0].builder = made[0]
        return opened[0]

    yield open_controller
    for controller in opened:
        controller.close()


def write_events(controller, *, trial=0, begin=0, epochs=(), end=None, lines=()):
    """Write the events file of the first run: seconds of the begin, of the ends of epochs, and why it ended."""
    made, state = controller.builder, controller.state.trials[trial]
    operations = state.proposal.operations
    events = [made.begin(begin, trial, spec_sha256=state.spec_sha256, job="7")]
    events += [made.epoch(number, each, trial=trial, operations=operations) for number, each in enumerate(epochs, 1)]
    if end is not None:
        success = {"best_error": 0.5, "best_epoch": 1} if end == "COMPLETED" else {}
        events.append(made.end(max([begin, *epochs]), trial, reason=end, **success))
    made.events(*events, *lines, trial=trial)


def ends(controller):
    return [(end.trial, end.attempt, end.reason.value, end.final) for end in controller.state.ends]


def step_until(controller, condition, **options):
    """Step until a condition holds."""
    for _ in range(500):
        phase = controller.step(**options)
        if condition():
            return phase
        controller.wait(0.01)
    pytest.fail("not within 500 steps of 10 ms")


def answer_while_waiting(controller, slow, monkeypatch):
    """Let a slow scheduler answer only once the controller waits for it."""
    wait = controller.wait
    monkeypatch.setattr(controller, "wait", lambda seconds: slow.go_on.set() or wait(seconds))


def test_begin_epochs_and_end_of_a_trial_are_recorded(open_controller, scheduler):
    controller = open_controller()
    assert controller.deadline is None
    controller.step()
    write_events(controller, begin=0, epochs=[1])
    controller.step()
    (live,) = controller.live_attempts.values()
    assert (live.attempt.began.time, len(live.epochs)) == (controller.builder.at(0), 1)
    assert controller.deadline == controller.builder.at(9 * HOUR)
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


def test_a_missing_job_that_writes_events_is_found(open_controller, scheduler):
    controller = open_controller(scheduler__lost_after="1h", scheduler__silent_after="10ms")
    controller.step()
    write_events(controller)
    controller.step()
    scheduler.listed = False
    (live,) = controller.live_attempts.values()
    step_until(controller, lambda: live.attempt.missing_since)
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


def test_trials_that_start_together_are_an_array(open_controller, scheduler):
    scheduler.limit = 10
    controller = open_controller(first=[(1, 0.5)], campaign__concurrency=3)
    controller.step()
    assert [name.partition("[")[2] for _, name in scheduler.calls] == ["0]", "1]", "2]"]
    assert len(controller.live_attempts) == 3
    controller.step()
    assert len(scheduler.calls) == 3


def test_a_campaign_without_further_trials_finishes(open_controller, scheduler):
    controller = open_controller(first=[(1, 0.5)], campaign__max_trials=1)
    assert controller.step() is Phase.FINISHED
    assert (controller.state.phase_reason, controller.state.by_deadline) == ("its 1 trials have ended", False)
    assert scheduler.calls == []


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


def fail_once(monkeypatch, name, error):
    """Let the next call of a function of the controller's module fail."""
    real, errors = getattr(controller_module, name), [error]

    def call(*arguments, **options):
        if errors:
            raise errors.pop()
        return real(*arguments, **options)

    monkeypatch.setattr(controller_module, name, call)


def test_a_job_that_cannot_be_written_is_submitted_at_a_later_step(open_controller, scheduler, warnings, monkeypatch):
    controller = open_controller()
    fail_once(monkeypatch, "make_request", OSError(28, "No space left on device", "jobs/00000-1"))
    controller.step()
    assert warnings == ["1 trial(s) wait to be submitted: jobs/00000-1: cannot be made: No space left on device"]
    assert (scheduler.calls, controller.busy, controller.has_pending_work) == ([], False, False)
    controller.step()
    assert (scheduler.calls, controller.busy) == ([("submit", "00000-1")], True)


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
    fail_once(monkeypatch, function, TransientError("events: stale"))
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


def test_the_wait_ends_with_a_scheduler_call(open_controller, slow):
    controller = open_controller(slow, first=[(1, 0.5)], scheduler__poll_interval="10m")
    controller.step()
    assert controller.wait(0.0) is False
    slow.go_on.set()
    assert controller.wait(DEADLINE) is True
    controller.step()  # takes the result; no other call is due
    assert controller.wait(0.0) is False


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


@pytest.mark.parametrize(("left", "seconds"), [(None, 600.0), (30.0, 30.0), (0.01, 0.1), (-1.0, 0.1), (700.0, 600.0)])
def test_the_next_step_comes_when_the_files_of_a_job_must_be_there(open_controller, monkeypatch, left, seconds):
    controller = open_controller(scheduler__poll_interval="10m")
    controller.step()
    monkeypatch.setattr(controller_module, "seconds_until_over", lambda live, settings: left)
    assert controller.seconds_to_next_step == seconds


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
