"""Findings of `check --every-node`: table tests of what the reports of nodes mean, and its page."""

from __future__ import annotations

from typing import Any

import pytest

from aiperf_orch.doctor.findings import Finding, Level, fault, ok, warning
from aiperf_orch.doctor.node_findings import WIDTH, evaluate_nodes, page, slow_nodes
from aiperf_orch.doctor.node_jobs import NodeResult
from aiperf_orch.records.probe import (
    DiskReport,
    LoadingReport,
    NodeCheck,
    NodeReport,
    PeerReport,
    ProbeStep,
    TrainingReport,
)
from aiperf_orch.settings.models import SiteSettings

pytestmark = pytest.mark.unit
_STEP = ProbeStep(seconds=1.0)


def _settings(**scheduler: Any) -> SiteSettings:
    return SiteSettings.model_validate({"scheduler": {"kind": "slurm", **scheduler}})


def _result(host: str, *, rate: float = 100.0, **changes: Any) -> NodeResult:
    """A node without faults; keywords change fields of its report or of its check."""
    loading = LoadingReport(torch=_STEP, data=_STEP)
    report: dict[str, Any] = {
        "rank": 0, "host": host, "job": "7", "greeting": "x", "answered": 0.1, "clock_skew": 0.0, "cores": 4,
        "python": "3.11.7", "versions": {}, "package": _STEP, "visible_gpus": None, "driver_gpus": None,
        "loading": loading,
    }  # fmt: skip
    check: dict[str, Any] = {
        "host": host, "disk": DiskReport(path="/tmp", free=2**31), "products_per_second": 5000.0,
        "training": TrainingReport(first_step=9.0, steps_per_second=rate), "peers": [PeerReport(host="n9", seconds=0)],
    }  # fmt: skip
    for key, value in changes.items():
        (report if key in report and key != "host" else check)[key] = value
    return NodeResult(host, NodeCheck(report=NodeReport(**report), **check))


def _found(results: list[NodeResult], **scheduler: Any) -> dict[str, Finding]:
    """The worst finding of each subject."""
    order = list(Level)
    found = sorted(evaluate_nodes(results, _settings(**scheduler)), key=lambda each: order.index(each.level))
    return {each.subject: each for each in found}


def test_nodes_without_faults_are_ready() -> None:
    found = _found([_result(f"n{number}") for number in range(4)])
    assert {finding.level for finding in found.values()} == {Level.OK}
    assert list(found) == ["job", "files", "import", "data", "reach", "disk", "speed", "clock", "first step"]


@pytest.mark.parametrize(
    ("changes", "subject", "level", "message"),
    [
        ({"greeting": None}, "files", Level.FAULT, "n3: reads no file of this host"),
        ({"package": ProbeStep(seconds=1, fault="No module")}, "import", Level.FAULT, "n3: No module"),
        (
            {"loading": LoadingReport(torch=ProbeStep(seconds=1, fault="libcuda.so"))},
            "import", Level.FAULT, "n3: libcuda.so",
        ),
        (
            {"loading": LoadingReport(torch=_STEP, data=ProbeStep(seconds=1, fault="/data: not there"))},
            "data", Level.FAULT, "n3: /data: not there",
        ),
        ({"training": TrainingReport(fault="out of memory")}, "data", Level.FAULT, "n3: training: out of memory"),
        (
            {"peers": [PeerReport(host="n1", seconds=5, fault="timed out")]},
            "reach", Level.WARNING, "n3: reaches not n1: timed out",
        ),
        (
            {"disk": DiskReport(path="/tmp", free=0, fault="No space left on device")},
            "disk", Level.FAULT, "n3: /tmp: No space left on device",
        ),
        ({"rate": 10.0}, "speed", Level.WARNING, "n3 is slow: 10.0 training steps/s, 10% of the median of the others"),
        ({"clock_skew": -3.0}, "clock", Level.WARNING, "n3: off the file server's clock by up to -3.0 s (n3)"),
    ],
)  # fmt: skip
def test_each_fault_of_a_node_is_a_finding_that_names_it(
    changes: dict[str, Any], subject: str, level: Level, message: str
) -> None:
    found = _found([_result("n1"), _result("n2"), _result("n3", **changes), _result("n4")])
    assert (found[subject].level, found[subject].message) == (level, message)
    assert found[subject].advice
    assert [name for name, each in found.items() if each.level is not Level.OK] == [subject]


def test_an_unreachable_node_is_a_fault_for_trials_of_several_nodes() -> None:
    broken = _result("n3", peers=[PeerReport(host="n1", seconds=5, fault="timed out")])
    assert _found([_result("n1"), broken], nodes=2)["reach"].level is Level.FAULT


def test_a_node_that_others_reached_has_met_them() -> None:
    peers = [PeerReport(host="n2", seconds=0)]
    results = [_result("n1", peers=peers), _result("n2", peers=[]), _result("n3", peers=[])]
    assert _found(results)["reach"].message == "2 nodes met others; at the time of n3 no other one ran"


def test_nodes_with_the_same_reason_share_a_finding() -> None:
    results = [NodeResult(f"n{number}", None, "its job left no output") for number in range(12)]
    found = [each for each in evaluate_nodes(results, _settings()) if each.level is Level.FAULT]
    assert [each.message for each in found] == [
        "n0, n1, n2, n3, n4, n5, n6, n7 and 4 more: its job left no output",
    ]


def test_busy_nodes_are_not_tried_and_no_fault() -> None:
    found = _found([_result("n1"), NodeResult("n2", None, "did not start within 5m (Resources)", tried=False)])
    assert (found["not tried"].level, found["not tried"].message) == (
        Level.WARNING,
        "n2: did not start within 5m (Resources)",
    )


def test_without_any_training_nodes_are_compared_by_a_matrix_product() -> None:
    results = [_result(f"n{number}", training=None) for number in range(3)]
    results.append(_result("n3", training=None, products_per_second=900.0))
    assert _found(results)["speed"].message == "n3 is slow: 900.0 matrix products/s, 18% of the median of the others"


@pytest.mark.parametrize(
    ("rates", "slow"),
    [
        pytest.param([100, 100], [], id="two nodes: nothing is known"),
        pytest.param([100, 100, 79], [2], id="below four fifths of the others"),
        pytest.param([100, 100, 81], [], id="above four fifths of the others"),
        pytest.param([100, 60, 140, 75], [], id="as scattered as the others"),
        pytest.param([100, 60, 140, 5], [], id="only three others, and they are scattered"),
        pytest.param([100, 90, 110, 5], [3], id="far below scattered others"),
        pytest.param([100, 100, 100, 10, 10], [3, 4], id="two of five are slow"),
        pytest.param([100] * 50 + [99] * 49 + [79], [99], id="one of many"),
        pytest.param([100, 100, 300], [], id="a fast node makes no other one slow"),
        pytest.param([0, 100, 100, 100], [0], id="a node that stands still"),
    ],
)
def test_slow_nodes_by_the_median_of_the_others(rates: list[float], slow: list[int]) -> None:
    assert list(slow_nodes({f"n{number}": rate for number, rate in enumerate(rates)})) == [f"n{each}" for each in slow]


@pytest.mark.parametrize(
    ("findings", "nodes", "verdict"),
    [
        ([ok("job", "ran")], 3, "ready: 3 nodes examined, 0 warnings"),
        ([ok("job", "ran"), warning("clock", "off")], 1, "ready: 1 node examined, 1 warning"),
        ([fault("disk", "full"), warning("clock", "off")], 3, "not ready: 1 fault, 1 warning on 3 nodes"),
        ([warning("not tried", "n1: busy")], 0, "nothing is known: no node was examined"),
    ],
)
def test_the_page_begins_with_whether_the_nodes_are_ready(findings: list[Finding], nodes: int, verdict: str) -> None:
    assert page(findings, "check", nodes).splitlines()[1] == verdict


def test_a_page_has_at_most_80_columns_and_no_control_characters() -> None:
    text = page([fault("import", "n1: " + "x" * 300 + " \x1b[31m", "look " * 30)], "check " * 30, 1)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "\x1b" not in text
