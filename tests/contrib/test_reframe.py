"""The ReFrame test in contrib/ runs a campaign on the private Slurm cluster, and fails where the campaign fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.lock import read_holder

_CONTRIB = Path(__file__).parents[2] / "contrib" / "reframe"
_PATIENCE = 600  # seconds

pytestmark = pytest.mark.slurm


@pytest.fixture
def reframe(tmp_path: Path, slurm: Any) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs ReFrame on the test with a site file and variables; returns its report of the one test case."""
    scripts = Path(sys.executable).parent
    program = shutil.which("reframe", path=f"{scripts}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("reframe is not installed: pip install reframe-hpc")

    def run(site: Path, trainer: str, **variables: str) -> dict[str, Any]:
        assigned = [f"--setvar={name}={value}" for name, value in {"site_file": str(site), **variables}.items()]
        report = tmp_path / "report.json"
        done = subprocess.run(
            [
                *(program, "--nocolor", f"--prefix={tmp_path / 'reframe'}", f"--report-file={report}"),
                *("-C", _CONTRIB / "settings.py", "-c", _CONTRIB / "aiperf_orch_check.py"),
                *("-n", f"trainer={trainer}", "-r", *assigned),
            ],
            # the console scripts of this environment, as after loading a module
            env={**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        for log in re.findall(r"'(/\S*/rfm-\w+\.log)'", done.stdout):
            Path(log).unlink(missing_ok=True)
        cases = [case for run in json.loads(report.read_text())["runs"] for case in run["testcases"]]
        assert len(cases) == 1, done.stdout + done.stderr
        return cases[0] | {"output": done.stdout + done.stderr, "status": done.returncode}

    yield run
    for lock in (tmp_path / "reframe").glob("stage/**/controller.lock"):  # of a test that was interrupted
        holder = read_holder(lock)
        if holder and holder.alive():
            os.kill(holder.pid, signal.SIGKILL)
    shutil.rmtree(tmp_path / "reframe", ignore_errors=True)


@pytest.fixture
def site(write_site: Callable[..., Path]) -> Path:
    limits = {"cpus_per_task": 1, "memory": "1G", "time_limit": "10m", "query_interval": "500ms", "lookahead": 0}
    return write_site(scheduler__kind="slurm", **{f"scheduler__{name}": value for name, value in limits.items()})


@pytest.mark.parametrize("trainer", ["simulated", pytest.param("torch", marks=pytest.mark.long)])
def test_scores_of_a_campaign_are_performance_values(reframe: Any, site: Path, trainer: str) -> None:
    case = reframe(site, trainer, trials="2", settings="training.warmup_epochs=[2]")
    assert case["result"] == "pass", case["output"]
    assert case["status"] == 0
    values = {name.rpartition(":")[2]: value[0] for name, value in case["perfvalues"].items()}
    assert values.keys() == {"score", "regulated_score"}
    assert all(value > 0 for value in values.values())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs=none", "exit status of aiperf-orch: 2"),
        ("training.simulated.failure_rate=1", "exit status of aiperf-orch: 1"),
    ],
)
def test_a_campaign_that_fails_is_a_failed_test(reframe: Any, site: Path, setting: str, message: str) -> None:
    case = reframe(site, "simulated", trials="2", settings=setting)
    assert case["result"] == "fail", case["output"]
    assert case["fail_phase"] == "sanity"
    assert message in case["output"]
    assert case["status"] != 0
