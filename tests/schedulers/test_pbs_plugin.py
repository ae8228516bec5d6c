"""submitit's plugin for PBS, by itself: `submitit.AutoExecutor(folder, cluster="pbs")`, on the stand-in."""

import importlib.metadata
import os
import subprocess
import sys

import pytest
import submitit

from aiperf_orch.schedulers.pbs.plugin import PbsExecutor, PbsJobEnvironment

pytestmark = pytest.mark.pbs


@pytest.fixture
def executor(pbs, tmp_path):
    executor = submitit.AutoExecutor(tmp_path / "a folder's $HOME", cluster="pbs")
    executor.update_parameters(timeout_min=5)
    return executor


def test_submitit_finds_the_plugin():
    found = {each.name: each.load() for each in importlib.metadata.entry_points(group="submitit")}
    assert found["executor"] is PbsExecutor
    assert found["job_environment"] is PbsJobEnvironment


def test_a_function_runs_and_its_result_comes_back(executor):
    assert executor.submit(pow, 2, 5).result() == 32


def test_an_error_in_the_job_comes_back(executor):
    with pytest.raises(submitit.core.utils.FailedJobError, match="ZeroDivisionError"):
        executor.submit(divmod, 1, 0).result()


@pytest.mark.parametrize("launcher", ["pbs_tmrsh", "pbsdsh"])
def test_each_task_of_each_node_runs_once(executor, launcher):
    executor.update_parameters(nodes=2, tasks_per_node=2, pbs_launcher=launcher)
    assert executor.submit(os.getenv, "SUBMITIT_PBS_RANK").results() == ["0", "1", "2", "3"]


def test_an_unknown_parameter_is_refused_with_the_valid_ones(executor):
    with pytest.raises(ValueError, match=r"(?s)no_such.*walltime_min"):
        PbsExecutor(executor.folder).update_parameters(no_such=1)


def test_loading_the_plugin_loads_little():
    program = "import sys, aiperf_orch.schedulers.pbs.plugin; print(sorted({'pydantic', 'jinja2', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"
