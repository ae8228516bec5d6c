"""A package holds what the batch system's own accounting says of the campaign's jobs."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiperf_orch.commands import package
from tests.cluster.slurm import SlurmCluster

_SITE = {
    "scheduler": {"poll_interval": "200ms"},
    "campaign": {"duration": "1h", "max_trials": 3, "seed": 7},
    "network": {"max_layers": 60},
    "training": {"trainer": "simulated", "warmup_epochs": [2], "epochs": 2, "simulated": {"epoch_seconds": 0.1}},
}


_KINDS = {
    "slurm": ("slurm_accounting", {"kind": "slurm", "cpus_per_task": 1, "memory": "200M"}),
    "pbs": ("pbs", {"kind": "pbs"}),
}


def _run_campaign(aiperf: Callable[..., Any], folder: Path, kind: str) -> None:
    site = {**_SITE, "scheduler": _SITE["scheduler"] | _KINDS[kind][1]}
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
def test_a_package_holds_the_queues_own_accounting(
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


@pytest.mark.slurm
def test_accounting_that_is_late_is_waited_for_and_one_that_stays_incomplete_accuses_nobody(
    slurm_accounting: SlurmCluster,
    aiperf: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
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
    assert "waiting for the queue's accounting: it knows the end of 0 of 3 jobs" in packed.stderr
    assert len(_accounting(tmp_path / "late.tar.gz") or []) == 3

    sacct.write_text(f'#!/bin/sh\n{real} "$@" | head -n 1\n')  # the first job's line alone
    monkeypatch.setattr(package, "_LAG", 0.0)
    (tmp_path / "campaign" / "accounting.jsonl").unlink()
    text, status = package.package(tmp_path / "campaign", tmp_path / "half.tar.gz", None, pseudonyms=False)
    assert status == 0, text
    assert _accounting(tmp_path / "half.tar.gz") is None
    assert "accounting knows 1 of the campaign's 3 jobs that ran" in capsys.readouterr().err
