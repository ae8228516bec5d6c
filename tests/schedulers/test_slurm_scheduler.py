"""What only Slurm's scheduler promises, on a real one: the conformance suite holds it to the rest."""

import sys
import time

import pytest

from aiperf_orch.config_schedulers import SlurmSettings
from aiperf_orch.schedulers.base import JobRequest, JobState
from aiperf_orch.schedulers.slurm.scheduler import SlurmScheduler

pytestmark = pytest.mark.slurm


@pytest.fixture
def scheduler(slurm):
    return SlurmScheduler(SlurmSettings(cpus_per_task=1, memory="200M"))


@pytest.fixture
def job(tmp_path):
    """Makes the request of a job that prints its environment, with these nodes to be avoided."""

    def make(name, *exclude):
        campaign = tmp_path / "campaign"
        folder = campaign / "jobs" / name
        folder.mkdir(parents=True)
        campaign.chmod(0o700)
        command = (sys.executable, "-c", "import os; print(*sorted(os.environ.items()), sep='\\n')")
        return JobRequest(name, folder, folder, campaign, command, exclude=exclude)

    return make


def log_of(scheduler, request):
    """A job's output, when it has ended."""
    deadline = time.monotonic() + 60
    while (status := scheduler.query([request.name]).get(request.name)) is None or status.state is not JobState.ENDED:
        assert time.monotonic() < deadline, status
        time.sleep(0.1)
    return (request.folder / "log").read_text()


def test_the_login_nodes_options_of_jobs_do_not_leak_in(scheduler, job, monkeypatch):
    for name, value in {
        "SBATCH_PARTITION": "nosuch",
        "SBATCH_EXCLUSIVE": "1",
        "SLURM_JOB_ID": "999",
        "SLURM_NTASKS": "7",
        "SLURM_CPU_BIND": "verbose",
        "SRUN_OUTPUT": "/elsewhere",
        "SQUEUE_FORMAT": "%i",
        "SQUEUE_STATES": "PENDING",
    }.items():
        monkeypatch.setenv(name, value)
    request = job("leaks-00000-1")
    submission = scheduler.submit([request])
    assert not submission.refused
    log = log_of(scheduler, request)
    assert f"('SLURM_JOB_ID', '{submission.jobs[request.name]}')" in log
    assert "('SLURM_NTASKS', '1')" in log
    assert "nosuch" not in log
    assert "verbose" not in log


def test_nodes_are_avoided_as_long_as_there_are_others(scheduler, job):
    elsewhere, anywhere = job("avoid-00000-1", "n1", "n2", "n4"), job("avoid-00001-1", "n1", "n2", "n3", "n4")
    submission = scheduler.submit([elsewhere, anywhere])
    assert submission.jobs.keys() == {elsewhere.name, anywhere.name}
    assert "('AIPERF_ORCH_HOSTS', 'n3')" in log_of(scheduler, elsewhere)
    assert "AIPERF_ORCH_HOSTS" in log_of(scheduler, anywhere)
