"""What the controller concludes from an answer of the queue: table tests, without processes or files."""

from datetime import datetime, timedelta, timezone

import pytest

from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.controller import job_triage
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.controller.job_triage import is_over, judge
from aiperf_orch.controller.queue_poller import QueueAnswer
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import End
from aiperf_orch.schedulers.base import JobEnd, JobState, JobStatus
from aiperf_orch.settings.schedulers import SlurmSettings

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
NAME = "qk3f9-00000-1"
SETTINGS = SlurmSettings(kind="slurm", lost_after="60s", begin_within="15m", stop_grace="60s")
RUNNING = JobStatus(NAME, "7", JobState.RUNNING, running_for=5.0)
PENDING = JobStatus(NAME, "7", JobState.PENDING, "Priority: jobs of higher priority are before it")
ENDED = JobStatus(NAME, "7", JobState.ENDED, "FAILED")
FAILED = JobEnd(EndReason.TRIAL_ERROR, "exit status 1")


class Clock:
    time = 1e6

    def __call__(self):
        return self.time


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(job_triage, "monotonic", clock)
    return clock


def attempt_of(*, job="7", missing_for=None, cancelling=None, ended_for=None):
    """An attempt with its job's id, and how long ago it was missed, and its trial ended for a reason of its own."""
    attempt = AttemptState(0, 1, NAME, NOW, job=job, cancelling=cancelling)
    if missing_for is not None:
        attempt.missing_since = NOW - timedelta(seconds=missing_for)
    watched = LiveAttempt(attempt, trial=None, planned=None, heard=0.0, due=0.0, earlier=[])
    if ended_for is not None:
        time = NOW - timedelta(seconds=ended_for)
        end = End(trial=0, attempt=1, run=0, time=time, reason=EndReason.STOPPED)
        watched.runs = [type("Run", (), {"begin": None, "end": end, "epochs": []})()]
    return watched


def conclusion(watched, *, status=None, known=None, unknown=False, settings=SETTINGS):
    """The one class that an attempt is put into, "" for none."""
    answers = None if unknown else {NAME: known} if known else {}
    answer = QueueAnswer({NAME: watched.attempt.job}, {NAME: status} if status else {}, answers)
    found = judge([watched], answer, settings, NOW)
    return " ".join(
        name for name in ("found", "missing", "gone", "lost", "never", "hung", "held") if getattr(found, name)
    )


@pytest.mark.parametrize(
    ("watched", "said", "expected"),
    [
        pytest.param({}, {"status": RUNNING}, "", id="it runs"),
        pytest.param({"missing_for": 3}, {"status": RUNNING}, "found", id="it is there again"),
        pytest.param({"job": None}, {"status": PENDING}, "found", id="its id was not known"),
        pytest.param({}, {}, "missing", id="absent everywhere, the first time"),
        pytest.param({"missing_for": 59}, {}, "", id="absent within the grace"),
        pytest.param({"missing_for": 60}, {}, "lost", id="absent for the whole grace: cancelled, then lost"),
        pytest.param({"missing_for": 60, "job": None}, {}, "never", id="no scheduler ever said that it had it"),
        pytest.param({"missing_for": 999}, {"unknown": True}, "", id="what knows better could not be asked"),
        pytest.param({}, {"known": RUNNING}, "", id="not listed, but the scheduler knows that it lives"),
        pytest.param(
            {"missing_for": 60}, {"known": RUNNING}, "found", id="missed, but the scheduler knows that it lives"
        ),
        pytest.param({"missing_for": 60}, {"known": FAILED}, "", id="its end is known: no loss"),
        pytest.param({}, {"status": ENDED, "known": RUNNING}, "", id="listed as ended, but it runs again"),
        pytest.param(
            {"ended_for": 1}, {"status": ENDED, "known": FAILED}, "gone", id="ended by others, and its job too"
        ),
        pytest.param({"ended_for": 1}, {"status": RUNNING}, "", id="ended by others a moment ago"),
        pytest.param({"ended_for": 60}, {"status": RUNNING}, "lost", id="its job outlives its end line"),
    ],
)
def test_what_is_concluded_from_an_answer(clock, watched, said, expected):
    assert conclusion(attempt_of(**watched), **said) == expected


def test_a_stated_end_is_believed_after_seconds_and_an_unstated_one_is_not(clock):
    watched = attempt_of()
    conclusion(watched, status=ENDED, known=FAILED)
    assert (watched.job_end, is_over(watched, SETTINGS)) == (FAILED, False)
    clock.time += 3
    assert is_over(watched, SETTINGS)
    conclusion(watched, status=PENDING)  # it was put back into the queue
    assert not is_over(watched, SETTINGS)
    clock.time += 999
    assert not is_over(watched, SETTINGS)


@pytest.mark.parametrize(("reason", "seconds"), [(EndReason.PREEMPTED, 60), (EndReason.TRIAL_ERROR, 3)])
def test_where_jobs_run_again_an_end_that_may_be_followed_by_a_run_has_the_grace(clock, reason, seconds):
    requeued = SETTINGS.model_copy(update={"requeue": True})
    watched = attempt_of()
    conclusion(watched, status=ENDED, known=JobEnd(reason))
    clock.time += seconds - 1
    assert not is_over(watched, requeued)
    clock.time += 1
    assert is_over(watched, requeued)


def test_what_will_never_run_is_given_up_when_it_is_final_or_has_been_said_for_long(clock):
    said = JobStatus(NAME, "7", JobState.PENDING, "Can Never Run: not enough nodes", stuck=True)
    watched = attempt_of()
    assert conclusion(watched, status=said) == ""
    clock.time += 899
    assert conclusion(watched, status=said) == ""
    assert conclusion(watched, status=PENDING) == ""  # it can: counted from the next time on
    assert conclusion(watched, status=said) == ""
    clock.time += 900
    assert conclusion(watched, status=said) == "held"
    final = JobStatus(NAME, "7", JobState.PENDING, "held: too many failed attempts", stuck=True, final=True)
    assert conclusion(attempt_of(), status=final) == "held"


@pytest.mark.parametrize(("seconds", "expected"), [(899.0, ""), (900.0, "hung"), (None, "")])
def test_a_job_that_runs_for_long_without_a_begin_line_is_hung(clock, seconds, expected):
    status = JobStatus(NAME, "7", JobState.RUNNING, running_for=seconds)
    assert conclusion(attempt_of(), status=status) == expected
    assert conclusion(attempt_of(cancelling=EndReason.STOPPED), status=status) == ""
