"""Hosted-CI workflows, the Makefile, pre-commit and templates of issues name files, targets and tools that exist."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_WORKFLOWS = sorted((_ROOT / ".github" / "workflows").glob("*.yml"))
_FORMS = sorted((_ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
_MAKEFILE = (_ROOT / "Makefile").read_text(encoding="utf-8")
_TARGETS = set(re.findall(r"^([\w-]+):", _MAKEFILE, flags=re.MULTILINE))
_REPOSITORIES = yaml.safe_load((_ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
_EXTRAS = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
# a path of this checkout in a command: a leg of CI, or a file in a folder
_PATH = re.compile(r"(?<![\w/.-])(\.ci/[\w-]+|(?:benchmarks|tests|contrib|docs)/[\w./-]+)")

pytestmark = pytest.mark.unit


def _load(path: Path) -> dict[Any, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def _commands(path: Path) -> list[str]:
    """Commands of a workflow's steps, and the legs of its matrices, which become commands."""
    jobs = _load(path)["jobs"].values()
    legs = [str(leg) for job in jobs for leg in job.get("strategy", {}).get("matrix", {}).get("leg", [])]
    return legs + [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def _each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.name)


@_each(_WORKFLOWS)
def test_a_workflow_has_triggers_least_permissions_and_time_limits(path: Path) -> None:
    workflow = _load(path)
    assert workflow[True]  # `on` is a Boolean of YAML 1.1
    assert set(workflow["permissions"]) == {"contents"}
    for name, job in workflow["jobs"].items():
        assert job["runs-on"], name
        assert job["timeout-minutes"] <= 120, name
        assert all(("run" in step) != ("uses" in step) for step in job["steps"]), name
        assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step), name


@_each(_WORKFLOWS)
def test_expressions_of_a_workflow_refer_to_its_own_matrix(path: Path) -> None:
    for name, job in _load(path)["jobs"].items():
        used = set(re.findall(r"\$\{\{ *matrix\.(\w+) *\}\}", yaml.safe_dump(job)))
        assert used == set(job.get("strategy", {}).get("matrix", {})), name


@_each(_WORKFLOWS)
def test_commands_of_a_workflow_name_what_exists(path: Path) -> None:
    for command in _commands(path):
        for name in _PATH.findall(command):
            assert (_ROOT / name).exists(), f"{path.name}: {name} does not exist"
        assert set(re.findall(r"\bmake ([\w-]+)", command)) <= _TARGETS
        assert set(re.findall(r"\.\[(\w+)\]", command)) <= set(_EXTRAS)


def test_each_leg_of_ci_runs_in_a_workflow() -> None:
    legs = {f".ci/{path.name}" for path in (_ROOT / ".ci").iterdir() if os.access(path, os.X_OK)}
    assert legs <= {name for path in _WORKFLOWS for command in _commands(path) for name in _PATH.findall(command)}


def test_the_makefile_has_the_usual_targets_and_names_files_that_exist() -> None:
    assert sorted(_TARGETS) == ["bench", "check", "coverage", "docs", "test", "test-fast"]
    phony = re.search(r"^\.PHONY: (.+)$", _MAKEFILE, flags=re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == _TARGETS
    assert not [name for name in _PATH.findall(_MAKEFILE) if not (_ROOT / name).exists()]


def test_hooks_of_pre_commit_are_local_and_run_the_tools_of_make_check() -> None:
    hooks = [hook for repository in _REPOSITORIES for hook in repository["hooks"]]
    assert {repository["repo"] for repository in _REPOSITORIES} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system", "pygrep"}
    recipe = _MAKEFILE.partition("\ncheck:\n")[2].partition("\n\n")[0]
    tools = {word for word in shlex.split(recipe) if word in ("ruff", "mypy", "lint-imports")}
    assert tools == {"ruff", "mypy", "lint-imports"}
    assert not {tool for tool in tools if not any(tool in hook["entry"] for hook in hooks)}


@_each([path for path in _FORMS if path.name != "config.yml"])
def test_a_form_of_an_issue_has_fields_with_ids_of_their_own(path: Path) -> None:
    form = _load(path)
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)
