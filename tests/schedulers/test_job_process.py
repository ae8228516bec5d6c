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
        ("exit 3", 1, "aiperf-orch: the command of the job ended with exit status 3"),
    ],
)
def test_a_log_ends_with_the_reason(tmp_path: Path, command: str, status: int, last: str) -> None:
    job = submitit.helpers.CommandFunction(["sh", "-c", command])
    DelayedSubmission(job).dump(tmp_path / "7_submitted.pkl")
    variables = {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "7"}
    done = subprocess.run(
        [sys.executable, "-P", "-u", "-m", "aiperf_orch.schedulers.job_process", str(tmp_path)],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert done.stdout.rstrip().rpartition("\n")[2] == last
    assert "Traceback" not in done.stdout
    assert "submitit" not in done.stdout
