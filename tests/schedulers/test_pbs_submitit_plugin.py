"""submitit's plugin for PBS, by itself: `submitit.AutoExecutor(folder, cluster="pbs")`, on the stand-in."""

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
    PbsJob.watcher.clear()  # each instance's jobs have the same ids
    executor = submitit.AutoExecutor(tmp_path / "a folder's $HOME", cluster="pbs")
    executor.update_parameters(timeout_min=5)
    return executor


def test_submitit_finds_the_plugin():
    found = {each.name: each.load() for each in importlib.metadata.entry_points(group="submitit")}
    assert found["executor"] is PbsExecutor
    assert found["job_environment"] is PbsJobEnvironment


def test_a_function_runs_and_its_result_comes_back(executor):
    assert executor.submit(pow, 2, 5).result() == 32


def test_each_job_has_a_folder_of_its_own_that_its_id_names(pbs, tmp_path):
    PbsJob.watcher.clear()
    executor = submitit.AutoExecutor(tmp_path / "my $logs" / "log_%j", cluster="pbs")  # submitit's documented use
    executor.update_parameters(timeout_min=5, nodes=2)
    job = executor.submit(speaker())
    assert job.paths.folder == tmp_path / "my $logs" / f"log_{job.job_id}"
    assert job.submission().function.__name__ == "speak"
    assert job.paths.submission_file.read_text().startswith("#!/bin/bash")
    job.results()
    assert ["out of" in task.stdout() for task in job._sub_jobs] == [True, True]
    assert {path.name for path in (tmp_path / "my $logs").iterdir()} == {"pbs_jobs", f"log_{job.job_id}"}


@pytest.mark.parametrize("folder", ["log_%t", "%A/%a"])
def test_a_folder_that_no_job_of_pbs_can_have_is_refused(folder):
    with pytest.raises(ValueError, match=r"may contain %j, but not %[at]"):
        PbsExecutor(folder)


def test_an_error_in_the_job_comes_back(executor):
    with pytest.raises(submitit.core.utils.FailedJobError, match="ZeroDivisionError"):
        executor.submit(divmod, 1, 0).result()


@pytest.mark.parametrize("launcher", ["pbs_tmrsh", "pbsdsh", "mpiexec"])
def test_each_task_of_each_node_runs_once(executor, launcher):
    executor.update_parameters(nodes=2, tasks_per_node=2, pbs_launcher=launcher)
    assert executor.submit(os.getenv, "SUBMITIT_PBS_RANK").results() == ["0", "1", "2", "3"]


def speaker(rank_that_fails=None):
    """A function that its pickle holds whole: jobs cannot import the tests."""

    def speak():
        import os
        import sys

        rank = os.environ["SUBMITIT_PBS_RANK"]
        print("out of", rank, flush=True)
        print("error of", rank, file=sys.stderr, flush=True)
        if rank == rank_that_fails:
            os._exit(5)

    return speak


def test_what_the_tasks_say_is_their_stdout_and_stderr(executor):
    executor.update_parameters(nodes=2)
    job = executor.submit(speaker())
    job.results()
    assert [task.stdout().count(f"out of {rank}\n") for rank, task in enumerate(job._sub_jobs)] == [1, 1]
    assert [task.stderr().count(f"error of {rank}\n") for rank, task in enumerate(job._sub_jobs)] == [1, 1]
    executor.update_parameters(nodes=1, stderr_to_stdout=True)
    job = executor.submit(speaker())
    job.result()
    assert {"out of 0", "error of 0"} <= {*job.stdout().splitlines()}


@pytest.mark.parametrize("launcher", ["pbs_tmrsh", "pbsdsh", "mpiexec"])
def test_the_failure_of_one_task_is_the_jobs(executor, pbs, launcher):
    executor.update_parameters(nodes=2, pbs_launcher=launcher)
    job = executor.submit(speaker("1"))
    shown = pbs.wait(f"{job.job_id}.vm")
    assert shown["Exit_status"] != 0
    job.watcher.update()
    assert job.done()
    assert job.state == "FAILED"
    assert "out of 1" in job._sub_jobs[1].stdout()


def test_a_job_is_cancelled(executor, pbs):
    job = executor.submit(time.sleep, 300)
    pbs.wait(f"{job.job_id}.vm", "R")
    job.cancel()
    assert pbs.wait(f"{job.job_id}.vm")["substate"] == 91
    job.watcher.update()
    assert job.done()
    assert job.state == "CANCELLED"


def test_a_job_that_has_ended_may_be_cancelled(executor, pbs):
    job = executor.submit(pow, 2, 5)
    assert job.result() == 32
    pbs.wait(f"{job.job_id}.vm")
    job.cancel()


def test_a_map_that_meets_a_limit_says_which_jobs_there_are(executor, pbs):
    pbs.configure(max_queued=1)
    with pytest.raises(submitit.core.utils.FailedSubmissionError, match=r"per-user limit; submitted before it.*: \d+$"):
        executor.map_array(time.sleep, [300, 300])


def test_half_an_answer_ends_no_job(executor, monkeypatch):
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
def test_the_ends_of_many_jobs_are_learnt_at_one_look(pbs, history, state):
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


def test_ends_for_which_there_was_no_time_are_asked_for_at_the_next_look(pbs, monkeypatch):
    monkeypatch.setattr(submitit_plugin, "_LONGEST_UPDATE", 0.0)
    watcher = submitit_plugin.PbsInfoWatcher()
    jobs = [str(number) for number in range(100, 150)]  # of which the server knows none
    for job in jobs:
        watcher.register_job(job)
    known = []
    for _ in range(3):
        watcher.update_if_long_enough("standard")  # at once: it does not wait for a minute
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


def test_each_task_has_its_own_share_of_the_cores(executor):
    executor.update_parameters(tasks_per_node=2, cpus_per_task=3)
    assert executor.submit(os.getenv, "OMP_NUM_THREADS").results() == ["3", "3"]


def test_a_hook_of_the_site_may_print_beside_the_id():
    said = "Welcome to the cluster!\nproject 12 has 300 hours left\n123.pbs01.example.org\n"
    assert PbsExecutor._get_job_id_from_submission_command(said) == "123.pbs01.example.org"
    with pytest.raises(submitit.core.utils.FailedSubmissionError, match="no job id"):
        PbsExecutor._get_job_id_from_submission_command("Welcome!\n")


def test_no_unprefixed_parameter_of_slurm_is_taken_over():
    ours, slurm = PbsExecutor._valid_parameters(), submitit.SlurmExecutor._valid_parameters()
    assert ours & slurm <= submitit.AutoExecutor._valid_parameters()  # submitit maps a name to the last who knows it


def test_an_unknown_parameter_is_refused_with_the_valid_ones(executor):
    with pytest.raises(ValueError, match=r"(?s)no_such.*walltime_min"):
        PbsExecutor(executor.folder).update_parameters(no_such=1)


def test_loading_the_plugin_loads_little():
    program = "import sys, aiperf_orch.schedulers.pbs.submitit_plugin; print(sorted({'pydantic', 'jinja2', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"
