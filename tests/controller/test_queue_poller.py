"""Polls of the queue: which attempts need one, how often, and what is concluded without an answer."""

import itertools
from threading import Event

import pytest

from aiperf_orch.controller import queue_poller
from aiperf_orch.controller.queue_poller import QueuePoller, may_end_soon, needs_query
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import End
from aiperf_orch.schedulers.base import JobEnd, JobState, JobStatus
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util.errors import SchedulerUnreachableError
from controller.builders import NOW, Clock, attempt_state, live_attempt

pytestmark = pytest.mark.unit

SETTINGS = SlurmSettings.model_validate({"poll_interval": "5s", "silent_after": "60s"})
INTERVAL = 30.0


class Run:
    def __init__(self, begin=None, end=None):
        self.begin, self.end, self.epochs = begin, end, []


class Scheduler:
    """Answers with these statuses and known jobs; `calls` counts the polls."""

    nonblocking, query_interval = True, INTERVAL

    def __init__(self):
        self.statuses, self.known, self.calls, self.unlisted = {}, {}, 0, []

    def query(self, names):
        self.calls += 1
        if isinstance(self.statuses, Exception):
            raise self.statuses
        return {name: status for name, status in self.statuses.items() if name in names}

    def query_unlisted(self, jobs):
        self.unlisted.append(dict(jobs))
        if isinstance(self.known, Exception):
            raise self.known
        return {name: known for name, known in self.known.items() if name in jobs}


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(queue_poller, "monotonic", clock)
    monkeypatch.setattr(queue_poller, "_jittered", lambda seconds: seconds)
    return clock


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def poller(clock, scheduler, warnings):
    return QueuePoller(scheduler, 5.0, warnings.append, Event())


def attempt_of(*, silent_for=0.0, begun=True, ended=False, clock=None, job_ended=None, **fields):
    live = live_attempt(attempt_state(**fields), last_sign=clock.time - silent_for, job_ended=job_ended)
    end = End(trial=0, attempt=1, run=0, time=NOW, reason=EndReason.STOPPED) if ended else None
    live.runs = [Run("begin" if begun else None, end)]
    return live


@pytest.mark.parametrize(
    ("attempt", "proven", "soon", "needed"),
    [
        pytest.param({}, True, False, False, id="it wrote an event a moment ago"),
        pytest.param({"silent_for": 59}, True, False, False, id="silent for less than silent_after"),
        pytest.param({"silent_for": 60}, True, False, True, id="silent for silent_after"),
        pytest.param({"begun": False, "silent_for": 29}, True, False, False, id="not begun, within the interval"),
        pytest.param({"begun": False, "silent_for": 30}, True, False, True, id="not begun for the interval"),
        pytest.param({"begun": False}, False, True, True, id="the first job of the campaign"),
        pytest.param({}, False, False, False, id="the first job has begun"),
        pytest.param({"job": None}, True, True, True, id="its job has no id yet"),
        pytest.param({"missing_since": NOW}, True, True, True, id="it is missing"),
        pytest.param({"cancelling": EndReason.STOPPED}, True, True, True, id="it is being cancelled"),
        pytest.param({"ended": True}, True, True, True, id="it was cancelled by others"),
        pytest.param({"job_ended": 1.0}, True, True, True, id="its job has ended"),
    ],
)
def test_which_attempts_need_the_queue(clock, attempt, proven, soon, needed):
    live = attempt_of(clock=clock, **attempt)
    assert may_end_soon(live, proven=proven) is soon
    assert needs_query(live, SETTINGS, INTERVAL, proven=proven) is needed


@pytest.mark.parametrize(
    ("attempt", "announced", "needed"),
    [
        pytest.param({"silent_for": 1799}, 1.0, False, id="its end would be announced"),
        pytest.param({"silent_for": 1800}, 1.0, True, id="silent for long all the same"),
        pytest.param({"begun": False, "silent_for": 1799}, None, False, id="its start would be announced"),
        pytest.param({"begun": False, "silent_for": 30}, 1.0, True, id="it has started, and not begun"),
        pytest.param({"cancelling": EndReason.STOPPED}, 1.0, True, id="it is being cancelled"),
    ],
)
def test_announced_attempts_need_the_queue_seldom(clock, attempt, announced, needed):
    live = attempt_of(clock=clock, **attempt)
    live.is_announced, live.announced = True, announced
    assert needs_query(live, SETTINGS, INTERVAL, proven=True) is needed


def test_what_is_looked_for_without_need_is_looked_for_again_later(poller, scheduler, clock):
    poller.poll({}, [])
    assert not poller.expect([])
    clock.time += 5
    assert poller.expect([])
    assert scheduler.calls == 0


def test_a_slow_controller_asks_for_pending_jobs_at_its_own_interval(clock):
    live = attempt_of(clock=clock, begun=False, silent_for=4)
    assert not needs_query(live, SETTINGS, 0.0, proven=True)
    live.last_sign -= 1
    assert needs_query(live, SETTINGS, 0.0, proven=True)


def polled_at(poller, scheduler, clock, seconds, expected=(), jobs=None):
    """Seconds at which the queue is polled when every second asks for it."""
    start, times = clock.time, []
    for _ in range(seconds):
        before = scheduler.calls
        poller.poll({"a": "1"} if jobs is None else jobs, expected)
        poller.take_answer()
        times += [int(clock.time - start)] * (scheduler.calls - before)
        clock.time += 1
    return times


def test_the_queue_is_polled_once_an_interval(poller, scheduler, clock):
    assert polled_at(poller, scheduler, clock, 70) == [0, 30, 60]


def test_a_job_that_may_end_soon_is_polled_for_at_growing_intervals(poller, scheduler, clock):
    assert polled_at(poller, scheduler, clock, 100, expected=["a"]) == [0, 2, 6, 14, 30, 60, 90]


def test_a_further_job_that_may_end_soon_is_polled_for_soon(poller, scheduler, clock):
    polled_at(poller, scheduler, clock, 40, expected=["a"])
    assert polled_at(poller, scheduler, clock, 10, expected=["a", "b"])[0] == 2


def test_without_a_job_to_ask_for_there_is_no_poll(poller, scheduler, clock):
    assert polled_at(poller, scheduler, clock, 5, jobs={}) == []


def test_no_second_poll_begins_before_the_answer_is_taken(poller, scheduler, clock):
    poller.poll({"a": "1"}, ())
    clock.time += 100
    poller.poll({"a": "1"}, ())
    assert (scheduler.calls, poller.running) == (1, True)
    assert poller.take_answer() is not None
    assert (poller.take_answer(), poller.running) == (None, False)


def test_a_scheduler_that_does_not_answer_is_polled_less_and_less_often(poller, scheduler, clock, warnings):
    scheduler.statuses = SchedulerUnreachableError("no answer")
    times = polled_at(poller, scheduler, clock, 1000)
    assert [after - before for before, after in itertools.pairwise(times)] == [10, 20, 40, 80, 160, 300, 300]
    assert warnings[0] == "no answer; polling again in 10s"
    scheduler.statuses = {}
    clock.time += 300
    assert polled_at(poller, scheduler, clock, 1) == [0]
    scheduler.statuses = SchedulerUnreachableError("no answer")
    clock.time += 30
    polled_at(poller, scheduler, clock, 1)
    assert warnings[-1] == "no answer; polling again in 10s"  # the back-off begins again


def status(name, state):
    return JobStatus(name, f"id {name}", state)


def test_what_the_queue_does_not_list_is_asked_of_accounting(poller, scheduler):
    scheduler.statuses = {"a": status("a", JobState.RUNNING), "b": status("b", JobState.ENDED)}
    scheduler.known = {"b": JobEnd(EndReason.TIME_LIMIT)}
    poller.poll({"a": "1", "b": None, "c": "3", "d": None}, ())
    answer = poller.take_answer()
    assert scheduler.unlisted == [{"b": "id b", "c": "3"}]  # the id of d is not known
    assert answer.jobs == {"a": "1", "b": None, "c": "3", "d": None}
    assert (answer.statuses, answer.known) == (scheduler.statuses, scheduler.known)


def test_the_end_of_other_jobs_is_noticed(poller, scheduler):
    scheduler.statuses = {"b": status("b", JobState.ENDED), "c": status("c", JobState.RUNNING)}
    poller.poll({"a": "1"}, (), {"b": "2", "c": "3"})
    assert poller.take_answer().jobs == {"a": "1", "b": "2"}


def test_all_listed_jobs_need_no_accounting(poller, scheduler):
    scheduler.statuses = {"a": status("a", JobState.RUNNING)}
    poller.poll({"a": "1"}, ())
    assert poller.take_answer().known == {}
    assert scheduler.unlisted == []


def test_nothing_is_concluded_while_accounting_does_not_answer(poller, scheduler, warnings):
    scheduler.known = SchedulerUnreachableError("no answer")
    poller.poll({"a": "1"}, ())
    assert poller.take_answer().known is None
    assert warnings == ["the scheduler lists its queue, but not what happened to jobs that have left it"]


def test_campaigns_that_began_together_do_not_poll_together():
    waits = {queue_poller._jittered(10.0) for _ in range(100)}
    assert len(waits) > 10
    assert 10 <= min(waits) <= max(waits) <= 12
