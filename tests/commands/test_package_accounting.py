"""A package holds what the batch system's own accounting says of the campaign's jobs."""

import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from pbs.instance import Pbs

from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.commands import package
from aiperf_orch.package.verify import verify
from aiperf_orch.schedulers.base import AccountedJob, Scheduler
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.models import SiteSettings
from cluster.slurm import SlurmCluster
from package_fixtures import TamperedPackage
from placed_campaign import PlacedCampaignBuilder

_SITE: dict[str, dict[str, Any]] = {
    "scheduler": {"poll_interval": "200ms"},
    "campaign": {"duration": "1h", "max_trials": 3, "seed": 7},
    "network": {"max_layers": 60},
    "training": {"trainer": "simulated", "warmup_epochs": [2], "epochs": 2, "simulated": {"epoch_seconds": 0.1}},
}


_TIME = "2026-11-30T10:00:00Z"
_WIDE = ["-l", "select=1:ncpus=99"]
_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "slurm": ("slurm_accounting", {"kind": "slurm", "cpus_per_task": 1, "memory": "200M"}),
    "pbs": ("pbs", {"kind": "pbs"}),
}


def _run_campaign(aiperf: Callable[..., Any], folder: Path, kind: str, **settings: Any) -> None:
    site = {**_SITE, "scheduler": _SITE["scheduler"] | _KINDS[kind][1] | settings}
    (folder / "site.yaml").write_text(yaml.safe_dump(site))
    ran = aiperf("run", "site.yaml", "--campaign-dir", "campaign", "--yes", timeout=180)
    assert ran.returncode == 0, ran.stderr


def _accounting(file: Path) -> list[dict[str, Any]] | None:
    with tarfile.open(file) as packed:
        for name in packed.getnames():
            if name.endswith("accounting.jsonl"):
                member = packed.extractfile(name)
                assert member is not None
                return [json.loads(line) for line in member.read().splitlines()]
    return None


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=getattr(pytest.mark, kind)) for kind in _KINDS])
def test_a_package_holds_the_schedulers_accounting(
    kind: str, request: Any, aiperf: Callable[..., Any], tmp_path: Path
) -> None:
    cluster = request.getfixturevalue(_KINDS[kind][0])
    _run_campaign(aiperf, tmp_path, kind)
    packed = aiperf("package", "campaign", "--output", "p.tar.gz", "--pseudonyms", timeout=120)
    assert packed.returncode == 0, packed.stdout + packed.stderr
    jobs = _accounting(tmp_path / "p.tar.gz")
    assert jobs is not None
    assert len(jobs) == 3
    assert {job["state"] for job in jobs} == {"COMPLETED"}
    assert all(job["start"] and job["end"] for job in jobs)
    assert not {node for job in jobs for node in job["nodes"]} & {*getattr(cluster, "nodes", ["pbsn1", "pbsn2"])}
    assert aiperf("verify", "p.tar.gz").returncode == 0


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=getattr(pytest.mark, kind)) for kind in _KINDS])
def test_a_package_holds_the_accounting_of_allocations(
    kind: str, request: Any, aiperf: Callable[..., Any], tmp_path: Path
) -> None:
    request.getfixturevalue(_KINDS[kind][0])
    allocations = {"nodes": 1, "time_limit": "10m", "cpus_per_node": 2}
    _run_campaign(aiperf, tmp_path, kind, allocations=allocations)
    packed = aiperf("package", "campaign", "--output", "p.tar.gz", "--pseudonyms", timeout=120)
    assert packed.returncode == 0, packed.stdout + packed.stderr
    jobs = _accounting(tmp_path / "p.tar.gz")
    assert jobs is not None
    used, *unused = jobs
    assert (used["name"].partition("-")[2], used["state"]) == ("a00001", "COMPLETED")
    assert [node.partition("-")[0] for node in used["nodes"]] == ["host"]
    assert not any(job["nodes"] for job in unused)  # the next one, which was cancelled while it waited
    found = verify(tmp_path / "p.tar.gz")
    assert list(map(str, found.faults)) == []
    assert found.result_row is not None
    assert found.result_row["node_hours_given"] > found.result_row["node_hours_at_work"] > 0
    tampered = TamperedPackage(tmp_path / "p.tar.gz")
    tampered.files["accounting.jsonl"] = b""
    faults = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert [fault.id for fault in faults] == ["accounting.missing"]


@pytest.mark.pbs
def test_jobs_that_were_deleted_before_they_ran_are_not_awaited(pbs: Pbs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = {name: pbs.submit("true", *options) for name, options in (("ran", []), ("held", ["-h"]), ("wide", _WIDE))}
    pbs.wait(jobs["ran"])
    for name in ("held", "wide"):
        assert pbs.run("qdel", jobs[name]).returncode == 0
    scheduler = make_scheduler(SiteSettings.model_validate({"scheduler": {"kind": "pbs"}}).scheduler)
    known = package._accounted(scheduler, jobs, {"ran"}, lag=3600.0)
    assert known is not None
    assert {job.name: job.end is not None for job in known} == {"ran": True, "held": False, "wide": False}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("state", "start", "end", "settled"),
    [
        ("COMPLETED", _TIME, _TIME, True),
        ("CANCELLED by 0", None, _TIME, True),  # Slurm: before it began
        ("CANCELLED by 0", None, None, True),
        ("DELETED", None, None, True),  # PBS
        ("PENDING", None, None, False),  # accounting has not heard of its end yet
        ("RUNNING", _TIME, None, False),
        ("SUSPENDED", _TIME, None, False),
        ("REQUEUED", _TIME, None, False),
    ],
)
def test_only_ends_that_may_still_come_are_awaited(
    state: str,
    start: str | None,
    end: str | None,
    settled: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(package, "_QUERY_INTERVAL", 0.0)
    asked = []

    class Accounts:
        def accounting(self, _jobs: object) -> list[AccountedJob]:
            asked.append(1)
            late = len(asked) > 1
            return [AccountedJob("a", "1", "COMPLETED" if late else state, "", start, _TIME if late else end, ())]

    package._accounted(cast(Scheduler, Accounts()), {"a": "1"}, {"a"}, lag=3600.0)
    assert len(asked) == (1 if settled else 2)
    assert ("waiting for the accounting" in caplog.text) == (not settled)


def test_accounting_of_a_campaign_that_ended_long_ago_is_not_awaited(campaign: Callable[..., Any]) -> None:
    directory = campaign().directory
    assert 50 < package._remaining_lag(directory) <= 60
    an_hour_ago = time.time() - 3600
    os.utime(directory.journal, (an_hour_ago, an_hour_ago))
    assert package._remaining_lag(directory) == 0


@pytest.mark.slurm
def test_late_accounting_is_awaited_and_incomplete_accounting_left_out(
    slurm_accounting: SlurmCluster,
    aiperf: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _run_campaign(aiperf, tmp_path, "slurm")
    sacct = tmp_path / "bin" / "sacct"
    sacct.parent.mkdir()
    real = shutil.which("sacct")
    monkeypatch.setenv("PATH", str(sacct.parent), prepend=":")

    sacct.write_text(f'#!/bin/sh\nmkdir {tmp_path}/asked 2>/dev/null && exit 0\nexec {real} "$@"\n')  # at first none
    sacct.chmod(0o755)
    packed = aiperf("package", "campaign", "--output", "late.tar.gz", timeout=120)
    assert packed.returncode == 0, packed.stdout + packed.stderr
    assert "waiting for the accounting: it has the end of 0 of 3 jobs" in packed.stderr
    assert len(_accounting(tmp_path / "late.tar.gz") or []) == 3

    sacct.write_text(f'#!/bin/sh\n{real} "$@" | head -n 1\n')  # the first job's line alone
    monkeypatch.setattr(package, "_ACCOUNTING_LAG", 0.0)
    (tmp_path / "campaign" / "accounting.jsonl").unlink()
    output = package.package_campaign(tmp_path / "campaign", tmp_path / "half.tar.gz", None, pseudonyms=False)
    assert output.exit_status == 0, output.text
    assert _accounting(tmp_path / "half.tar.gz") is None
    assert "the accounting has records of 1 of the campaign's 3 jobs that ran" in caplog.text


class _Accounts:
    """Accounting of allocations, which remembers the jobs that it was queried for."""

    def __init__(self, *known: str) -> None:
        self.known = known
        self.jobs: dict[str, str] = {}

    def accounting(self, jobs: dict[str, str]) -> list[AccountedJob]:
        self.jobs = jobs
        return [AccountedJob(name, jobs[name], "COMPLETED", "0:0", _TIME, _TIME, ("n1",)) for name in self.known]


@pytest.mark.parametrize("accounted", [2, 1])
def test_accounting_of_placed_trials_is_that_of_their_allocations(
    accounted: int,
    campaign: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    allocations = {"nodes": 1, "time_limit": "1h"}
    made = campaign(kind=PlacedCampaignBuilder, scheduler__kind="slurm", scheduler__allocations=allocations)
    names = [made.allocate(1), made.allocate(2), made.allocate(3)]
    for number in (1, 2):  # no agent ever began in the third one
        made.join(f"n{number}.1", 0, allocation=names[number - 1])
    made.run_on("n1.1", 0, 9, at=0)
    accounts = _Accounts(*names[:accounted])
    monkeypatch.setattr(package, "make_scheduler", lambda _: accounts)
    monkeypatch.setattr(package, "_ACCOUNTING_LAG", 0.0)
    package._keep_accounting(made.directory, read_state(made.directory))
    assert accounts.jobs == {names[0]: "7001", names[1]: "7002", names[2]: "7003"}
    if accounted == 2:
        lines = [json.loads(line) for line in made.directory.accounting.read_text().splitlines()]
        assert [line["name"] for line in lines] == names[:2]
    else:
        assert not made.directory.accounting.exists()
        assert "the accounting has records of 1 of the campaign's 2 jobs that ran" in caplog.text


def test_agents_that_were_started_by_hand_have_no_accounting(
    campaign: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = campaign(kind=PlacedCampaignBuilder, scheduler__kind="agents")
    made.join("n1.1", 0)
    made.run_on("n1.1", 0, 9, at=0)
    monkeypatch.delattr(package, "make_scheduler")
    package._keep_accounting(made.directory, read_state(made.directory))
    assert not made.directory.accounting.exists()
