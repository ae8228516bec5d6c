"""A package holds what the batch system's own accounting says of the campaign's jobs."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

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


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=getattr(pytest.mark, kind)) for kind in _KINDS])
def test_a_package_holds_the_queues_own_accounting(
    kind: str, request: Any, aiperf: Callable[..., Any], tmp_path: Path
) -> None:
    fixture, scheduler = _KINDS[kind]
    cluster = request.getfixturevalue(fixture)
    site = {**_SITE, "scheduler": _SITE["scheduler"] | scheduler}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    ran = aiperf("run", "site.yaml", "--campaign-dir", "campaign", "--yes", timeout=180)
    assert ran.returncode == 0, ran.stderr
    packed = aiperf("package", "campaign", "--output", "p.tar.gz", "--pseudonyms", timeout=120)
    assert packed.returncode == 0, packed.stdout + packed.stderr
    with tarfile.open(tmp_path / "p.tar.gz") as package:
        (name,) = (name for name in package.getnames() if name.endswith("accounting.jsonl"))
        file = package.extractfile(name)
        assert file is not None
        jobs = [json.loads(line) for line in file.read().splitlines()]
    assert len(jobs) == 3
    assert {job["state"] for job in jobs} <= {"COMPLETED", "RUNNING", "COMPLETING"}
    assert all(job["start"] and not {*job["nodes"]} & {*getattr(cluster, "nodes", ["pbsn1", "pbsn2"])} for job in jobs)
    assert aiperf("verify", "p.tar.gz").returncode == 0
