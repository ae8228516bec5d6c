"""Consequences of refusals, limits and missing answers for the next submission."""

import threading
from pathlib import Path

import pytest

from aiperf_orch.controller import submitter as submitter_module
from aiperf_orch.controller.submitter import Submitter
from aiperf_orch.schedulers.base import JobRequest, SubmitResult
from aiperf_orch.schedulers.batching import submit_groups
from aiperf_orch.util.errors import SchedulerUnreachableError
from controller.builders import Clock

pytestmark = pytest.mark.unit

DEADLINE = 60  # seconds
REFUSED = "sbatch: error: Batch job submission failed: I/O error writing script/environment to file"


class Scheduler:
    nonblocking = True

    def __init__(self):
        self.answers = []

    def submit(self, requests):
        return self.answers.pop(0)

    def array_limit(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class SlowScheduler(Scheduler):
    """Answers each call when the test sets `go_on`; `calls` are the calls that began."""

    nonblocking = False

    def __init__(self):
        super().__init__()
        self.go_on, self.calls = threading.Event(), []

    def submit(self, requests):
        self.calls.append("submit")
        assert self.go_on.wait(DEADLINE), "the test did not let the call end"
        return super().submit(requests)

    def array_limit(self):
        self.calls.append("array_limit")
        assert self.go_on.wait(DEADLINE), "the test did not let the call end"
        return super().array_limit()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(submitter_module, "monotonic", clock)
    return clock


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def submitter(clock, scheduler, warnings):
    return Submitter(scheduler, 1800.0, 30.0, warnings.append, threading.Event(), accepted=False)


def requests(number):
    return [JobRequest(f"qk3f9-{each:05d}-1", Path(), Path(), Path(), ()) for each in range(number)]


def outcome(submitter, scheduler, answer):
    scheduler.answers.append(answer)
    submitter.start(requests(1))
    return submitter.take()


def test_a_postponed_submission_is_repeated_less_and_less_often(submitter, scheduler, clock, warnings):
    started, waits = clock.time, []
    while True:
        done = outcome(submitter, scheduler, SubmitResult(postponed={"a": REFUSED}))
        if done.refused:
            break
        assert done.waiting == {"a": REFUSED}
        assert not submitter.is_free
        before = clock.time
        while not submitter.is_free:
            clock.time += 0.5
        waits.append(clock.time - before)
    assert clock.time - started == 1800
    assert waits[:7] == [2, 4, 8, 16, 32, 60, 60]
    assert len(warnings) == len(waits)
    assert "1 trial(s) not submitted: " + REFUSED in warnings[0]
    assert "30m" in warnings[0]
    assert REFUSED in done.refused["a"]
    assert "scheduler.retry_submit_for" in done.refused["a"]


def test_an_accepted_job_restarts_the_time_of_retries(submitter, scheduler, clock):
    outcome(submitter, scheduler, SubmitResult(postponed={"a": REFUSED}))
    clock.time += 1799
    outcome(submitter, scheduler, SubmitResult(jobs={"a": "1"}))
    assert not outcome(submitter, scheduler, SubmitResult(postponed={"b": REFUSED})).refused
    clock.time += 2
    assert submitter.is_free


def test_a_refusal_after_an_accepted_job_is_not_final(submitter, scheduler, clock):
    said = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
    assert outcome(submitter, scheduler, SubmitResult(refused={"a": said})).refused == {"a": said}
    outcome(submitter, scheduler, SubmitResult(jobs={"a": "1"}))
    done = outcome(submitter, scheduler, SubmitResult(refused={"b": said}))
    assert (done.waiting, done.refused) == ({"b": said}, {})
    clock.time += 1800
    assert said in outcome(submitter, scheduler, SubmitResult(refused={"b": said})).refused["b"]


def test_a_limit_is_waited_for_without_end_or_until_a_job_ends(submitter, scheduler, clock, warnings):
    outcome(submitter, scheduler, SubmitResult(waiting={"a": "QOSMaxSubmitJobPerUserLimit"}))
    assert not submitter.is_free
    submitter.job_has_ended()
    assert submitter.is_free
    clock.time += 1e5
    assert outcome(submitter, scheduler, SubmitResult(waiting={"a": "QOSMaxSubmitJobPerUserLimit"})).waiting
    assert "1 trial(s) wait to be submitted" in warnings[0]


def test_no_answer_is_no_refusal_and_the_rest_is_submitted_at_once(submitter, scheduler, warnings):
    done = outcome(submitter, scheduler, SubmitResult(jobs={"a": "1"}, waiting={"b": ""}))
    assert done.waiting == {"b": ""}
    assert submitter.is_free
    assert warnings == []
    outcome(submitter, scheduler, SubmitResult(unsure={"b": "sbatch did not answer within 1m"}))
    assert not submitter.is_free
    assert warnings == ["1 job(s) perhaps not submitted: sbatch did not answer within 1m"]


def test_the_array_limit_is_queried_until_it_is_known(submitter, scheduler, warnings):
    scheduler.answers += [SchedulerUnreachableError("Slurm does not answer"), 1001]
    assert submitter.array_limit() == 1
    assert warnings == ["Slurm does not answer"]
    assert [submitter.array_limit(), submitter.array_limit()] == [1001, 1001]


@pytest.fixture
def slow():
    scheduler = SlowScheduler()
    yield scheduler
    scheduler.go_on.set()


@pytest.fixture
def wake():
    return threading.Event()


@pytest.fixture
def slow_submitter(clock, slow, warnings, wake):
    return Submitter(slow, 1800.0, 30.0, warnings.append, wake, accepted=False)


def activity(submitter):
    return submitter.is_free, submitter.running, submitter.in_flight, sorted(submitter.names)


def test_no_second_submission_begins_before_the_result_is_taken(slow, slow_submitter, wake):
    assert activity(slow_submitter) == (True, False, False, [])
    slow_submitter.start(requests(2))
    busy = (False, True, True, ["qk3f9-00000-1", "qk3f9-00001-1"])
    assert activity(slow_submitter) == busy
    assert slow_submitter.take() is None
    slow.answers.append(SubmitResult(jobs={"a": "1"}))
    slow.go_on.set()
    assert wake.wait(DEADLINE), "the end of the submission did not wake the loop"
    assert activity(slow_submitter) == busy
    assert slow_submitter.take().jobs == {"a": "1"}
    assert activity(slow_submitter) == (True, False, False, [])
    assert slow_submitter.take() is None


def test_the_array_limit_is_queried_beside_submissions(slow, slow_submitter, wake):
    assert [slow_submitter.array_limit(), slow_submitter.array_limit()] == [None, None]
    assert activity(slow_submitter) == (True, True, False, [])
    slow.answers.append(1001)
    slow.go_on.set()
    assert wake.wait(DEADLINE), "the array limit did not wake the loop"
    assert [slow_submitter.array_limit(), slow_submitter.array_limit()] == [1001, 1001]
    assert slow.calls == ["array_limit"]
    assert not slow_submitter.running


def test_joining_waits_for_the_submission(slow, slow_submitter):
    slow.answers.append(SubmitResult(jobs={"a": "1"}))
    slow_submitter.start(requests(1))
    slow_submitter.join(0.0)
    assert slow_submitter.take() is None
    threading.Timer(0.02, slow.go_on.set).start()
    slow_submitter.join(DEADLINE)
    assert slow_submitter.take().jobs == {"a": "1"}


@pytest.mark.parametrize(
    ("answer", "pause", "expected"),
    [
        pytest.param(SubmitResult(jobs={"a": "1"}), 0, [], id="accepted"),
        pytest.param(
            SubmitResult(waiting={"a": "limit", "b": "limit"}),
            30,
            ["2 trial(s) wait to be submitted: limit"],
            id="limit",
        ),
        pytest.param(
            SubmitResult(waiting={"a": "", "b": "limit"}), 30, ["2 trial(s) wait to be submitted: limit"], id="part"
        ),
        pytest.param(
            SubmitResult(unsure={"a": "no answer"}, waiting={"b": "limit"}),
            30,
            ["1 job(s) perhaps not submitted: no answer"],
            id="no answer to the first, so that the second was not tried",
        ),
        pytest.param(
            SubmitResult(refused={"a": "no"}, waiting={"b": "limit"}), 30, [], id="a refusal is reported later"
        ),
        pytest.param(
            SubmitResult(postponed={"a": REFUSED}, waiting={"b": "", "c": ""}),
            2,
            [
                f"3 trial(s) not submitted: {REFUSED}; submitting again in 2s, "
                "and for 30m before the campaign pauses (scheduler.retry_submit_for)"
            ],
            id="refused for now",
        ),
    ],
)
def test_pauses_and_warnings_after_a_submission(submitter, scheduler, clock, warnings, answer, pause, expected):
    done = outcome(submitter, scheduler, answer)
    assert warnings == expected
    assert done.waiting.keys() == answer.waiting.keys() | answer.postponed.keys()
    assert done.postponed == {}
    clock.time += pause - 0.5
    assert submitter.is_free is (pause == 0)
    clock.time += 0.5
    assert submitter.is_free


@pytest.mark.parametrize(
    ("answer", "at_once"),
    [
        pytest.param(SubmitResult(waiting={"a": "limit"}), True, id="a limit"),
        pytest.param(SubmitResult(unsure={"a": "no answer"}), False, id="no answer"),
        pytest.param(SubmitResult(postponed={"a": REFUSED}), False, id="refused for now"),
    ],
)
def test_the_end_of_a_job_makes_room_below_a_limit_only(submitter, scheduler, answer, at_once):
    outcome(submitter, scheduler, answer)
    submitter.job_has_ended()
    assert submitter.is_free is at_once


def test_the_end_of_a_job_lifts_a_limit_once(submitter, scheduler):
    outcome(submitter, scheduler, SubmitResult(waiting={"a": "limit"}))
    submitter.job_has_ended()
    outcome(submitter, scheduler, SubmitResult(unsure={"a": "no answer"}))
    submitter.job_has_ended()
    assert not submitter.is_free


def test_a_submission_may_begin_at_once_on_a_machine_just_booted(submitter, clock):
    clock.time = 0.0
    assert submitter.is_free


def test_retries_begin_again_after_a_final_refusal(submitter, scheduler, clock):
    outcome(submitter, scheduler, SubmitResult(postponed={"a": REFUSED}))
    clock.time += 1799.5
    assert not outcome(submitter, scheduler, SubmitResult(postponed={"a": REFUSED})).refused
    clock.time += 0.5
    assert outcome(submitter, scheduler, SubmitResult(postponed={"a": REFUSED})).refused
    assert outcome(submitter, scheduler, SubmitResult(postponed={"b": REFUSED})).waiting == {"b": REFUSED}
    clock.time += 1.5
    assert not submitter.is_free
    clock.time += 0.5
    assert submitter.is_free


def test_refused_and_postponed_jobs_of_one_submission_end_together(submitter, scheduler, clock):
    outcome(submitter, scheduler, SubmitResult(postponed={"a": REFUSED}))
    clock.time += 1800
    done = outcome(submitter, scheduler, SubmitResult(postponed={"a": REFUSED}, refused={"b": "no"}, waiting={"c": ""}))
    assert (list(done.refused), done.refused["b"], done.postponed, done.waiting) == (["b", "a"], "no", {}, {"c": ""})


@pytest.mark.parametrize("error", [OSError(116, "Stale file handle"), RuntimeError('Could not detect "srun"')])
def test_a_job_that_cannot_be_written_for_now_is_postponed(error):
    def fails(group):
        raise error

    done = submit_groups(requests(2), fails)
    assert str(error) in done.postponed["qk3f9-00000-1"]
    assert list(done.waiting) == ["qk3f9-00001-1"]


def test_submissions_stop_after_some_seconds_and_leave_the_rest(monkeypatch):
    time = [0.0]
    monkeypatch.setattr("aiperf_orch.schedulers.batching.monotonic", lambda: time[0])

    def slow(group):
        time[0] += 2
        return "7"

    done = submit_groups(requests(5), slow)
    assert len(done.jobs) == 2
    assert set(done.waiting.values()) == {""}
    assert len(done.waiting) == 3
