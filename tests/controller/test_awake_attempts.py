"""Which live attempts a step looks at, and how often the events of announced ones are read."""

from types import SimpleNamespace

import pytest

from aiperf_orch.campaign.trial_state import AttemptKey
from aiperf_orch.controller import attempt_monitor, live_attempts
from aiperf_orch.controller.attempt_monitor import Unsubmitted
from aiperf_orch.controller.live_attempts import LiveAttempts
from aiperf_orch.records.base import EndReason
from controller.builders import Clock, attempt_state, live_attempt

pytestmark = pytest.mark.unit


class Scheduler:
    """Announces what the test sets; `released` are the names whose resources were released."""

    def __init__(self):
        self.news, self.gone, self.released = set(), set(), set()

    def take_news(self):
        news, self.news = self.news, set()
        return news

    def gone_jobs(self):
        return self.gone - self.released

    def release_resources(self, names):
        self.released |= set(names)


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (attempt_monitor, live_attempts):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def polls(monkeypatch):
    """Trials whose events were read; a read finds nothing."""
    polls = []
    monkeypatch.setattr(attempt_monitor, "poll_attempt", lambda _, trial, *__, **___: polls.append(trial))
    monkeypatch.setattr(attempt_monitor, "counted_runs", lambda *attempt: ([], []))
    return polls


def announced(trials, clock, **fields):
    """Announced attempts of this number of trials, which wait."""
    attempts = LiveAttempts()
    for trial in range(trials):
        live = live_attempt(attempt_state(trial), is_announced=True, _earlier_known=True, **fields)
        live.last_sign = clock.time
        attempts[live.key] = live
    return attempts


def run_of(**fields):
    return SimpleNamespace(begin="begin", epochs=[], end=None, size=0, faults=[], **fields)


def step(attempts, scheduler, clock, seconds=0.0):
    """One step, and the time after it."""
    attempts.begin_step(scheduler)
    attempts.poll(None)
    clock.time += seconds


@pytest.mark.parametrize(
    "awakened",
    [
        pytest.param({"next_poll": 0.0}, id="its events are due"),
        pytest.param({"unsubmitted": Unsubmitted.POSTPONED}, id="it is not submitted"),
        pytest.param({"job_ended": 1.0}, id="its job has ended"),
        pytest.param({"abandoned": True}, id="it is abandoned"),
        pytest.param({"runs": [SimpleNamespace(end="end", begin=None)]}, id="it has an end line"),
        pytest.param({"attempt": attempt_state(job=None)}, id="its job is not known"),
        pytest.param({"attempt": attempt_state(missing_since=1)}, id="its job is missing"),
        pytest.param({"attempt": attempt_state(cancelling=EndReason.HUNG)}, id="it is being cancelled"),
    ],
)
def test_a_step_looks_only_at_attempts_that_need_it(scheduler, clock, awakened):
    resting, awake = live_attempt(attempt_state(1), next_poll=9e9), live_attempt(**{"next_poll": 9e9} | awakened)
    attempts = LiveAttempts()
    for live in (resting, awake):
        attempts[live.key] = live
    attempts.begin_step(scheduler)
    assert attempts.awake == [awake]
    attempts.wake([resting])
    assert attempts.awake == [awake, resting]
    del attempts[awake.key]
    attempts.wake([awake])  # it has ended
    assert (attempts.awake, list(attempts.values()), list(attempts.by_name)) == ([resting], [resting], [resting.name])


def test_jobs_that_are_gone_are_looked_at_and_those_of_the_past_released(scheduler, clock, polls):
    attempts = announced(2, clock)
    step(attempts, scheduler, clock)
    name = attempts[AttemptKey(1, 1)].name
    scheduler.gone = {name, "qk3f9-00099-1"}
    step(attempts, scheduler, clock)
    assert ([live.name for live in attempts.awake], attempts.gone) == ([name], {name})
    assert scheduler.released == {"qk3f9-00099-1"}


def test_an_attempt_that_waits_is_not_read_before_its_start_is_announced(scheduler, clock, polls):
    attempts = announced(500, clock)
    for _ in range(5):
        step(attempts, scheduler, clock, 5)
    assert polls == list(range(500))
    scheduler.news = {attempts[AttemptKey(1, 1)].name}
    for _ in range(4):  # its begin line comes soon
        step(attempts, scheduler, clock, 1)
    assert set(polls[500:]) == {1}
    assert len(polls[500:]) >= 3


def test_an_announced_end_is_read_at_once(scheduler, clock, polls):
    attempts = announced(1000, clock, runs=[run_of()])
    step(attempts, scheduler, clock, 1)
    polls.clear()
    step(attempts, scheduler, clock, 1)
    assert polls == []
    scheduler.news = {attempts[AttemptKey(7, 1)].name}
    step(attempts, scheduler, clock)
    assert polls == [7]


@pytest.mark.parametrize("cancelling", [None, EndReason.STOPPED])
def test_few_files_are_read_a_second_for_many_announced_attempts(scheduler, clock, polls, cancelling):
    attempts = announced(1000, clock, runs=[run_of()])
    for live in attempts.values():
        live.attempt.cancelling = cancelling
    for _ in range(100):
        step(attempts, scheduler, clock, 1)
    assert len(polls) <= 1000 + 100 * 50


def test_without_announcements_each_attempt_is_read_within_half_a_minute(scheduler, clock, polls):
    attempts = announced(3000, clock, runs=[run_of()])
    for live in attempts.values():
        live.is_announced, live.last_growth = False, clock.time
    for _ in range(31):
        step(attempts, scheduler, clock, 1)
    polls.clear()
    for _ in range(31):
        step(attempts, scheduler, clock, 1)
    assert set(polls) == set(range(3000))


def test_few_files_are_read_a_second_for_many_jobs_that_wait_and_those_that_run_at_each_step(scheduler, clock, polls):
    attempts = announced(1000, clock)
    for live in attempts.values():
        live.is_announced = False
    for _ in range(100):
        step(attempts, scheduler, clock, 1)
    assert 1000 + 70 * 50 <= len(polls) <= 1000 + 100 * 50
    attempts[AttemptKey(7, 1)].is_running, attempts[AttemptKey(7, 1)].next_poll = True, clock.time
    polls.clear()
    for _ in range(10):
        step(attempts, scheduler, clock, 1)
    assert polls.count(7) == 10


def test_one_job_that_waits_is_read_at_each_step(scheduler, clock, polls):
    attempts = announced(1, clock)
    attempts[AttemptKey(0, 1)].is_announced = False
    for _ in range(10):
        step(attempts, scheduler, clock, 1)
    assert len(polls) == 10
