"""`check --every-node`: on this machine, on a private Slurm cluster with damaged nodes, and on the stand-in of PBS."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.check_nodes import check_every_node
from aiperf_orch.settings.loading import load_site

Run = Callable[..., subprocess.CompletedProcess[str]]
_DEADLINE = 400
_SLOW = """
import sys, threading

def burn():
    while True:
        pass

sys.setswitchinterval(0.05)
threading.Thread(target=burn, daemon=True).start()
"""
"""A module that takes most of the interpreter's time: what Python calls often becomes slow."""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a site file; keywords are scheduler settings."""

    def write(*, trainer: str = "simulated", **scheduler: Any) -> Path:
        path = tmp_path / "site.yaml"
        path.write_text(json.dumps({"scheduler": scheduler, "training": {"trainer": trainer}}))
        return path

    return write


def _rows(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    """The findings, by subject; of one subject the last."""
    assert done.stdout, done.stderr
    return {row["subject"]: row for row in json.loads(done.stdout)}


@pytest.mark.local
def test_this_machine_trains_a_few_steps(write: Any, aiperf: Run) -> None:
    site = write(trainer="torch", kind="local")
    done = aiperf("check", site, "--every-node", timeout=_DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].startswith("ready: 1 node examined")
    assert max(map(len, lines)) <= 80
    assert any("first step" in line and "s (median)" in line for line in lines)


@pytest.mark.slurm
def test_damaged_nodes_of_a_cluster_are_named(slurm: Any, write: Any, aiperf: Run, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("a full disk can be mounted by root only")
    slow, disk = tmp_path / "slow", tmp_path / "disk"
    slow.mkdir()
    disk.mkdir()
    (slow / "sitecustomize.py").write_text(_SLOW)
    fill = f"mount -t tmpfs -o size=64k tmpfs {disk} && head -c 1M /dev/zero >{disk}/file"
    setup = [
        f"case $SLURMD_NODENAME in n2) export PYTHONPATH={slow} ;; n3) export PYTHONHOME=/nowhere ;;"
        f" n4) {fill} || export TMPDIR={disk} ;; esac"
    ]
    site = write(kind="slurm", cpus_per_task=1, memory="200M", query_interval="1s", interface="lo", setup=setup)
    done = aiperf("check", site, "--every-node", "--yes", "--format", "json", timeout=_DEADLINE)
    assert "4 nodes x 10 minutes at most: 0.7 node-hours, by 4 jobs" in done.stderr
    found = _rows(done)
    assert done.returncode == 1
    assert {name: row["level"] for name, row in found.items() if row["level"] == "fault"} == {
        "job": "fault",
        "disk": "fault",
    }
    assert found["job"]["message"].startswith("n3: ")
    assert found["disk"]["message"] == f"n4: {disk}: No space left on device"
    assert "n2 is slow" in found["speed"]["message"]
    # the job of the slow node may run when the others have ended
    assert re.fullmatch(r"3 nodes met others|2 nodes met others; at the time of n2 .*", found["reach"]["message"])
    assert not slurm.alive_jobs()
    assert not [*(tmp_path / "campaigns").glob("check-*")]


@pytest.mark.long
@pytest.mark.slurm
def test_busy_nodes_are_not_tried(slurm: Any, write: Any, aiperf: Run) -> None:
    slurm.submit("sleep 600", "--nodelist=n1,n2,n3", "--exclusive")
    site = write(kind="slurm", cpus_per_task=1, memory="200M", query_interval="1s", interface="lo")
    done = aiperf("check", site, "--every-node", "-y", "--wait", "5s", "--format", "json", timeout=_DEADLINE)
    found = _rows(done)
    assert done.returncode == 0
    assert found["not tried"]["message"].startswith("n1, n2, n3: did not start within 5s (")
    assert found["job"]["message"] == "ran on 1 node"
    assert len(slurm.alive_jobs()) == 1


@pytest.mark.long
@pytest.mark.slurm
def test_nodes_are_examined_in_allocations_where_the_site_has_them(slurm: Any, write: Any, aiperf: Run) -> None:
    allocations = {"nodes": 2, "time_limit": "10m", "cpus_per_node": 2}
    site = write(
        kind="slurm", cpus_per_task=1, memory="200M", query_interval="1s", interface="lo", allocations=allocations
    )
    done = aiperf("check", site, "--every-node", "-y", "--format", "json", timeout=_DEADLINE)
    assert "by 2 jobs" in done.stderr
    assert _rows(done)["job"]["message"] == "ran on 4 nodes"
    assert done.returncode == 0


@pytest.mark.long
@pytest.mark.pbs
def test_nodes_of_pbs_are_examined_and_busy_ones_not_tried(pbs: Any, write: Any, aiperf: Run) -> None:
    pbs.submit("sleep 600", "-l", "select=1:ncpus=8:host=pbsn2")
    site = write(kind="pbs", cpus=1, query_interval="1s", interface="lo")
    done = aiperf("check", site, "--every-node", "-y", "--wait", "5s", "--format", "json", timeout=_DEADLINE)
    found = _rows(done)
    assert (done.returncode, found["job"]["message"]) == (0, "ran on 1 node")
    assert found["not tried"]["message"].startswith("pbsn2: did not start within 5s (")


@pytest.mark.slurm
def test_nothing_is_submitted_without_agreement(slurm: Any, write: Any, aiperf: Run) -> None:
    done = aiperf("check", write(kind="slurm"), "--every-node", timeout=_DEADLINE)
    assert (done.returncode, "give --yes" in done.stderr) == (2, True)
    assert not slurm.alive_jobs()


@pytest.mark.unit
@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"kind": "agents"}, "agents are started by hand"),
        ({"kind": "pbs", "resources": ["nodes=1:ppn=4"]}, "scheduler.resources requests nodes"),
    ],
)
def test_where_no_node_can_be_named_the_reason_is_said(write: Any, scheduler: dict[str, Any], message: str) -> None:
    from aiperf_orch.util.errors import UsageError

    loaded = load_site(write(**scheduler))
    with pytest.raises(UsageError, match=message):
        check_every_node(loaded, None, "table", wait=1.0, yes=True)
