"""The submitit plugin for PBS on its own, on the stand-in: `submitit.AutoExecutor(folder, cluster="pbs")`."""

import importlib.metadata
import os
import subprocess
import sys
import time

import pytest
import submitit

from aiperf_orch.schedulers.command import CommandResult
from aiperf_orch.schedulers.pbs import submitit_plugin
from aiperf_orch.schedulers.pbs.submitit_plugin import PbsExecutor, PbsJob, PbsJobEnvironment

pytestmark = pytest.mark.pbs


@pytest.fixture
def executor(pbs, tmp_path):
    PbsJob.watcher.clear()  # the jobs of all instances have the same ids
    executor = submitit.AutoExecutor(tmp_path / "a folder's $HOME", cluster="pbs")
    executor.update_parameters(timeout_min=5)
    return executor


def test_submitit_finds_the_plugin():
    found = {each.name: each.load() for each in importlib.metadata.entry_points(group="submitit")}
    assert found["executor"] is PbsExecutor
    assert found["job_environment"] is PbsJobEnvironment


def test_a_function_returns_its_result(executor):
    assert executor.submit(pow, 2, 5).result() == 32


def test_the_folder_of_a_job_is_named_after_its_id(pbs, tmp_path):
    PbsJob.watcher.clear()
    executor = submitit.AutoExecutor(tmp_path / "my $logs" / "log_%j", cluster="pbs")  # as in submitit's documentation
    executor.update_parameters(timeout_min=5, nodes=2)
    job = executor.submit(speaker())
    assert job.paths.folder == tmp_path / "my $logs" / f"log_{job.job_id}"
    assert job.submission().function.__name__ == "speak"
    assert job.paths.submission_file.read_text().startswith("#!/bin/bash")
    job.results()
    assert ["out of" in job.task(rank).stdout() for rank in range(2)] == [True, True]
    assert {path.name for path in (tmp_path / "my $logs").iterdir()} == {"pbs_jobs", f"log_{job.job_id}"}


@pytest.mark.parametrize("folder", ["log_%t", "%A/%a"])
def test_a_folder_named_after_tasks_or_array_elements_is_refused(folder):
    with pytest.raises(ValueError, match=r"may contain %j, but not %[at]"):
        PbsExecutor(folder)


def test_an_exception_in_the_job_is_reported(executor):
    with pytest.raises(submitit.core.utils.FailedJobError, match="ZeroDivisionError"):
        executor.submit(divmod, 1, 0).result()


@pytest.mark.parametrize("launcher", ["pbs_tmrsh", "pbsdsh", "mpiexec"])
def test_each_task_of_each_node_runs_once(executor, launcher):
    executor.update_parameters(nodes=2, tasks_per_node=2, pbs_launcher=launcher)
    assert executor.submit(os.getenv, "SUBMITIT_PBS_RANK").results() == ["0", "1", "2", "3"]


def speaker(rank_that_fails=None):
    """Make a function that is pickled by value, since jobs cannot import the tests."""

    def speak():
        import os
        import sys

        rank = os.environ["SUBMITIT_PBS_RANK"]
        print("out of", rank, flush=True)
        print("error of", rank, file=sys.stderr, flush=True)
        if rank == rank_that_fails:
            os._exit(5)

    return speak


def test_output_of_the_tasks(executor):
    executor.update_parameters(nodes=2)
    job = executor.submit(speaker())
    job.results()
    assert [job.task(rank).stdout().count(f"out of {rank}\n") for rank in range(2)] == [1, 1]
    assert [job.task(rank).stderr().count(f"error of {rank}\n") for rank in range(2)] == [1, 1]
    executor.update_parameters(nodes=1, stderr_to_stdout=True)
    job = executor.submit(speaker())
    job.result()
    assert {"out of 0", "error of 0"} <= {*job.stdout().splitlines()}


@pytest.mark.parametrize("launcher", ["pbs_tmrsh", "pbsdsh", "mpiexec"])
def test_a_job_fails_if_one_of_its_tasks_fails(executor, pbs, launcher):
    executor.update_parameters(nodes=2, pbs_launcher=launcher)
    job = executor.submit(speaker("1"))
    shown = pbs.wait(f"{job.job_id}.vm")
    assert shown["Exit_status"] != 0
    job.watcher.update()
    assert job.done()
    assert job.state == "FAILED"
    assert "out of 1" in job.task(1).stdout()


def test_a_running_job_is_cancelled(executor, pbs):
    job = executor.submit(time.sleep, 300)
    pbs.wait(f"{job.job_id}.vm", "R")
    job.cancel()
    assert pbs.wait(f"{job.job_id}.vm")["substate"] == 91
    job.watcher.update()
    assert job.done()
    assert job.state == "CANCELLED"


def test_cancelling_a_job_that_has_ended_is_no_error(executor, pbs):
    job = executor.submit(pow, 2, 5)
    assert job.result() == 32
    pbs.wait(f"{job.job_id}.vm")
    job.cancel()


def test_a_partly_refused_map_lists_the_accepted_jobs(executor, pbs):
    pbs.configure(max_queued=1)
    with pytest.raises(submitit.core.utils.FailedSubmissionError, match=r"per-user limit; submitted before it.*: \d+$"):
        executor.map_array(time.sleep, [300, 300])


def test_a_truncated_answer_ends_no_job(executor, monkeypatch):
    whole = "Job Id: 7.vm\n    Job_Name = a\n    job_state = R\n\n"
    watcher = submitit_plugin.PbsInfoWatcher()
    monkeypatch.setattr(submitit_plugin, "_run", lambda *_: CommandResult(0, whole[:30], ""))
    watcher.register_job("7")
    watcher.update()
    assert watcher.get_state("7", mode="cache") == "UNKNOWN"
    monkeypatch.setattr(submitit_plugin, "_run", lambda *_: CommandResult(0, whole, ""))
    watcher.update()
    assert watcher.get_state("7", mode="cache") == "RUNNING"


@pytest.mark.parametrize(("history", "state"), [(True, "CANCELLED"), (False, "LEFT")])
def test_one_update_learns_the_ends_of_many_jobs(pbs, history, state):
    pbs.configure(history=history)
    watcher = submitit_plugin.PbsInfoWatcher()
    jobs = [pbs.submit("true", "-h").partition(".")[0] for _ in range(45)]
    for job in jobs:
        watcher.register_job(job)
    watcher.update()
    assert {watcher.get_state(job, mode="cache") for job in jobs} == {"PENDING"}
    assert pbs.run("qdel", *jobs).returncode == 0
    watcher.update()
    assert {watcher.get_state(job, mode="cache") for job in jobs} == {state}


def test_ended_jobs_that_remain_are_queried_at_the_next_update(pbs, monkeypatch):
    monkeypatch.setattr(submitit_plugin, "_MAX_UPDATE", 0.0)
    watcher = submitit_plugin.PbsInfoWatcher()
    jobs = [str(number) for number in range(100, 150)]  # all unknown to the server
    for job in jobs:
        watcher.register_job(job)
    known = []
    for _ in range(3):
        watcher.update_if_long_enough("standard")  # immediately, not after a minute
        known.append(sum(watcher.get_state(job, mode="cache") == "LEFT" for job in jobs))
    assert known == [20, 40, 50]


def test_an_empty_answer_ends_no_job(pbs):
    watcher = submitit_plugin.PbsInfoWatcher()
    job = pbs.submit("true", "-h").partition(".")[0]
    watcher.register_job(job)
    watcher.update()
    pbs.fault("qstat", "truncated", keep=0.0)
    watcher.update()
    assert watcher.get_state(job, mode="cache") == "PENDING"


def test_each_task_gets_its_share_of_the_cores(executor):
    executor.update_parameters(tasks_per_node=2, cpus_per_task=3)
    assert executor.submit(os.getenv, "OMP_NUM_THREADS").results() == ["3", "3"]


def test_a_qsub_that_prints_no_job_id_is_an_error(executor, monkeypatch):
    monkeypatch.setattr(submitit_plugin, "_run", lambda *_: CommandResult(0, "Welcome!\n", ""))
    with pytest.raises(submitit.core.utils.FailedSubmissionError, match="no job id"):
        executor.submit(pow, 2, 5)


def test_the_plugin_takes_no_parameter_from_the_slurm_executor():
    ours, slurm = PbsExecutor._valid_parameters(), submitit.SlurmExecutor._valid_parameters()
    # submitit passes a name to the last executor that has it
    assert ours & slurm <= submitit.AutoExecutor._valid_parameters()


def test_an_unknown_parameter_is_refused(executor):
    with pytest.raises(ValueError, match=r"(?s)no_such.*walltime_min"):
        PbsExecutor(executor.folder).update_parameters(no_such=1)


def test_importing_the_plugin_imports_little():
    program = (
        "import sys, aiperf_orch.schedulers.pbs.submitit_plugin\n"
        "print(sorted({'pydantic', 'jinja2', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"
