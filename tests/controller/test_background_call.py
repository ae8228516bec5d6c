"""Calls beside the loop: the loop that is woken by the end of one finds its result."""

import threading
from datetime import datetime, timezone
from pathlib import Path
from threading import Event

import pytest

from aiperf_orch.campaign.events import revoke
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.controller import cancellation
from aiperf_orch.controller.background_call import BackgroundCall
from aiperf_orch.controller.cancellation import Ender
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import CancelResult
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.units import now

DEADLINE = 60  # seconds


class CancelWaits:
    """A scheduler whose cancel waits until the test lets it end."""

    nonblocking, max_cancels_per_call = False, None

    def __init__(self):
        self.go_on, self.calls = threading.Event(), []

    def cancel(self, jobs, *, force):
        self.calls.append((dict(jobs), force))
        assert self.go_on.wait(DEADLINE)
        return CancelResult()


def test_the_loop_that_is_woken_by_the_end_of_a_call_finds_its_result():
    wake = threading.Event()
    call = BackgroundCall(wake, nonblocking=False)
    for number in range(2000):
        wake.clear()
        call.start(lambda number=number: number)
        assert wake.wait(DEADLINE)
        assert call.ended
        assert call.take() == number


def test_what_a_call_raises_is_raised_where_its_result_is_taken():
    def fail():
        raise SchedulerUnreachableError("away")

    for nonblocking in (True, False):
        wake = threading.Event()
        call = BackgroundCall(wake, nonblocking=nonblocking)
        call.start(fail)
        call.join(DEADLINE)
        assert call.ended
        with pytest.raises(SchedulerUnreachableError, match="away"):
            call.take()
        assert not call.running


def test_a_trial_that_begins_while_its_job_is_told_to_end_is_told_again():
    wake, scheduler = threading.Event(), CancelWaits()
    ender = Ender(scheduler, 60.0, 1.0, warn=pytest.fail, wake=wake)
    attempt = AttemptState(0, 1, "qk3f9-00000-1", now(), job="7", cancelling=EndReason.STOPPED, cancelling_since=now())
    ender.tell([attempt], [])
    ender.begun(attempt.key)  # it may have had no ear yet when the signal came
    scheduler.go_on.set()
    assert wake.wait(DEADLINE)
    assert ender.heard() is not None
    assert not ender.is_told(attempt)
    wake.clear()
    ender.tell([attempt], [])
    assert wake.wait(DEADLINE)
    assert ender.heard() is not None
    assert ender.is_told(attempt)
    assert scheduler.calls == [({attempt.name: "7"}, False)] * 2


def test_a_job_that_was_given_up_is_cancelled_now_and_then_and_not_all_the_time(monkeypatch):
    clock, calls = [1e6], []
    monkeypatch.setattr(cancellation, "monotonic", lambda: clock[0])

    class Scheduler:
        nonblocking, max_cancels_per_call = True, None

        def cancel(self, jobs, *, force):
            calls.append((list(jobs), force))
            return CancelResult()

    ender = Ender(Scheduler(), 60.0, 30.0, lambda _: None, Event())
    attempt = AttemptState(0, 1, "qk3f9-00000-1", datetime(2026, 1, 2, tzinfo=timezone.utc), job="7")
    for _ in range(61):  # a minute in which its files cannot be read
        ender.tell([], [attempt])
        ender.heard()
        clock[0] += 1
    assert calls == [(["qk3f9-00000-1"], True)] * 3


def test_revoking_attempts_holds_no_files_open(campaign):
    made = campaign()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for trial in range(20):
        revoke(made.directory, trial, 1, EndReason.LOST, "gone")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
