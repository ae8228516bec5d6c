"""Jobs of `check --every-node`, with a scheduler that the test plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.doctor import node_jobs
from aiperf_orch.doctor.node_jobs import NodeResult, check_nodes
from aiperf_orch.doctor.site_nodes import SiteNode
from aiperf_orch.records.probe import DiskReport, NodeCheck, NodeReport, ProbeStep, node_check_name
from aiperf_orch.schedulers.base import CancelResult, JobState, JobStatus, SubmitResult
from aiperf_orch.settings.models import SiteSettings

pytestmark = pytest.mark.unit


class _Clock:
    """A clock that each sleep advances."""

    def __init__(self) -> None:
        self.time = 1000.0

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class _Scheduler:
    """Jobs on hosts, which do what `script` says: `report`, `pend`, `vanish`, `refuse`, `limit` (once) or `hang`."""

    def __init__(self, script: dict[str, str]) -> None:
        self.script = script
        self.jobs: dict[str, Any] = {}
        self.calls: list[Any] = []
        self.limited: set[str] = set()
        self.query_interval = 1.0

    def on(self, _settings: Any, hosts: Any) -> Any:
        self.hosts = tuple(hosts)
        return self

    def submit(self, requests: Any) -> SubmitResult:
        [request] = requests
        host = request.command[request.command.index("--host") + 1]
        does = self.script[host]
        self.calls.append(f"submit {host}")
        if does == "refuse":
            return SubmitResult(refused={request.name: "invalid feature"})
        if does == "limit" and host not in self.limited:
            self.limited.add(host)
            return SubmitResult(waiting={request.name: "QOSMaxSubmitJobPerUserLimit"})
        self.jobs[request.name] = host
        if does in ("report", "limit"):
            folder = Path(request.command[4])
            (folder / node_check_name(host)).write_text(_check(host).to_line())
        if does == "vanish":
            (request.folder / "log").write_text("ImportError: numpy\n")
        return SubmitResult(jobs={request.name: "7"})

    def query(self, names: Any) -> dict[str, JobStatus]:
        states = {"pend": JobState.PENDING, "hang": JobState.RUNNING}
        return {
            name: JobStatus(name, "7", states[does], "Resources")
            for name, host in self.jobs.items()
            if name in names and (does := self.script[host]) in states
        }

    def cancel(self, jobs: Any, *, force: bool) -> CancelResult:
        self.calls += [f"cancel {self.jobs.pop(name)}" for name in jobs if name in self.jobs]
        return CancelResult()


def _check(host: str) -> NodeCheck:
    step = ProbeStep(seconds=1)
    report = NodeReport(
        rank=0, host=host, job="7", greeting="x", answered=None, clock_skew=0.0, cores=1, python="3", versions={},
        package=step, visible_gpus=None, driver_gpus=None, loading=None,
    )  # fmt: skip
    disk = DiskReport(path="/tmp", free=1)
    return NodeCheck(host=host, report=report, disk=disk, products_per_second=1.0, training=None, peers=[])


@pytest.fixture
def examine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[dict[str, NodeResult], list[str]]]:
    """Examine nodes whose jobs do what the arguments say; returns results by node, and the calls."""

    def run(*, down: str = "", **script: str) -> tuple[dict[str, NodeResult], list[str]]:
        scheduler = _Scheduler(script)
        monkeypatch.setattr(node_jobs, "scheduler_on", scheduler.on)
        monkeypatch.setattr(node_jobs, "time", _Clock())
        settings = SiteSettings.model_validate({"scheduler": {"kind": "slurm"}})
        nodes = [SiteNode(name) for name in script] + ([SiteNode(down, out_of_service="drained")] if down else [])
        results = check_nodes(settings, nodes, tmp_path, wait=60, log=print)
        assert [result.host for result in results] == [node.name for node in nodes]
        assert scheduler.jobs == {} or all(script[host] in ("report", "limit") for host in scheduler.jobs.values())
        return {result.host: result for result in results}, scheduler.calls

    return run


@pytest.mark.parametrize(
    ("does", "tried", "why", "cancelled"),
    [
        ("report", True, "", False),
        ("limit", True, "", False),
        ("pend", False, "did not start within 1m (Resources)", True),
        ("refuse", False, "its job was refused: invalid feature", False),
        ("vanish", True, "ImportError: numpy", True),
        ("hang", True, "no report within 10m", True),
    ],
)
def test_what_is_known_of_a_node(examine: Any, does: str, tried: bool, why: str, cancelled: bool) -> None:
    results, calls = examine(n1="report", n2=does, n3="report")
    assert (results["n2"].tried, results["n2"].why) == (tried, why)
    assert (results["n2"].check is not None) is (why == "")
    assert [each.check is not None for each in (results["n1"], results["n3"])] == [True, True]
    assert ("cancel n2" in calls) is cancelled


def test_a_node_out_of_service_gets_no_job(examine: Any) -> None:
    results, calls = examine(n1="report", down="n9")
    assert results["n9"] == NodeResult("n9", None, "out of service: drained", tried=False)
    assert calls == ["submit n1"]
