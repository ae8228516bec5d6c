"""Benchmarks: what they import of the package exists. They are run by hand, long after a name has changed."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[2] / "benchmarks"


def _imports(path: Path) -> list[tuple[str, str]]:
    """(module, name) of each import from the package."""
    return [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "aiperf_orch"
        for alias in node.names
    ]


def _exists(module: str, name: str) -> bool:
    if hasattr(importlib.import_module(module), name):
        return True
    try:
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


@pytest.mark.parametrize("path", sorted(_FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_names_that_a_benchmark_imports_exist(path: Path) -> None:
    assert [f"{module}.{name}" for module, name in _imports(path) if not _exists(module, name)] == []
