"""The process of a batch script: its exit status, and the last lines of the log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import submitit
from submitit.core.utils import DelayedSubmission

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("command", "status", "last"),
    [
        ("echo epoch 1; exit 0", 0, "epoch 1"),
        ("echo ended: HUNG >&2; exit 1", 1, "ended: HUNG"),
        ("kill -KILL $$", 1, "aiperf-orch: the process of the job was ended by SIGKILL"),
        ("kill -35 $$", 1, "aiperf-orch: the process of the job was ended by signal 35"),
        ("exit 3", 1, "aiperf-orch: the command of the job ended with exit status 3"),
        # by submitit, which then ends the function
        ("kill -USR2 $PPID; exec sleep 60", 1, "aiperf-orch: UncompletedJobError: "),
    ],
)
def test_a_log_ends_with_the_reason(tmp_path: Path, command: str, status: int, last: str) -> None:
    job = submitit.helpers.CommandFunction(["sh", "-c", command])
    DelayedSubmission(job).dump(tmp_path / "7_submitted.pkl")
    done = _run(tmp_path)
    assert done.returncode == status
    assert done.stdout.rstrip().rpartition("\n")[2].startswith(last)
    assert "Traceback" not in done.stdout
    assert "Starting with" not in done.stdout
    assert "triggered" not in done.stdout


def test_a_damaged_pickle_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "7_submitted.pkl").write_bytes(b"x")
    done = _run(tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("aiperf-orch: UnpicklingError: ")
    assert len(done.stdout.splitlines()) == 1


def test_that_the_result_cannot_be_written_is_logged(tmp_path: Path) -> None:
    job = submitit.helpers.CommandFunction(["sh", "-c", "exit 1"])
    DelayedSubmission(job).dump(tmp_path / "7_submitted.pkl")
    (tmp_path / "7_0_result.pkl").mkdir()
    assert "Could not dump error" in _run(tmp_path).stdout


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    variables = {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "7"}
    return subprocess.run(
        [sys.executable, "-P", "-u", "-m", "aiperf_orch.schedulers.job_process", str(folder)],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
