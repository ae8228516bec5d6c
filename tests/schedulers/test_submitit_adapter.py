"""Private parts of submitit: each exists, and does what the adapter relies on.

A failure means that the installed submitit changed such a part: adapt `aiperf_orch/schedulers/submitit_adapter.py`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
import submitit
from submitit.core import core
from submitit.core.utils import DelayedSubmission

import aiperf_orch.schedulers
from aiperf_orch.schedulers.submitit_adapter import (
    PRIVATE_PARTS,
    DelayedSlurmExecutor,
    ScriptLocalExecutor,
    parse_node_list,
)
from aiperf_orch.util.job_files import SUBMIT_MODULE

pytestmark = pytest.mark.unit


def resolve(name: str) -> Any:
    """The object with this full name."""
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"submitit {submitit.__version__} has no {name}, used because: {PRIVATE_PARTS[name]}: {error}")


@pytest.mark.parametrize("name", PRIVATE_PARTS)
def test_each_private_part_exists_with_a_reason(name: str) -> None:
    resolve(name)
    assert PRIVATE_PARTS[name]


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("submitit.slurm.slurm.SlurmExecutor._internal_process_submissions", ["self", "delayed_submissions"]),
        ("submitit.local.local.LocalExecutor._submit_command", ["self", "command"]),
    ],
)
def test_overridden_methods_have_the_known_parameters(method: str, parameters: list[str]) -> None:
    assert list(inspect.signature(resolve(method)).parameters) == parameters


def test_submitit_calls_the_overridden_method_of_the_slurm_executor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[DelayedSubmission] = []

    class Executor(DelayedSlurmExecutor):
        def submit_delayed(self, delayed: Any) -> list[core.Job[Any]]:
            received.extend(delayed)
            return [submitit.SlurmJob(tmp_path, f"7_{index}", [0]) for index, _ in enumerate(delayed)]

    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda _class: 1))  # without srun
    executor = Executor(tmp_path)
    with executor.batch():
        made = [executor.submit(print, number) for number in range(2)]
    assert [submission.args for submission in received] == [(0,), (1,)]
    assert [job.job_id for job in made] == ["7_0", "7_1"]


def test_submitit_calls_the_overridden_method_of_the_local_executor(tmp_path: Path) -> None:
    class Executor(ScriptLocalExecutor):
        def start_job(self) -> submitit.LocalJob[Any]:
            return submitit.LocalJob(tmp_path, "7")

    job = Executor(tmp_path).submit(print)
    assert job.job_id == "7"
    assert job.paths.submitted_pickle.exists(), "submitit no longer writes the pickle under the job's id"


def test_the_module_of_batch_scripts_can_be_run() -> None:
    assert "__main__" in inspect.getsource(importlib.import_module(SUBMIT_MODULE))


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-3,07],m5", ["n1", "n2", "n3", "n07", "m5"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("r[1-2]n[3-4]", ["r1n3", "r1n4", "r2n3", "r2n4"]),
        ("n[1-", []),
        ("n[a-b]", []),
        ("", []),
    ],
)
def test_compressed_lists_of_nodes(nodes: str, names: list[str]) -> None:
    assert parse_node_list(nodes) == names


def test_no_other_module_uses_private_parts_of_submitit() -> None:
    """The plugin for PBS, which implements submitit's interface for plugins, has its own adapter."""
    folder = Path(aiperf_orch.schedulers.__file__).parent
    modules = {*folder.glob("*.py"), *(folder / "slurm").glob("*.py")} - {folder / "submitit_adapter.py"}
    found = []
    for path in sorted(modules):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.fullmatch(r"_[a-z]\w*", node.attr):
                owner = ast.unparse(node.value)
                if owner not in ("self", "cls", "former"):  # another object of the same class
                    found.append(f"{path.name}:{node.lineno}: {owner}.{node.attr}")
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("submitit"):
                found += [f"{path.name}:{node.lineno}: {each.name}" for each in node.names if each.name.startswith("_")]
    assert found == [], "use aiperf_orch/schedulers/submitit_adapter.py"
