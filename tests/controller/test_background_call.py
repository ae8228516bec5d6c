"""Scheduler calls beside the loop: a loop that is woken by the end of a call finds its result."""

import threading
from pathlib import Path

import pytest

from aiperf_orch.campaign.events import revoke
from aiperf_orch.controller.background_call import BackgroundCall
from aiperf_orch.records.base import EndReason
from aiperf_orch.util.errors import SchedulerUnreachableError

DEADLINE = 60  # seconds


def test_a_woken_loop_finds_the_result_of_the_call():
    wake = threading.Event()
    call = BackgroundCall(wake, nonblocking=False)
    for number in range(2000):
        wake.clear()
        call.start(lambda number=number: number)
        assert wake.wait(DEADLINE), f"call {number} did not wake the loop"
        assert call.ended
        assert call.take() == number


def test_an_error_of_a_call_is_raised_where_its_result_is_taken():
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


@pytest.mark.unit
def test_a_call_has_ended_between_its_end_and_the_taking_of_its_result():
    go_on, threads = threading.Event(), []

    def answer():
        threads.append(threading.current_thread())
        assert go_on.wait(DEADLINE), "the test did not let the call end"
        return "the result"

    call = BackgroundCall(threading.Event(), nonblocking=False)
    call.join(DEADLINE)  # there is nothing to wait for
    assert (call.running, call.ended) == (False, False)
    for _ in range(2):
        call.start(answer)
        assert (call.running, call.ended) == (True, False)
        with pytest.raises(AssertionError, match="runs already"):
            call.start(answer)
        go_on.set()
        call.join(DEADLINE)
        assert (call.running, call.ended) == (True, True)
        assert call.take() == "the result"
        assert (call.running, call.ended) == (False, False)
        go_on.clear()
    assert [thread.daemon for thread in threads] == [True, True]  # a call that hangs keeps no process from exiting


@pytest.mark.unit
def test_a_nonblocking_call_runs_once_in_the_thread_of_its_caller():
    threads, wake = [], threading.Event()
    call = BackgroundCall(wake, nonblocking=True)
    call.start(lambda: threads.append(threading.current_thread()))
    call.join(DEADLINE)
    assert call.ended
    call.take()
    assert threads == [threading.current_thread()]
    assert not wake.is_set()  # the caller knows


def test_revoking_attempts_holds_no_files_open(campaign):
    made = campaign()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for trial in range(20):
        revoke(made.directory, trial, 1, EndReason.LOST, "gone")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
