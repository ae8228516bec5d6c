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


def test_revoking_attempts_holds_no_files_open(campaign):
    made = campaign()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for trial in range(20):
        revoke(made.directory, trial, 1, EndReason.LOST, "gone")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
