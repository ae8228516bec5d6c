"""Submissions through submitit are logged like all other commands, by fake programs on PATH."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from aiperf_orch.schedulers.base import JobRequest
from aiperf_orch.schedulers.local import LocalScheduler
from aiperf_orch.schedulers.pbs.scheduler import PbsScheduler
from aiperf_orch.schedulers.slurm.scheduler import SlurmScheduler
from aiperf_orch.settings.schedulers import LocalSettings, PbsSettings, SlurmSettings

LOGGER = "aiperf_orch.schedulers.command"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a program, a shell script, first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return make


def request(campaign: Path) -> JobRequest:
    folder = campaign / "jobs" / "00000-1"
    folder.mkdir(parents=True)
    return JobRequest("qk3f9-00000-1", folder, folder, campaign, ("echo", "the trial's command"))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "aiperf_orch.schedulers")
    return caplog


def test_a_submission_to_slurm_is_logged(
    program: Callable[[str, str], None], tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    program("srun", "exit 1")  # submitit looks for it
    program("sbatch", "echo 'sbatch: a note of the site' >&2; echo 4711")
    done = SlurmScheduler(SlurmSettings(setup=["export SECRET=s3cret"])).submit([request(tmp_path)])
    assert done.jobs == {"qk3f9-00000-1": "4711"}
    [record] = [each for each in log.records if each.name == LOGGER]
    message = record.getMessage()
    assert message.startswith("sbatch --parsable job.sh: exit status 0 after ")
    assert message.endswith(" s; stdout: 4711; stderr: sbatch: a note of the site")
    assert "s3cret" not in log.text  # the script is not logged


def test_a_submission_that_slurm_refuses_is_logged(
    program: Callable[[str, str], None], tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    error = "sbatch: error: Batch job submission failed: Invalid partition name specified"
    program("srun", "exit 1")
    program("sbatch", f"echo '{error}' >&2; exit 1")
    assert SlurmScheduler(SlurmSettings()).submit([request(tmp_path)]).refused
    assert "exit status 1 after " in log.messages[0]
    assert log.messages[0].endswith(f"stdout: empty; stderr: {error}")


def test_a_submission_to_pbs_is_logged(
    program: Callable[[str, str], None], tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    program("qsub", "echo 17.vm")
    program("qstat", "exit 1")
    assert PbsScheduler(PbsSettings()).submit([request(tmp_path)]).jobs == {"qk3f9-00000-1": "17.vm"}
    [message] = [each.getMessage() for each in log.records if each.name == LOGGER]
    assert message.startswith("qsub job.sh: exit status 0 after ")
    assert message.endswith(" s; stdout: 17.vm; stderr: empty")


def test_a_local_job_is_logged_with_its_process(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    scheduler = LocalScheduler(LocalSettings())
    [(name, job)] = scheduler.submit([request(tmp_path)]).jobs.items()
    scheduler.cancel({name: job}, force=True)
    assert log.messages[0] == f"job {name} started: bash {tmp_path}/jobs/00000-1/job.sh, process {job}"
    assert all("SIGKILL" in message for message in log.messages[1:])
