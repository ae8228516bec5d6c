"""Levels of a power measurement, by the table of the methodology of the EE HPC WG, version 2.0."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aiperf_orch.records.meter import MeterFacts
from aiperf_orch.results.meter_level import Measurement, missing_for, reached_level

pytestmark = pytest.mark.unit


def _measurement(facts: dict[str, Any], **fields: Any) -> Measurement:
    """A measurement of level 3, changed."""
    best: dict[str, Any] = {
        "source": "facility", "subsystems": "all", "point": "upstream", "accuracy": 0.01, "sampling": 0.01,
        "idle_watts": 100.0, "sha256": "0" * 64,
    }  # fmt: skip
    made = Measurement(
        MeterFacts(**best | facts), 400, 400, is_counter=True, watts=200_000.0, core_seconds=43_200.0,
        longest_interval=1.0, readings=43_200, uncovered=0.5, covers_run=True,
    )  # fmt: skip
    return replace(made, **fields)


@pytest.mark.parametrize(
    ("level", "facts", "fields"),
    [
        (3, {}, {}),
        (2, {}, {"is_counter": False}),
        (2, {"sampling": 0.02}, {}),
        (2, {"accuracy": 0.02}, {}),
        (2, {}, {"uncovered": 2.5}),
        (2, {}, {"measured_nodes": 50, "watts": 25_000.0}),
        (1, {}, {"measured_nodes": 49, "watts": 25_000.0}),  # less than 1/8
        (1, {}, {"measured_nodes": 50, "watts": 9_999.0}),  # less than 10 kW
        (1, {"subsystems": "nodes+network"}, {}),
        (1, {"accuracy": 0.05}, {}),
        (1, {"idle_watts": None}, {}),
        (1, {}, {"covers_run": False}),
        (1, {}, {"readings": 9}),
        (1, {}, {"measured_nodes": 40, "watts": 2_000.0}),  # 1/10
        (0, {}, {"measured_nodes": 39, "watts": 39_000.0}),
        (1, {}, {"measured_nodes": 39, "watts": 40_000.0}),  # or 40 kW
        (0, {}, {"measured_nodes": 14, "nodes": 100, "watts": 30_000.0}),  # less than 15 nodes
        (3, {}, {"measured_nodes": 2, "nodes": 2, "watts": 500.0}),  # all of a small system
        (0, {"subsystems": "nodes"}, {}),
        (0, {"point": "inside"}, {}),
        (0, {"point": None}, {}),
        (0, {"accuracy": 0.051}, {}),
        (0, {"accuracy": None}, {}),
        (0, {"sampling": None}, {}),
        (0, {"sampling": 1.5}, {}),
        (0, {}, {"core_seconds": 59.0}),
        (0, {}, {"is_counter": False, "longest_interval": 11.0}),
    ],
)
def test_the_level_is_that_of_the_table(level: int, facts: dict[str, Any], fields: dict[str, Any]) -> None:
    found = _measurement(facts, **fields)
    assert reached_level(found) == level
    assert level == 3 or missing_for(found, level + 1)


def test_what_is_missing_is_named() -> None:
    found = _measurement({"idle_watts": None, "accuracy": 0.03, "subsystems": "nodes+network"})
    assert missing_for(found, 2) == ["idle power", "all subsystems measured that take part", "accuracy of 2% or better"]
    part = _measurement({}, measured_nodes=3)
    assert missing_for(part, 2) == ["1/8 of the nodes, 15 nodes and 10 kW, or all nodes"]
