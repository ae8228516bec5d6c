"""The tables of faults in `docs/reliability.md`: what fails, what is promised, on which scheduler a test shows it.

Their rows are `faults.yaml`, which names tests as `folder/module::test` below `tests/`; `make.py` writes them.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import yaml

from documentation.markdown import table

TESTS: Final = Path(__file__).parents[1]
WHERE: Final = ("here", "Slurm", "PBS", "agents")
_BEGIN, _END = "<!-- the tables of tests/documentation/faults.py -->\n", "<!-- end of the tables -->\n"


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        event: What fails.
        promise: What is promised.
        on: Those of `WHERE` where tests show it; empty where no scheduler takes part.
        tests: The tests, as `folder/module::test`.
    """

    event: str
    promise: str
    on: tuple[str, ...]
    tests: tuple[str, ...]


def _sections() -> dict[str, tuple[Fault, ...]]:
    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {title: tuple(_fault(**row) for row in rows) for title, rows in content.items()}


def _fault(event: str, promise: str, on: list[str], tests: list[str]) -> Fault:
    return Fault(event, promise, tuple(on), tuple(tests))


SECTIONS: Final[Mapping[str, Sequence[Fault]]] = _sections()


def with_tables(page: str) -> str:
    """The page `docs/reliability.md` with the present tables in the place of its own."""
    before, _, rest = page.partition(_BEGIN)
    return before + _BEGIN + "\n" + _tables() + "\n" + _END + rest.partition(_END)[2]


def _tables() -> str:
    parts = []
    for title, faults in SECTIONS.items():
        rows = [(fault.event, fault.promise, ", ".join(fault.on) or "any", _names(fault)) for fault in faults]
        parts.append(f"## {title}\n\n{table(('event', 'promise', 'shown', 'tests'), rows)}\n")
    return "\n".join(parts)


def _names(fault: Fault) -> str:
    """The modules of its tests, each with what its tests are called, in words."""
    found: dict[str, list[str]] = {}
    for name in fault.tests:
        module, _, test = name.partition("::test_")
        found.setdefault(module, []).append(test.replace("_", " "))
    return "; ".join(f"`tests/{module}.py`: {', '.join(tests)}" for module, tests in found.items())


@cache
def names_in(module: str) -> frozenset[str]:
    """Names of the tests of a module, `folder/module`; empty where there is no such module."""
    path = TESTS / f"{module}.py"
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
