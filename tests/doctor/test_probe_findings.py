"""Each fault of a node in the reports of the probe job becomes a finding with advice."""

from __future__ import annotations

import platform
from typing import Any

import pytest

from aiperf_orch.doctor import probe_findings
from aiperf_orch.doctor.findings import Finding, Level
from aiperf_orch.doctor.probe_findings import evaluate_probe
from aiperf_orch.doctor.probe_job import ProbeOutcome
from aiperf_orch.records.probe import LoadingReport, NodeReport, ProbeStep, installed_versions
from aiperf_orch.settings.models import SiteSettings

pytestmark = pytest.mark.unit


def report(rank: int = 0, **changes: Any) -> NodeReport:
    fields: dict[str, Any] = {
        "rank": rank,
        "host": f"n{rank + 1}",
        "job": "7",
        "greeting": "hello",
        "answered": 0.2 if rank == 0 else None,
        "clock_skew": 0.0,
        "cores": 4,
        "python": platform.python_version(),
        "versions": installed_versions(),
        "package": ProbeStep(seconds=0.4),
        "visible_gpus": "0",
        "driver_gpus": None,
        "loading": LoadingReport(torch=ProbeStep(seconds=3.0), data=ProbeStep(seconds=0.1), gpus=["Big GPU"]),
    }
    return NodeReport(**fields | changes)


def test_a_large_data_set_is_tested_by_its_first_images() -> None:
    settings = SiteSettings.model_validate({"data": {"name": "imagenet", "path": "/data"}})
    [finding] = [
        each
        for each in evaluate_probe(settings, ProbeOutcome("7", "hello", 1, 1.5, {0: report()}))
        if each.subject == "data"
    ]
    assert finding.message.startswith("imagenet's folders and first images are read in ")


def findings(*reports: NodeReport, failure: str = "", is_pending: bool = False, **scheduler: Any) -> list[Finding]:
    """The findings of a job for one GPU and four cores of a Slurm node."""
    fields = {"kind": "slurm", "cpus_per_task": 4, "gpus_per_node": 1} | scheduler
    settings = SiteSettings.model_validate({"scheduler": fields})
    outcome = ProbeOutcome(
        "7", "hello", max(len(reports), 1), 1.5, {each.rank: each for each in reports}, failure, is_pending
    )
    return list(evaluate_probe(settings, outcome))


def test_a_node_without_faults() -> None:
    found = findings(report())
    assert {finding.level for finding in found} == {Level.OK}
    subjects = ["job", "files", "python", "torch", "data", "versions", "gpus", "cores", "clock"]
    assert [finding.subject for finding in found] == subjects


@pytest.mark.parametrize(
    ("changes", "level", "subject", "message"),
    [
        ({"greeting": None}, Level.FAULT, "files", "cannot be read on n1"),
        ({"greeting": "stale"}, Level.FAULT, "files", "cannot be read on n1"),
        ({"answered": None}, Level.FAULT, "files", "saw no answer"),
        ({"answered": 12.0}, Level.WARNING, "files", "took 12s"),
        (
            {"package": ProbeStep(seconds=1, fault="No module named 'numpy'")},
            Level.FAULT,
            "python",
            "No module named 'numpy'",
        ),
        ({"package": ProbeStep(seconds=90, files=1412)}, Level.WARNING, "python", "in 1m30s, 1,412 files, on n1"),
        (
            {"loading": LoadingReport(torch=ProbeStep(seconds=1), data=ProbeStep(seconds=21.0), gpus=["x"])},
            Level.WARNING,
            "data",
            "loaded in 21s on n1",
        ),
        (
            {"loading": LoadingReport(torch=ProbeStep(seconds=1, fault="ended by signal 4"))},
            Level.FAULT,
            "torch",
            "signal 4",
        ),
        (
            {
                "loading": LoadingReport(
                    torch=ProbeStep(seconds=1), data=ProbeStep(seconds=1, fault="OSError: gone"), gpus=["x"]
                )
            },
            Level.FAULT,
            "data",
            "OSError: gone",
        ),
        ({"versions": {"aiperf-orch": "0.0.1"}}, Level.FAULT, "versions", "aiperf-orch 0.0.1 (here "),
        ({"versions": installed_versions() | {"numpy": "1.0"}}, Level.WARNING, "versions", "n1: numpy 1.0 (here "),
        ({"python": "3.11.999"}, Level.WARNING, "versions", "python 3.11.999 (here "),
        (
            {"loading": LoadingReport(torch=ProbeStep(seconds=1), data=ProbeStep(seconds=1))},
            Level.FAULT,
            "gpus",
            "torch sees 0 of the 1 allocated GPUs",
        ),
        (
            {"visible_gpus": None, "loading": LoadingReport(torch=ProbeStep(seconds=1), data=ProbeStep(seconds=1))},
            Level.FAULT,
            "gpus",
            "1 requested, 0 visible",
        ),
        ({"cores": 2}, Level.WARNING, "cores", "4 requested, 2 available"),
        ({"clock_skew": 3.5}, Level.WARNING, "clock", "n1 is 3.5s ahead of the file server"),
        ({"clock_skew": -90.0}, Level.WARNING, "clock", "n1 is 1m30s behind the file server"),
    ],
)
def test_each_fault_of_a_node_is_a_finding_with_advice(
    changes: dict[str, Any], level: Level, subject: str, message: str
) -> None:
    [finding] = [each for each in findings(report(**changes)) if each.level is not Level.OK]
    assert (finding.level, finding.subject) == (level, subject)
    assert message in finding.message
    assert finding.advice


def test_torch_may_be_installed_for_the_trials_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {name: version for name, version in installed_versions().items() if name != "torch"}
    monkeypatch.setattr(probe_findings, "installed_versions", lambda: here)
    assert {finding.level for finding in findings(report(versions=here | {"torch": "2.14.1"}))} == {Level.OK}


def test_without_a_usable_torch_the_advice_names_the_extra() -> None:
    loading = LoadingReport(torch=ProbeStep(seconds=1, fault="torch is not installed (/usr/bin/python3)"))
    [finding] = [each for each in findings(report(loading=loading)) if each.level is not Level.OK]
    assert finding.message == "n1: torch is not installed (/usr/bin/python3)"
    assert "extra [torch]" in finding.advice
    assert "scheduler.python" in finding.advice


def test_visible_gpus_that_were_not_requested_are_a_warning() -> None:
    [finding] = [each for each in findings(report(), gpus_per_node=None) if each.level is not Level.OK]
    assert (finding.subject, finding.message) == ("gpus", "n1: 1 visible (Big GPU), and none requested")


@pytest.mark.parametrize(
    ("workers", "message"), [(1, "1 workers on each node: 1 would be idle"), (4, "several workers share one")]
)
def test_a_number_of_workers_other_than_gpus_is_a_warning(workers: int, message: str) -> None:
    given = report(loading=LoadingReport(torch=ProbeStep(seconds=1), data=ProbeStep(seconds=1), gpus=["a", "b"]))
    [finding] = [
        each for each in findings(given, gpus_per_node=2, workers_per_node=workers) if each.level is not Level.OK
    ]
    assert message in finding.message
    assert all(each.level is Level.OK for each in findings(given, gpus_per_node=2))


def test_the_worst_of_several_nodes_is_reported() -> None:
    found = findings(report(), report(1, clock_skew=9.0, cores=1), report(2, clock_skew=2.0), nodes=3)
    messages = [finding.message for finding in found if finding.level is not Level.OK]
    assert any(message.startswith("n2 is 9s ahead") for message in messages)
    assert any(message.startswith("n2: 4 requested, 1 available") for message in messages)


def test_a_job_that_did_not_start_is_a_warning_and_one_that_failed_a_fault() -> None:
    [finding] = findings(failure="it did not start within 5m (Priority: ...)", is_pending=True)
    assert (finding.level, finding.subject) == (Level.WARNING, "job")
    [finding] = findings(failure="it ended: exit status 1")
    assert (finding.level, finding.subject) == (Level.FAULT, "job")


def test_the_likely_reason_of_missing_output_is_reported() -> None:
    settings = SiteSettings.model_validate({"scheduler": {"kind": "slurm"}})
    outcome = ProbeOutcome(
        "7", "hello", 1, failure="it ended: exit status 53", missing_output="its node does not see /home/me"
    )
    [finding] = evaluate_probe(settings, outcome)
    assert (finding.level, finding.subject) == (Level.FAULT, "job")
    assert finding.message == "job 7: it ended: exit status 53; its node does not see /home/me"
    assert "--campaign-dir" in finding.advice


@pytest.mark.parametrize(("scheduler", "level"), [({}, Level.WARNING), ({"place": "scatter:excl"}, Level.OK)])
def test_pbs_nodes_that_show_all_their_gpus_to_a_job_are_a_warning(scheduler: Any, level: Level) -> None:
    settings = SiteSettings.model_validate({"scheduler": {"kind": "pbs", "gpus": 1} | scheduler})
    seen = report(visible_gpus=None, loading=LoadingReport(torch=ProbeStep(seconds=1.0), gpus=["Big GPU"] * 4))
    found = {each.subject: each for each in evaluate_probe(settings, ProbeOutcome("7", "hello", 1, 1.5, {0: seen}))}[
        "gpus"
    ]
    assert found.level is level
    if level is Level.WARNING:
        assert "1 requested, 4 visible" in found.message
        assert "scatter:excl" in found.advice
