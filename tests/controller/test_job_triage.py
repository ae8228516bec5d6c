"""Job triage: table tests of what the controller concludes from an answer of the queue."""

from datetime import timedelta

import pytest

from aiperf_orch.controller import job_triage
from aiperf_orch.controller.job_triage import classify_jobs, end_reason, job_is_over, seconds_until_over
from aiperf_orch.controller.queue_poller import QueueAnswer
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import End
from aiperf_orch.records.journal import JobRecord
from aiperf_orch.schedulers.base import JobEnd, JobState, JobStatus
from aiperf_orch.settings.schedulers import LocalSettings, SlurmSettings
from controller.builders import NOW, Clock, attempt_state, live_attempt

pytestmark = pytest.mark.unit

NAME = attempt_state().name
SETTINGS = SlurmSettings.model_validate({"lost_after": "60s", "begin_within": "15m", "stop_grace": "60s"})
RUNNING = JobStatus(NAME, "7", JobState.RUNNING, running_for=5.0)
PENDING = JobStatus(NAME, "7", JobState.PENDING, "Priority: jobs of higher priority are before it")
STUCK = JobStatus(NAME, "7", JobState.PENDING, "Can Never Run: not enough nodes", stuck=True)
LATE = JobStatus(NAME, "7", JobState.RUNNING, running_for=9999.0)
FINAL_BUT_NOT_STUCK = JobStatus(NAME, "7", JobState.PENDING, final=True)
ENDED = JobStatus(NAME, "7", JobState.ENDED, "FAILED")
RETURNED = JobStatus(NAME, "7", JobState.ENDED, "the agent ends", never_started=True)
FAILED = JobEnd(EndReason.TRIAL_ERROR, "exit status 1")
CLASSES = ("found", "missing", "gone", "lost", "unsubmitted", "returned", "hung", "held")


class Run:
    """A run of an attempt, with a begin line or an end line."""

    def __init__(self, begin=None, end=None):
        self.begin, self.end, self.epochs = begin, end, []


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(job_triage, "monotonic", clock)
    return clock


def attempt_of(*, missing_for=None, ended_for=None, end_line=EndReason.STOPPED, begun=False, claimed=False, **fields):
    """A live attempt, and for how many seconds its job has been missing, or its trial cancelled by others."""
    live = live_attempt(attempt_state(**fields))
    if missing_for is not None:
        live.attempt.missing_since = NOW - timedelta(seconds=missing_for)
    if ended_for is not None:
        time = NOW - timedelta(seconds=ended_for)
        live.runs = [Run(end=End(trial=0, attempt=1, run=0, time=time, reason=end_line))]
    if begun or claimed:
        live.runs = [Run(begin="begin" if begun else None)]
    return live


def triage(live, *, status=None, known=None, no_accounting=False, settings=SETTINGS):
    """The classes that an attempt is put into, by name."""
    answers = None if no_accounting else {NAME: known} if known else {}
    answer = QueueAnswer({NAME: live.attempt.job}, {NAME: status} if status else {}, answers)
    found = classify_jobs([live], answer, settings, NOW)
    return " ".join(name for name in CLASSES if getattr(found, name))


@pytest.mark.parametrize(
    ("attempt", "answer", "expected"),
    [
        pytest.param({}, {"status": RUNNING}, "", id="it runs"),
        pytest.param({"missing_for": 3}, {"status": RUNNING}, "found", id="it is listed again"),
        pytest.param({"job": None}, {"status": PENDING}, "found", id="its id was not known"),
        pytest.param({"job": None}, {"status": ENDED}, "found", id="its id was not known, and it has ended"),
        pytest.param({}, {}, "missing", id="absent everywhere, the first time"),
        pytest.param({"missing_for": 59}, {}, "", id="absent within the grace"),
        pytest.param({"missing_for": 60}, {}, "lost", id="absent for the whole grace: cancelled, then lost"),
        pytest.param({"missing_for": 60, "job": None}, {}, "unsubmitted", id="no scheduler confirmed its job"),
        pytest.param({"missing_for": 60, "job": None, "claimed": True}, {}, "lost", id="not confirmed, but it ran"),
        pytest.param(
            {"missing_for": 60, "job": None, "cancelling": EndReason.STOPPED}, {}, "lost", id="and being cancelled"
        ),
        pytest.param({"missing_for": 999}, {"no_accounting": True}, "", id="accounting did not answer"),
        pytest.param({}, {"known": RUNNING}, "", id="not listed, but known to be alive"),
        pytest.param({"missing_for": 60}, {"known": RUNNING}, "found", id="missing, but known to be alive"),
        pytest.param({"missing_for": 60}, {"known": FAILED}, "", id="its end is known: no loss"),
        pytest.param({}, {"status": ENDED, "known": RUNNING}, "", id="listed as ended, but it runs again"),
        pytest.param({"ended_for": 1}, {"status": ENDED, "known": FAILED}, "gone", id="cancelled by others, and gone"),
        pytest.param({}, {"status": RETURNED}, "returned", id="it never started"),
        pytest.param({"missing_for": 60}, {"status": RETURNED}, "returned", id="it was missing, and never started"),
        pytest.param({"claimed": True}, {"status": RETURNED}, "", id="never started, but its events are there"),
        pytest.param({"cancelling": EndReason.STOPPED}, {"status": RETURNED}, "", id="cancelled before it started"),
        pytest.param({"ended_for": 1}, {"status": RUNNING}, "", id="cancelled by others a moment ago"),
        pytest.param({"ended_for": 59}, {"status": RUNNING}, "", id="its job outlives its end line within the grace"),
        pytest.param({"ended_for": 60}, {"status": RUNNING}, "lost", id="its job outlives its end line"),
        pytest.param({"ended_for": 1}, {"status": LATE}, "", id="cancelled by others before it began"),
        pytest.param({}, {"status": FINAL_BUT_NOT_STUCK}, "", id="final, but it can run"),
        pytest.param(
            {"ended_for": 60, "end_line": EndReason.COMPLETED},
            {"status": RUNNING},
            "",
            id="its own end is not yet read",
        ),
    ],
)
def test_classes_of_an_attempt(clock, attempt, answer, expected):
    assert triage(attempt_of(**attempt), **answer) == expected


@pytest.mark.parametrize(
    ("running_for", "attempt", "expected"),
    [
        pytest.param(899.0, {}, "", id="within begin_within"),
        pytest.param(900.0, {}, "hung", id="for begin_within"),
        pytest.param(None, {}, "", id="pending"),
        pytest.param(900.0, {"begun": True}, "", id="it began"),
        pytest.param(900.0, {"cancelling": EndReason.STOPPED}, "", id="it is being cancelled already"),
    ],
)
def test_a_job_that_runs_without_a_begin_line_is_hung(clock, running_for, attempt, expected):
    status = JobStatus(NAME, "7", JobState.RUNNING, running_for=running_for)
    assert triage(attempt_of(**attempt), status=status) == expected, "a job that never begins must be cancelled as hung"


def test_an_answer_that_it_is_alive_is_a_sign_of_life(clock):
    live = attempt_of()
    triage(live, status=RUNNING)
    assert (live.last_sign, live.next_poll) == (clock.time, clock.time)
    silent = attempt_of()
    triage(silent, status=ENDED)
    assert silent.last_sign == 0.0


def test_a_job_that_waits_is_alive_but_its_events_are_not_due(clock):
    live = attempt_of()
    live.next_poll = clock.time + 90
    triage(live, status=JobStatus(NAME, "7", JobState.PENDING))
    assert (live.last_sign, live.next_poll, live.is_running) == (clock.time, clock.time + 90, False)
    triage(live, status=RUNNING)
    assert (live.next_poll, live.is_running) == (clock.time, True)
    triage(live, status=JobStatus(NAME, "7", JobState.PENDING))
    assert not live.is_running, "the job was requeued"


def test_attempts_after_one_that_accounting_must_explain_are_classified(clock):
    absent, running = attempt_of(), attempt_of(trial=1, job=None)
    status = JobStatus(running.name, "8", JobState.RUNNING)
    answer = QueueAnswer({absent.name: "7", running.name: None}, {running.name: status}, None)
    assert classify_jobs([absent, running], answer, SETTINGS, NOW).found == [JobRecord(trial=1, attempt=1, job="8")]


def test_a_known_end_of_a_job_without_an_id_names_no_job(clock):
    live = attempt_of(job=None)
    assert triage(live, known=FAILED) == ""
    assert live.job_end == FAILED


def test_a_listed_job_needs_no_accounting(clock):
    live = attempt_of()
    triage(live, status=RUNNING, known=RUNNING, no_accounting=True)
    assert live.last_sign == clock.time


def test_a_found_job_is_recorded_with_its_id(clock):
    answer = QueueAnswer({NAME: None}, {NAME: RUNNING}, {})
    found = classify_jobs([attempt_of(job=None)], answer, SETTINGS, NOW).found
    assert found == [JobRecord(trial=0, attempt=1, job="7")]


def test_the_note_is_what_the_queue_last_said(clock):
    live = attempt_of()
    triage(live, status=PENDING)
    assert live.note == PENDING.detail
    triage(live, status=RUNNING)
    assert live.note == ""
    live = attempt_of(cancelling=EndReason.HELD)
    live.note = "held"
    triage(live, status=PENDING)
    assert live.note == "held"  # for its end record


def test_a_missing_job_that_reappears_is_noticed_by_its_events(clock):
    live = attempt_of()
    live.reappeared = True
    assert triage(live) == "missing"
    assert live.reappeared is False


def test_a_stated_end_is_believed_after_seconds_unless_it_is_revised(clock):
    live = attempt_of()
    triage(live, status=ENDED, known=FAILED)
    assert (live.job_end, job_is_over(live, SETTINGS), seconds_until_over(live, SETTINGS)) == (FAILED, False, 3)
    clock.time += 2
    triage(live, status=ENDED, known=FAILED)
    assert seconds_until_over(live, SETTINGS) == 1  # since it was first stated
    clock.time += 1
    assert job_is_over(live, SETTINGS)
    triage(live, status=PENDING)  # it was put back into the queue
    assert (live.job_end, seconds_until_over(live, SETTINGS)) == (None, None)
    clock.time += 999
    assert not job_is_over(live, SETTINGS)


@pytest.mark.parametrize(
    ("answer", "alive"),
    [
        pytest.param({"known": RUNNING}, True, id="accounting says that it runs again"),
        pytest.param({"no_accounting": True}, False, id="accounting did not answer"),
    ],
)
def test_a_listed_end_is_no_end_where_accounting_may_know_better(clock, answer, alive):
    live = attempt_of()
    triage(live, status=ENDED, **answer)
    assert (live.job_end, live.job_ended, job_is_over(live, SETTINGS)) == (None, None, False)
    assert (live.last_sign == clock.time) is alive


def test_an_end_without_a_reason_keeps_the_words_of_the_queue(clock):
    live = attempt_of()
    triage(live, status=ENDED)
    assert live.job_end == JobEnd(None, "FAILED")


@pytest.mark.parametrize(
    ("requeue", "reason", "seconds"),
    [
        (True, EndReason.PREEMPTED, 60),
        (True, EndReason.NODE_FAILURE, 60),
        (True, None, 60),
        (True, EndReason.TRIAL_ERROR, 3),
        (False, EndReason.PREEMPTED, 3),
    ],
)
def test_an_end_that_a_requeue_may_follow_waits_for_the_grace(clock, requeue, reason, seconds):
    settings = SETTINGS.model_copy(update={"requeue": requeue})
    live = attempt_of()
    triage(live, status=ENDED, known=JobEnd(reason))
    clock.time += seconds - 1
    assert not job_is_over(live, settings)
    clock.time += 1
    assert job_is_over(live, settings)


def test_the_lag_of_files_is_never_longer_than_lost_after(clock):
    live = attempt_of()
    triage(live, status=ENDED, known=FAILED)
    clock.time += 1
    assert job_is_over(live, LocalSettings(lost_after="1s"))


def test_a_job_that_can_never_run_is_held_after_begin_within(clock):
    live = attempt_of()
    assert triage(live, status=STUCK) == ""
    clock.time += 899
    assert triage(live, status=STUCK) == ""
    assert triage(live, status=PENDING) == ""  # it can run: counted from the next time on
    assert triage(live, status=STUCK) == ""
    clock.time += 899
    assert triage(live, status=STUCK) == ""
    clock.time += 1
    assert triage(live, status=STUCK) == "held"


def test_a_job_that_is_stuck_for_good_is_held_at_once(clock):
    final = JobStatus(NAME, "7", JobState.PENDING, "held: too many failed attempts", stuck=True, final=True)
    assert triage(attempt_of(), status=final) == "held"
    assert triage(attempt_of(cancelling=EndReason.STOPPED), status=final) == ""


@pytest.mark.parametrize(
    ("order", "job_end", "reason", "message"),
    [
        pytest.param(None, None, "LOST", "left the queue without an end line", id="unknown"),
        pytest.param(None, FAILED, "TRIAL_ERROR", "without an end line, exit status 1", id="the queue knows"),
        pytest.param("HUNG", None, "HUNG", "did not begin within 15m (scheduler.begin_within)", id="hung"),
        pytest.param("HELD", None, "HELD", "Can Never Run", id="held, with a note"),
        pytest.param("STOPPED", FAILED, "STOPPED", "its job was ended", id="stopped"),
        pytest.param(None, None, "LOST", "most likely its node does not see", id="without any output"),
    ],
)
def test_the_end_of_an_attempt_without_an_end_line(tmp_path, order, job_end, reason, message):
    live = attempt_of(cancelling=order and EndReason(order))
    live.note = "Can Never Run"
    found, text = end_reason(live, job_end, SETTINGS, [tmp_path / "log"])
    assert found.value == reason
    assert message in text


@pytest.mark.parametrize(
    ("order", "job_end", "message"),
    [
        pytest.param(None, JobEnd(None, "ended by signal 9"), "left no end line, ended by signal 9", id="killed"),
        pytest.param(None, JobEnd(None, "its agent was lost"), "left no end line, its agent was lost", id="lost"),
        pytest.param(None, None, "left no end line", id="unknown"),
        pytest.param("STOPPED", None, "its process was ended", id="stopped"),
    ],
)  # fmt: skip
def test_an_attempt_on_an_agent_was_in_no_queue(tmp_path, order, job_end, message):
    live = attempt_of(cancelling=order and EndReason(order), job="n1.1")
    assert end_reason(live, job_end, SETTINGS, [tmp_path / "log"])[1] == message


def test_a_held_job_without_a_note_has_a_message():
    assert end_reason(attempt_of(cancelling=EndReason.HELD), None, SETTINGS, [])[1] == "the scheduler held its job"


@pytest.mark.parametrize(
    ("attempt", "job_end", "reason"),
    [
        pytest.param({}, None, "CANCELLED", id="a pending element vanished"),
        pytest.param({"job": None}, None, "LOST", id="its job was never known"),
        pytest.param({"claimed": True}, None, "LOST", id="it ran"),
        pytest.param({}, JobEnd(None), "LOST", id="the queue knows that it ended"),
    ],
)
def test_a_vanished_array_element_was_cancelled(tmp_path, attempt, job_end, reason):
    live = attempt_of(**attempt)
    live.attempt.name = "qk3f9-w00001[3]"
    assert end_reason(live, job_end, SETTINGS, [tmp_path / "log"])[0].value == reason


def test_an_element_with_output_did_not_vanish(tmp_path):
    log = tmp_path / "log"
    log.write_text("it began\n")
    live = attempt_of()
    live.attempt.name = "qk3f9-w00001[3]"
    assert end_reason(live, None, SETTINGS, [tmp_path / "none", log])[0] is EndReason.LOST


NODE_LOST = "srun: error: Node failure on n3"
OOM = "slurmstepd: error: Exceeded job memory limit"


@pytest.mark.parametrize(
    ("queue", "line", "reason"),
    [
        (None, OOM, "OUT_OF_MEMORY"),
        (JobEnd(None, "FAILED, ended by signal 9"), OOM, "OUT_OF_MEMORY"),
        (JobEnd(EndReason.CANCELLED, "CANCELLED by 0"), OOM, "OUT_OF_MEMORY"),
        (FAILED, NODE_LOST, "NODE_FAILURE"),
        (FAILED, "it went wrong", "TRIAL_ERROR"),
        (JobEnd(EndReason.PREEMPTED, "PREEMPTED"), OOM, "PREEMPTED"),
    ],
)
def test_the_log_names_the_reason_where_the_queue_is_unspecific(tmp_path, queue, line, reason):
    log = tmp_path / "log"
    log.write_text(line + "\n")
    found, message = end_reason(attempt_of(), queue, SETTINGS, [log])
    assert found.value == reason
    assert line in message


def test_the_log_names_the_node_that_failed(tmp_path):
    log = tmp_path / "log"
    log.write_text(NODE_LOST + "\n")
    live = attempt_of()
    end_reason(live, FAILED, SETTINGS, [log])
    assert live.job_end == JobEnd(EndReason.TRIAL_ERROR, "exit status 1", ("n3",))


def test_a_log_without_a_node_leaves_the_end_of_the_job_as_it_is(tmp_path):
    log = tmp_path / "log"
    log.write_text(OOM + "\n")
    live = attempt_of()
    end_reason(live, FAILED, SETTINGS, [log])
    assert live.job_end is None


def test_the_log_of_a_cancelled_job_explains_nothing(tmp_path):
    log = tmp_path / "log"
    log.write_text(OOM + "\n")
    for attempt in ({"cancelling": EndReason.STOPPED}, {"cancelling": EndReason.STOPPED, "job": None}):
        live = attempt_of(**attempt)
        log.write_text(NODE_LOST + "\n")
        assert end_reason(live, None, SETTINGS, [log])[0] is EndReason.STOPPED
        assert live.job_end is None
    assert end_reason(attempt_of(job=None), None, SETTINGS, [log])[0] is EndReason.LOST
