"""Live attempts without files: when their events are polled, what new events revoke, and the records they make."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from aiperf_orch.campaign.events import RunEvents, TrialPlan
from aiperf_orch.controller import attempt_monitor
from aiperf_orch.controller.attempt_monitor import monitor_attempt
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.records.journal import BeganRecord
from aiperf_orch.schedulers.base import JobEnd
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import TransientError
from controller.builders import NOW, PROPOSAL, Clock, attempt_state, live_attempt, trial_state

pytestmark = pytest.mark.unit

PLANNED = TrialPlan(PROPOSAL.operations, 9, "0" * 64)
SETTINGS = SiteSettings.model_validate(
    {
        "scheduler": {},
        "campaign": {"duration": "1h", "max_attempts": 2},
        "training": {"trainer": "simulated", "warmup_epochs": [2], "epochs": 9},
    }
)
SECONDS = 100  # of an epoch


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def begin_of(run=0, *, time=0, hosts=("n1",)):
    return Begin(
        trial=0,
        attempt=1,
        run=run,
        time=at(time),
        hosts=list(hosts),
        job="7",
        batch=32,
        spec_sha256="0" * 64,
        trainer="simulated",
        device="simulated",
        precision="fp32",
        cores=1,
        inherited=False,
        clock_skew=0.0,
        versions={},
    )


def epoch_of(number, error=0.5, *, run=0, end=None):
    end = number * SECONDS if end is None else end
    return Epoch(
        trial=0,
        attempt=1,
        run=run,
        epoch=number,
        start=at(end - SECONDS),
        end=at(end),
        train_images=4,
        val_images=10,
        loss=1.0,
        error=error,
        ops=220,
        batch=32,
    )


DIRECTORY = SimpleNamespace(settings=SETTINGS)


def end_line(reason="COMPLETED", run=0):
    return End(trial=0, attempt=1, run=run, time=at(999), reason=EndReason(reason), message="by its line")


def run_of(number=0, *, epochs=(), begin=True, end=None, size=0, faults=(), **fields):
    """The events of a run: a begin line, the epochs with these errors, an end line."""
    events = RunEvents(None, 0, 1, number, PLANNED)
    events.begin = begin_of(number, **fields) if begin else None
    events.epochs = [epoch_of(each, error, run=number) for each, error in enumerate(epochs, start=1)]
    events.end, events.size, events.faults = end, size, list(faults)
    return events


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(attempt_monitor, "monotonic", clock)
    return clock


@pytest.fixture
def files(monkeypatch):
    """What polls find: `files.runs` or `files.error`; `files.polls` counts them."""

    class Files:
        runs, error, polls = (), None, 0

        def poll(self, directory, trial, attempt, planned, runs, *, later_runs):
            self.polls += 1
            if self.error:
                raise self.error
            runs[:] = self.runs

    files = Files()
    monkeypatch.setattr(attempt_monitor, "poll_attempt", files.poll)
    monkeypatch.setattr(attempt_monitor, "counted_runs", lambda *attempt: ([], []))
    return files


def polled(live, files, clock, seconds):
    """Seconds at which events are polled when every second tries to."""
    start, times = clock.time, []
    for _ in range(seconds):
        before = files.polls
        live.poll(None)
        times += [int(clock.time - start)] * (files.polls - before)
        clock.time += 1
    return times


def test_events_are_polled_after_half_of_the_time_to_the_next_epoch(clock, files):
    live = live_attempt()
    files.runs = [run_of(epochs=[0.5], size=1)]
    # the first poll reads the epoch, the second plans: at most 30 s ahead, half of what is left, and always if overdue
    assert polled(live, files, clock, 106)[:8] == [0, 1, 31, 61, 81, 91, 96, 98]
    assert polled(live, files, clock, 3) == [0, 1, 2]


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param([], id="no run"),
        pytest.param([run_of(size=1)], id="no epoch"),
        pytest.param([run_of(epochs=[0.5], size=1), run_of(1, size=1)], id="no epoch of the latest run"),
    ],
)
def test_without_a_known_epoch_every_poll_reads(clock, files, runs):
    files.runs = runs
    assert polled(live_attempt(), files, clock, 5) == [0, 1, 2, 3, 4]


def test_a_cancelled_attempt_is_read_at_every_poll(clock, files):
    live = live_attempt(attempt_state(cancelling=EndReason.STOPPED), next_poll=9e9)
    assert polled(live, files, clock, 3) == [0, 1, 2]


def test_files_that_cannot_be_read_are_read_at_every_poll(clock, files):
    live = live_attempt()
    files.runs = [run_of(epochs=[0.5], size=1)]
    live.poll(None)
    files.error = TransientError("stale")
    assert polled(live, files, clock, 3) == [0, 1, 2]
    assert live.last_sign == clock.time - 3


def test_a_poll_now_is_never_too_early_and_raises_what_prevents_it(clock, files):
    live = live_attempt(next_poll=9e9)
    live.poll_now(None)
    assert files.polls == 1
    files.error = TransientError("stale")
    with pytest.raises(TransientError, match="stale"):
        live.poll_now(None)
    files.error = None
    live.poll_now(None)
    assert live.read_error is None


def test_no_end_is_concluded_while_files_cannot_be_read(clock, files):
    live = live_attempt()
    live.runs = [run_of(end=end_line("STOPPED"))]
    assert live.ended_by_others
    files.error = TransientError("stale")
    live.poll(None)
    assert (live.end, live.ended_by_others) == (None, False)


@pytest.mark.parametrize(
    ("before", "after", "grown", "note", "job_end"),
    [
        pytest.param([run_of(size=1)], [run_of(size=1)], False, "SUSPENDED", True, id="nothing new"),
        pytest.param([run_of(size=1)], [run_of(size=2)], True, "SUSPENDED", True, id="a fault or an end line"),
        pytest.param([run_of(size=1)], [run_of(epochs=[0.5], size=2)], True, "", True, id="an epoch"),
        pytest.param([], [run_of(size=1)], True, "", True, id="the first begin"),
        pytest.param([run_of(size=1)], [run_of(size=1), run_of(1, size=1)], True, "", False, id="a later begin"),
        pytest.param(
            [run_of(size=1)], [run_of(size=1), run_of(1, begin=False)], True, "SUSPENDED", True, id="a run claimed"
        ),
    ],
)
def test_new_events_revoke_what_the_queue_said(clock, files, before, after, grown, note, job_end):
    said = JobEnd(None, "NODE_FAIL")
    live = live_attempt(note="SUSPENDED", abandoned=True, job_end=said, job_ended=1.0, runs=before)
    live._earlier_known = True
    files.runs = after
    live.poll(None)
    assert (live.reappeared, live.abandoned, live.note) == (grown, not grown, note)
    assert (live.job_end, live.job_ended) == ((said, 1.0) if job_end else (None, None))
    assert (live.last_sign == clock.time, live.last_growth == clock.time) == (grown, grown)


def test_epochs_of_earlier_attempts_are_read_once(clock, files, monkeypatch):
    read = []

    def counted_runs(directory, trial, attempt):
        read.append(attempt.attempt)
        return [run_of(epochs=[0.5] * attempt.attempt)], []

    monkeypatch.setattr(attempt_monitor, "counted_runs", counted_runs)
    attempts = [attempt_state(attempt=number) for number in (1, 2, 3, 4)]
    live = live_attempt(attempts[2])
    live.trial = trial_state(0, attempts)
    for _ in range(2):
        live.read_earlier(None)
    assert (read, [epoch.epoch for epoch in live.epochs]) == ([1, 2], [1, 2])
    files.runs = [run_of(epochs=[0.4] * 3, size=1)]
    live.poll(None)
    assert [epoch.epoch for epoch in live.epochs] == [1, 2, 3]


def test_each_begin_is_taken_once_with_its_hosts(clock):
    live = live_attempt()
    assert live.take_begin() is None
    live.runs = [run_of(time=5, hosts=["n1", "n2"])]
    first = BeganRecord(trial=0, attempt=1, run=0, time=at(5), hosts=["n1", "n2"], job="7")
    assert [live.take_begin(), live.take_begin()] == [first, None]
    live.runs.append(run_of(1, begin=False))
    assert live.take_begin() is None
    live.runs.append(run_of(2, time=7))
    assert live.take_begin().run == 2


def test_each_fault_and_each_read_error_is_reported_once(clock):
    live = live_attempt()
    live.runs = [run_of(faults=["a"])]
    assert [live.take_faults(), live.take_faults()] == [["a"], []]
    live.runs.append(run_of(1, faults=["b", "c"]))
    live.defer(TransientError("stale"))
    assert live.take_faults() == ["b", "c", "stale; it is read again at each step"]
    live.defer(TransientError("stale"))
    live.defer(TransientError("another"))
    assert live.take_faults() == ["another; it is read again at each step"]


@pytest.mark.parametrize(
    ("line", "order", "reason"),
    [("STOPPED", "HUNG", "HUNG"), ("COMPLETED", None, "COMPLETED"), ("STOPPED", None, "CANCELLED")],
)
def test_the_order_to_cancel_explains_a_stopped_attempt(clock, line, order, reason):
    live = live_attempt(attempt_state(cancelling=order and EndReason(order)))
    live.runs = [run_of(end=end_line(line))]
    assert live.ended_by_others is (line == "STOPPED" and order is None)
    assert live.end_reason() == (EndReason(reason), "by its line")


def record_of(live, reason="LOST", *, deadline=None, hosts=("q1",), settings=SETTINGS):
    return live.end_record(EndReason(reason), "first line\nsecond", hosts, settings, deadline)


def test_the_record_of_an_end_has_the_totals_of_the_trial(clock):
    live = live_attempt(attempt_state(attempt=2))
    live.trial = trial_state(0, [attempt_state(reason="LOST"), live.attempt])
    live.earlier = [epoch_of(1, 0.7)]
    live.epochs = [epoch_of(1, 0.7), epoch_of(2, 0.3), epoch_of(3, 0.4)]
    live.runs = [run_of(0, time=150, hosts=["n1"]), run_of(1, time=90, hosts=["n2"]), run_of(2, begin=False, size=9)]
    record = record_of(live)
    assert (record.trial, record.attempt, record.reason) == (0, 2, EndReason.LOST)
    assert "\n" not in record.message
    assert (record.epochs, record.train_images, record.val_images, record.ops) == (3, 12, 30, 660)
    assert (record.best_error, record.best_epoch, record.last_end) == (0.3, 2, at(300))
    assert (record.first_begin, record.hosts, record.progressed, record.final) == (at(90), ["n2"], True, True)
    assert [(file.run, file.size) for file in record.files] == [(0, 0), (1, 0), (2, 9)]


def test_the_record_of_an_attempt_that_never_began(clock):
    record = record_of(live_attempt())
    assert (record.epochs, record.best_error, record.best_epoch, record.last_end) == (0, None, None, None)
    assert (record.first_begin, record.hosts, record.progressed, record.final) == (None, ["q1"], False, False)
    assert (record.files, record.predicted_error) == ([], None)


def test_epochs_after_the_end_of_the_campaign_do_not_count(clock):
    live = live_attempt()
    live.runs = [run_of(epochs=[0.7, 0.3])]
    live.epochs = live.runs[0].epochs
    record = record_of(live, deadline=at(199))
    assert record.hosts == ["n1"]
    assert (record.epochs, record.best_error, record.last_end, record.progressed) == (1, 0.7, at(100), True)


def test_an_attempt_that_only_repeats_epochs_has_not_progressed(clock):
    live = live_attempt()
    live.earlier = live.epochs = [epoch_of(1), epoch_of(2)]
    assert record_of(live).progressed is False


CURVE = [0.9, 0.7, 0.6, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]


@pytest.mark.parametrize(
    ("numbers", "forecast"),
    [
        pytest.param([1, 2, 3, 4, 5], True, id="five of nine epochs"),
        pytest.param([1, 2, 3, 4, 5, 6, 7, 8], True, id="all but the last epoch"),
        pytest.param([1, 2, 3, 4, 5, 6, 7, 8, 9], False, id="the whole schedule: its curve is complete"),
        pytest.param([2, 3, 4, 5, 6], False, id="without the first epoch"),
        pytest.param([1, 2, 3, 5, 6], False, id="with a gap"),
        pytest.param([], False, id="no epoch"),
    ],
)
def test_the_error_is_forecast_where_the_curve_goes_on(clock, monkeypatch, numbers, forecast):
    asked = []
    monkeypatch.setattr(attempt_monitor, "forecast_error", lambda *curve: asked.append(curve) or 0.25)
    live = live_attempt()
    live.epochs = [epoch_of(number, CURVE[number - 1]) for number in numbers]
    assert record_of(live).predicted_error == (0.25 if forecast else None)
    errors = CURVE[: len(numbers)]
    assert asked == ([(errors, SETTINGS.search.forecast_epoch, min(errors))] if forecast else [])


@pytest.mark.parametrize(
    ("submitted", "silent"), [pytest.param(-100, 100, id="before"), pytest.param(50, 0, id="by a clock ahead of ours")]
)
def test_an_adopted_attempt_is_silent_since_its_submission(clock, files, monkeypatch, submitted, silent):
    monkeypatch.setattr(attempt_monitor, "now", lambda: NOW)
    monkeypatch.setattr(attempt_monitor, "trial_plan", lambda directory, trial: PLANNED)
    attempt = attempt_state(began=True)
    attempt.submitted = at(submitted)
    live = monitor_attempt(DIRECTORY, attempt, trial_state(0, [attempt]))
    assert (live.last_sign, live.next_poll) == (clock.time - silent, clock.time)
    assert (live.reported_run, live.planned, live.read_error) == (0, PLANNED, None)
    assert (live.name, live.abandoned, live.cancel_refused, live.unsubmitted) == (attempt.name, False, False, None)
    attempt.began = None
    assert monitor_attempt(DIRECTORY, attempt, trial_state(0, [attempt])).reported_run == -1


def test_an_adopted_attempt_waits_for_files_of_earlier_attempts(clock, files, monkeypatch):
    def fail(*attempt):
        raise TransientError("stale")

    monkeypatch.setattr(attempt_monitor, "counted_runs", fail)
    monkeypatch.setattr(attempt_monitor, "trial_plan", lambda directory, trial: PLANNED)
    attempt = attempt_state(attempt=2)
    live = monitor_attempt(DIRECTORY, attempt, trial_state(0, [attempt_state(), attempt]))
    assert str(live.read_error) == "stale"
    assert live.take_faults() == ["stale; it is read again at each step"]
    monkeypatch.setattr(attempt_monitor, "counted_runs", lambda *attempt: ([run_of(epochs=[0.5])], []))
    live.poll(None)
    assert (live.read_error, [epoch.epoch for epoch in live.earlier]) == (None, [1])


@pytest.mark.parametrize(
    ("sent", "refused", "expected"), [(None, False, False), (1.0, False, True), (1.0, True, False), (None, True, False)]
)
def test_a_cancellation_is_sent_unless_the_scheduler_refused_it(sent, refused, expected):
    assert live_attempt(cancel_sent=sent, cancel_refused=refused).is_cancel_sent is expected
