"""A file that cannot be opened for a moment, as on a network file system, costs a campaign nothing."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
import time

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.attempt_monitor import monitor_attempt
from aiperf_orch.controller.controller import Controller
from aiperf_orch.results.result import compute_result
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.util.errors import TransientError
from failing_files import PASSING, FailingOpen

DEADLINE = 120  # seconds


@pytest.fixture
def left(campaign):
    """A campaign as a killed controller leaves it: two trials in their last attempts, of jobs that are gone since.

    Trial 0 ended in the second run of its second attempt, trial 1 left no end line; each has epochs of a first attempt.
    """
    times = {f"scheduler__{name}": "10ms" for name in ("poll_interval", "silent_after", "lost_after")}
    made = campaign(
        "base",
        campaign__duration="5h",
        campaign__max_trials=3,
        campaign__max_attempts=2,
        campaign__pause_after_failures=99,
        **times,
    )
    for trial in (0, 1):
        made.submit(trial)
        made.events(made.begin(trial=trial), made.epoch(1, 1, 0.5, trial), made.epoch(2, 2, 0.4, trial), trial=trial)
        made.began(trial=trial)
        made.ended(trial, reason="NODE_FAILURE", final=False, epochs=2, ops=440, best_error=0.4, best_epoch=2)
        made.submit(trial, attempt=2)
        begin = made.begin(3, trial, attempt=2)
        made.events(begin, made.epoch(3, 4, 0.3, trial, attempt=2), trial=trial, attempt=2)
    made.events(
        made.begin(5, attempt=2, run=1),
        made.epoch(4, 6, 0.2, attempt=2, run=1),
        made.end(7, attempt=2, run=1),
        attempt=2,
        run=1,
    )
    made.trial(2, [(1, 0.6)])
    return made


def _control(path, warnings):
    """Be a campaign's controller until it is over."""
    directory = CampaignDirectory.open(path)
    scheduler = make_scheduler(directory.settings.scheduler)
    controller = Controller(directory, scheduler, resume=True, warn=warnings.append)
    deadline = time.monotonic() + DEADLINE
    try:
        while controller.tick() is not Phase.FINISHED:
            assert time.monotonic() < deadline, warnings
            time.sleep(0.002)
    finally:
        controller.close()
    return [
        (end.trial, end.attempt, end.reason, end.epochs, end.ops, end.best_error, len(end.files))
        for end in sorted(controller.state.ends, key=lambda end: (end.trial, end.attempt))
    ]


def _result(path):
    found = compute_result(CampaignDirectory.open(path))
    assert found.faults == []
    return found.score


@pytest.mark.parametrize("number", PASSING, ids=errno.errorcode.get)
def test_one_failed_open_at_any_moment_costs_no_epoch(left, tmp_path, monkeypatch, number):
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(left.path, undisturbed)
    ends, score = _control(undisturbed, []), _result(undisturbed)
    assert [(trial, attempt, reason.value, epochs) for trial, attempt, reason, epochs, *_ in ends] == [
        (0, 1, "NODE_FAILURE", 2),
        (0, 2, "COMPLETED", 4),
        (1, 1, "NODE_FAILURE", 2),
        (1, 2, "LOST", 3),
        (2, 1, "COMPLETED", 1),
    ]
    at, failed = 0, True
    while failed:
        at += 1
        copy, warnings = tmp_path / str(at), []
        shutil.copytree(left.path, copy)
        opening = FailingOpen("/events/", at=at, number=number)
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", opening)
            found = _control(copy, warnings)
        failed = opening.failed
        assert (found, _result(copy)) == (ends, score), (at, failed, warnings)
        assert len([each for each in warnings if "cannot be" in each]) <= len(failed)
        shutil.rmtree(copy)
    assert at > 15


def test_a_file_that_stays_unreadable_is_reported_once_and_waited_for(left, monkeypatch):
    opening, warnings = FailingOpen("/00001-2.0.jsonl", at=1, number=errno.EIO, times=200), []
    monkeypatch.setattr(os, "open", opening)
    ends = _control(left.path, warnings)
    assert len(opening.failed) == 200
    assert [(end[0], end[3]) for end in ends if end[1] == 2] == [(0, 4), (1, 3)]
    [warning] = [each for each in warnings if "00001-2.0.jsonl" in each]
    assert "cannot be read for now: Input/output error; it is read again at each step" in warning


def test_nothing_is_concluded_while_a_next_run_may_be_there(left, monkeypatch):
    state = compute_result(left.directory).state
    directory = dataclasses.replace(left.directory, retry_for=0.0)
    live = monitor_attempt(directory, state.trials[0].attempts[1], state.trials[0])
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", FailingOpen("/00000-2.2.jsonl", at=1, times=99))
        with pytest.raises(TransientError, match=r"00000-2.2.jsonl: cannot be read for now: Stale file handle"):
            live.poll_now(directory)
    assert (live.end, len(live.epochs)) == (None, 4)  # they are shown, and not yet final
    live.poll_now(directory)
    assert live.end is not None


def test_a_stop_request_that_cannot_be_read_for_now_is_seen_later(left, monkeypatch):
    left.directory.request_stop()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", FailingOpen("stop.request", at=1))
        assert not left.directory.stop_requested()
        assert left.directory.stop_requested()


def test_a_lock_that_cannot_be_read_for_a_moment_ends_no_controller(left, monkeypatch):
    monkeypatch.setattr(os, "open", FailingOpen("controller.lock", at=3, times=2))
    assert len(_control(left.path, [])) == 5


@pytest.mark.long
@pytest.mark.local
def test_one_failed_open_costs_a_real_campaign_nothing(preload, write_site, tmp_path):
    site = write_site(campaign__concurrency=1, campaign__max_trials=2)
    command = f"{sys.executable} -m aiperf_orch.cli run {site} --campaign-dir"
    for part, at in [
        ("/events/", 1),
        ("/events/", 8),
        ("/events/", 20),
        ("/trials/", 1),
        ("/trials", 2),
        ("journal.jsonl", 2),
        ("controller.lock", 4),
        ("campaign.yaml", 3),
    ]:
        path = tmp_path / f"campaign{at}{len(part)}"
        fault = {"STALE_PATH": part, "STALE_AT": str(at), "STALE_ERRNO": str(PASSING[at % 3])}
        script = f"STALE_PID=$$ LD_PRELOAD={preload('stale')} exec {command} {path}"
        done = subprocess.run(
            ["bash", "-c", script],
            env=os.environ | fault,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert compute_result(CampaignDirectory.open(path)).score.epochs == 7, done.stderr
