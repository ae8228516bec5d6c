"""The probe job of `check` leaves no job and no file behind when it is interrupted."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.doctor import probe_job
from aiperf_orch.schedulers.base import CancelResult, JobRequest, SubmitResult
from aiperf_orch.settings.models import SiteSettings


class _Interrupted:
    """Scheduler during whose submission Ctrl-C is pressed; `queue` holds the submitted jobs."""

    def __init__(self) -> None:
        self.queue: list[str] = []
        self.cancelled: list[str] = []

    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        os.kill(os.getpid(), signal.SIGINT)
        self.queue += [request.name for request in requests]
        return SubmitResult(jobs=dict.fromkeys(self.queue, "1"))

    def query(self, names: Collection[str]) -> dict[str, Any]:
        return {}

    def cancel(self, names: Collection[str], *, force: bool) -> CancelResult:
        self.cancelled += [name for name in names if name in self.queue]
        return CancelResult()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, as in a main program."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_during_the_submission_cancels_the_job(tmp_path: Path, ctrl_c: None) -> None:
    scheduler: Any = _Interrupted()
    settings = SiteSettings.model_validate({"training": {"trainer": "simulated"}})
    with probe_job.probe_folder(tmp_path) as folder, pytest.raises(KeyboardInterrupt):
        probe_job.run(scheduler, settings, folder, wait=60, log=print)
    assert scheduler.cancelled == scheduler.queue != []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
