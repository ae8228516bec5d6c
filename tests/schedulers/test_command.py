"""How a scheduler's commands are run."""

import os
import signal
import threading
import time

import pytest

from aiperf_orch.schedulers.command import run_command


def test_an_interrupt_does_not_leave_a_command_that_may_yet_submit_a_job(tmp_path):
    script = f"cd '{tmp_path}'; touch begun; until [ -e go ]; do sleep 0.02; done; touch submitted"

    def interrupt():
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.7)  # longer than Python itself would wait for it
        (tmp_path / "go").touch()

    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_command(["sh", "-c", script], timeout=60)
        assert (tmp_path / "submitted").exists()
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
