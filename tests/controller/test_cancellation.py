"""Cancellation of jobs: which are cancelled when, by force after the grace, and what the outcome means."""

import threading
from datetime import timedelta

import pytest

from aiperf_orch.controller import cancellation
from aiperf_orch.controller.cancellation import Canceller
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import End
from aiperf_orch.schedulers.base import CancelResult, JobEnd
from aiperf_orch.settings.schedulers import LocalSettings
from aiperf_orch.util.errors import SchedulerUnreachableError
from controller.builders import NOW, Clock, attempt_state, live_attempt

pytestmark = pytest.mark.unit

GRACE, PAUSE = 60.0, 30.0
DEADLINE = 60  # seconds


class Scheduler:
    """Answers each call with the next result; `calls` are the names of the jobs, with a `!` where by force."""

    nonblocking, max_cancels_per_call = True, None

    def __init__(self):
        self.results, self.calls = [], []

    def cancel(self, jobs, *, force):
        assert set(jobs.values()) == {"7"}
        self.calls.append(" ".join(name.split("-")[1].lstrip("0") for name in jobs) + ("!" if force else ""))
        result = self.results.pop(0) if self.results else CancelResult()
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock and the wall clock, moved together."""
    clock = Clock()
    start = clock.time
    monkeypatch.setattr(cancellation, "monotonic", clock)
    monkeypatch.setattr(cancellation, "now", lambda: NOW + timedelta(seconds=clock.time - start))
    return clock


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def canceller(clock, scheduler, warnings):
    return Canceller(scheduler, GRACE, PAUSE, warnings.append, threading.Event())


def cancelled(trial, *, began=False):
    """An attempt whose cancellation was recorded at `NOW`."""
    return live_attempt(attempt_state(trial, began=began, cancelling=EndReason.STOPPED, cancelling_since=NOW))


def test_each_job_is_cancelled_once_and_by_force_after_the_grace(canceller, scheduler, clock):
    attempts = [cancelled(1), cancelled(2)]
    sent = {}
    for second in range(200):
        canceller.cancel(attempts, [])
        canceller.take_outcome()
        if scheduler.calls:
            sent[second] = scheduler.calls.pop()
        clock.time += 1
    assert sent == {0: "1 2", 61: "1 2!", 121: "1 2!", 181: "1 2!"}


def test_the_grace_counts_from_the_record_and_from_the_last_call(canceller, scheduler, clock):
    clock.time += 300  # the record of an earlier controller
    live = cancelled(1)
    canceller.cancel([live], [])
    canceller.take_outcome()
    clock.time += GRACE - 1
    canceller.cancel([live], [])
    assert scheduler.calls == ["1"]
    clock.time += 1
    canceller.cancel([live], [])
    assert scheduler.calls == ["1", "1!"]


def test_jobs_that_have_not_begun_are_cancelled_first(canceller, scheduler):
    scheduler.max_cancels_per_call = 2
    attempts = [cancelled(1, began=True), cancelled(2), cancelled(3, began=True)]
    for _ in range(3):
        canceller.cancel(attempts, [])
        canceller.take_outcome()
    assert scheduler.calls == ["2 1", "3"]


def test_no_second_call_begins_before_the_outcome_is_taken(canceller, scheduler):
    canceller.cancel([cancelled(1)], [])
    assert canceller.running
    canceller.cancel([cancelled(2)], [])
    assert scheduler.calls == ["1"]
    assert canceller.take_outcome() is not None
    assert not canceller.running
    assert canceller.take_outcome() is None


def test_abandoned_attempts_are_ended_by_force_at_most_once_a_pause(canceller, scheduler, clock):
    live, calls = live_attempt(attempt_state(1)), []
    for second in range(61):  # a minute in which its files cannot be read
        canceller.cancel([], [live])
        canceller.take_outcome()
        calls += [(second, call) for call in scheduler.calls]
        scheduler.calls.clear()
        clock.time += 1
    assert calls == [(0, "1!"), (30, "1!"), (60, "1!")]
    assert live.is_cancel_sent


def test_first_cancellations_come_before_those_by_force(canceller, scheduler):
    canceller.cancel([cancelled(1)], [live_attempt(attempt_state(2))])
    canceller.take_outcome()
    canceller.cancel([], [live_attempt(attempt_state(2))])
    assert scheduler.calls == ["1", "2!"]


def test_the_outcome_names_the_jobs_that_never_started(canceller, scheduler):
    attempts = [cancelled(1), cancelled(2)]
    scheduler.results = [CancelResult(never_started=[attempts[1].name, "another job"])]
    canceller.cancel(attempts, [])
    outcome = canceller.take_outcome()
    assert (outcome.sent, outcome.never_started) == (attempts, attempts[1:])
    assert all(live.is_cancel_sent for live in attempts)
    assert attempts[0].kill_sent is None


def test_a_refused_cancellation_is_reported_and_repeated_by_force(canceller, scheduler, clock, warnings):
    live, other = cancelled(1), cancelled(2)
    scheduler.results = [CancelResult(refused={live.name: "no"})]
    canceller.cancel([live, other], [])
    canceller.take_outcome()
    assert (live.is_cancel_sent, other.is_cancel_sent) == (False, True)
    assert warnings == [f"1 job(s) not cancelled, the first is {live.name}: no"]
    assert not canceller.has_more([live])
    clock.time += GRACE + 1
    canceller.cancel([live], [])
    canceller.take_outcome()
    assert scheduler.calls == ["1 2", "1!"]
    assert live.is_cancel_sent


def test_a_scheduler_that_does_not_answer_is_called_again_after_a_pause(canceller, scheduler, clock, warnings):
    live = cancelled(1)
    scheduler.results = [SchedulerUnreachableError("no answer")]
    canceller.cancel([live], [])
    assert canceller.take_outcome() is None
    assert warnings == ["no answer; cancelling 1 job(s) again in 30s"]
    assert not live.is_cancel_sent
    clock.time += PAUSE - 1
    assert not canceller.has_more([live])
    canceller.cancel([live], [])
    assert scheduler.calls == ["1"]
    clock.time += 1
    assert canceller.has_more([live])
    canceller.cancel([live], [])
    assert scheduler.calls == ["1", "1"]


def test_there_is_more_to_cancel_only_for_first_cancellations(canceller):
    live = cancelled(1)
    assert not canceller.has_more([live_attempt(attempt_state(2))])
    assert canceller.has_more([live])
    canceller.cancel([live], [])
    assert not canceller.has_more([cancelled(3)])  # while a call runs
    canceller.take_outcome()
    assert not canceller.has_more([live])
    assert canceller.has_more([live, cancelled(3)])


def test_a_job_that_begins_while_it_is_cancelled_is_cancelled_again(clock):
    class Blocking(Scheduler):
        nonblocking = False

        def cancel(self, jobs, *, force):
            assert go_on.wait(DEADLINE), "the test did not let the call end"
            return super().cancel(jobs, force=force)

    wake, go_on, scheduler = threading.Event(), threading.Event(), Blocking()
    canceller = Canceller(scheduler, GRACE, PAUSE, warn=pytest.fail, wake=wake)
    live = cancelled(1)
    canceller.cancel([live], [])
    canceller.forget(live)  # its trial may have had no signal handler yet
    go_on.set()
    assert wake.wait(DEADLINE), "the end of the first call did not wake the loop"
    assert canceller.take_outcome().sent == []
    assert not live.is_cancel_sent
    wake.clear()
    canceller.cancel([live], [])
    assert wake.wait(DEADLINE), "the end of the second call did not wake the loop"
    canceller.take_outcome()
    assert live.is_cancel_sent
    assert scheduler.calls == ["1", "1"]


def test_a_job_that_begins_after_it_was_cancelled_is_cancelled_again(canceller, scheduler):
    live = cancelled(1)
    for _ in range(2):
        canceller.cancel([live], [])
        canceller.take_outcome()
        canceller.forget(live)
    assert scheduler.calls == ["1", "1"]


def test_a_job_begins_that_was_never_cancelled(canceller, scheduler):
    live = live_attempt(attempt_state(1))
    canceller.forget(live)
    canceller.cancel([], [])
    assert (live.cancel_sent, scheduler.calls) == (None, [])


def test_a_new_canceller_may_call_at_once(canceller, clock):
    clock.time = 0.0  # of a machine just booted
    assert not canceller.running
    assert canceller.has_more([cancelled(1)])
    assert canceller.take_outcome() is None


class Directory:
    """Paths of a campaign without files."""

    def __init__(self, path):
        self.path = path
        self.settings = type("Settings", (), {"scheduler": LocalSettings()})()

    def log(self, trial, attempt):
        return self.path / "log"

    def job_folder(self, trial, attempt):
        return self.path


class Ending:
    """A live attempt whose polls find these end lines, one after another."""

    def __init__(self, *lines, order=None):
        self.lines, self.line = list(lines), None
        self.live = live_attempt(attempt_state(cancelling=order))
        self.live.poll_now = self.poll_now

    def poll_now(self, directory):
        line = self.lines.pop(0)
        end = line and End(trial=0, attempt=1, run=0, time=NOW, reason=EndReason(line), message=f"{line} by its line")
        self.live.runs = [type("Run", (), {"begin": None, "end": end, "epochs": []})()]


@pytest.mark.parametrize(
    ("lines", "job_end", "reason", "message"),
    [
        pytest.param(["COMPLETED"], None, "COMPLETED", "COMPLETED by its line", id="an end line is there"),
        pytest.param([None, "LOST"], None, "LOST", "LOST by its line", id="it is revoked, and polled again"),
        pytest.param(["STOPPED"], None, "CANCELLED", "STOPPED by its line", id="cancelled by others"),
        pytest.param(
            ["STOPPED"],
            JobEnd(EndReason.PREEMPTED, "for job 9"),
            "PREEMPTED",
            "STOPPED by its line, for job 9",
            id="the queue knows why",
        ),
        pytest.param(["STOPPED"], JobEnd(None, "?"), "CANCELLED", "STOPPED by its line", id="the queue does not"),
        pytest.param(
            ["COMPLETED"],
            JobEnd(EndReason.PREEMPTED, "for job 9"),
            "COMPLETED",
            "COMPLETED by its line",
            id="its own end line counts",
        ),
    ],
)
def test_the_end_of_a_reclaimed_attempt(tmp_path, monkeypatch, lines, job_end, reason, message):
    revoked = []
    monkeypatch.setattr(cancellation, "revoke", lambda directory, *end: revoked.append(end[2]))
    scheduler = type("Scheduler", (), {"early_log": "early"})()
    live = Ending(*lines).live
    found = cancellation.reclaim_attempt(Directory(tmp_path), scheduler, live, job_end)
    assert (found[0].value, found[1]) == (reason, message)
    assert revoked == ([EndReason.LOST] if lines[0] is None else [])


def test_a_job_that_this_controller_stopped_was_not_cancelled_by_others(tmp_path):
    live = Ending("STOPPED", order=EndReason.STOPPED).live
    job_end = JobEnd(EndReason.CANCELLED, "CANCELLED by 1000")
    found = cancellation.reclaim_attempt(Directory(tmp_path), None, live, job_end)
    assert found == (EndReason.STOPPED, "STOPPED by its line")
