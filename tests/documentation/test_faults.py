"""The tables of faults name tests that exist, and are those of the page."""

from __future__ import annotations

import pytest

from documentation.faults import SECTIONS, TESTS, WHERE, Fault, names_in, with_tables

pytestmark = pytest.mark.unit
_FAULTS = [fault for faults in SECTIONS.values() for fault in faults]
_MARKS = {"Slurm": "slurm", "PBS": "pbs"}


def test_the_page_has_the_present_tables() -> None:
    page = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert page == with_tables(page), "the tables have changed: run python tests/documentation/make.py"


def test_there_are_at_least_sixty_faults_and_none_twice() -> None:
    assert len({fault.event for fault in _FAULTS}) == len(_FAULTS) >= 60


@pytest.mark.parametrize("fault", _FAULTS, ids=lambda fault: fault.event)
def test_each_test_of_a_fault_exists(fault: Fault) -> None:
    assert fault.tests
    assert set(fault.on) <= set(WHERE)
    for name in fault.tests:
        module, _, test = name.partition("::")
        assert test in names_in(module), name


@pytest.mark.parametrize("fault", _FAULTS, ids=lambda fault: fault.event)
def test_a_batch_system_is_named_where_a_module_of_tests_runs_jobs_on_it(fault: Fault) -> None:
    modules = [(TESTS / f"{name.partition('::')[0]}.py").read_text(encoding="utf-8") for name in fault.tests]
    modules += ["any_campaign slurm"] * any("any_campaign" in text for text in modules)
    for column, mark in _MARKS.items():
        assert column not in fault.on or any(mark in text for text in modules)
