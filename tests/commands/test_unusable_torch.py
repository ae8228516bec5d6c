"""A missing, old or broken PyTorch: every command and every trial says so in one line, before anything else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.package.packing import write_package
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.torch_extra import ADVICE

Run = Callable[..., subprocess.CompletedProcess[str]]

_TEMPLATE = Path(__file__).parents[2] / "templates" / "local.sh.j2"
_MODULES = {
    "missing": ("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')", "torch is not installed ("),
    "old": ("__version__ = '2.6.0'", "torch 2.6.0 is too old: trials need 2.7 or later ("),
    "broken": ("raise OSError('libcudart.so:\\nnot found')", "torch cannot be imported: OSError: libcudart.so: not"),
}


@pytest.fixture(params=_MODULES)
def fault(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of the module that all processes of the test import in place of PyTorch."""
    code, message = _MODULES[request.param]
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "torch.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    return message


def test_check_names_the_fault_and_the_extra(fault: str, aiperf: Run, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("campaign: {concurrency: 1}\n")
    done = aiperf("check", tmp_path / "site.yaml", "--format", "json")
    assert done.returncode == 1
    [found] = [row for row in json.loads(done.stdout) if row["level"] == "fault"]
    assert found["subject"] == "torch"
    assert fault in found["message"]
    assert found["advice"] == ADVICE


@pytest.fixture
def without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process of the test finds PyTorch."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))


@pytest.mark.parametrize("option", [(), ("--detach",), ("--prepare",)])
def test_no_campaign_is_made_here_without_torch(
    option: tuple[str, ...], without_torch: None, aiperf: Run, tmp_path: Path
) -> None:
    (tmp_path / "site.yaml").write_text("campaign: {concurrency: 1}\n")
    done = aiperf("run", tmp_path / "site.yaml", "--campaign-dir", tmp_path / "campaign", *option)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: torch is not installed (")
    assert done.stderr.endswith(f"{ADVICE}\n")
    assert not (tmp_path / "campaign").exists()


@pytest.mark.parametrize(
    "site",
    [
        {"training": {"trainer": "simulated"}},
        {"scheduler": {"python": sys.executable}},
        {"scheduler": {"setup": [". /opt/ai/env.sh"]}},
        {"scheduler": {"template": str(_TEMPLATE)}},
        {"scheduler": {"kind": "agents"}},
    ],
    ids=["simulated", "python", "setup", "template", "agents"],
)
def test_a_campaign_whose_trials_need_no_torch_here_is_made(
    site: dict[str, object], without_torch: None, aiperf: Run, tmp_path: Path
) -> None:
    (tmp_path / "site.yaml").write_text(json.dumps(site))
    done = aiperf("run", tmp_path / "site.yaml", "--campaign-dir", tmp_path / "campaign", "--prepare")
    assert done.returncode == 0, done.stderr
    assert CampaignDirectory.exists(tmp_path / "campaign")


def test_a_campaign_that_exists_is_resumed_without_torch(without_torch: None, aiperf: Run, tmp_path: Path) -> None:
    CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    (tmp_path / "site.yaml").write_text("{}")
    done = aiperf("run", tmp_path / "site.yaml", "--campaign-dir", tmp_path / "campaign", "--prepare")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("fault", "job_per_trial"), [("missing", False), ("old", True)], indirect=["fault"])
def test_the_first_trial_pauses_the_campaign(fault: str, job_per_trial: bool, aiperf: Run, tmp_path: Path) -> None:
    site = {"scheduler": {"job_per_trial": job_per_trial}, "campaign": {"duration": "1h", "concurrency": 1}}
    (tmp_path / "site.yaml").write_text(json.dumps(site))
    done = aiperf("run", tmp_path / "site.yaml", "--campaign-dir", tmp_path / "campaign")
    assert done.returncode == 1
    paused = next(line for line in done.stderr.splitlines() if line.startswith("error: paused: trial 0 ended"))
    assert fault in paused
    assert ADVICE in paused
    for path in (tmp_path / "campaign").rglob("*"):  # logs of the trial and of its agent
        assert not path.is_file() or b"torch_check.py" not in path.read_bytes(), f"{path} has a traceback"


def test_a_trial_by_hand_ends_with_the_reason(fault: str, aiperf: Run, tmp_path: Path) -> None:
    directory = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    directory.write_spec(SearchAdapter(directory, []).propose(0, CampaignState())[0])
    done = aiperf("trial", directory.spec(0))
    assert done.returncode == 1
    [end] = map(json.loads, done.stdout.splitlines())
    assert (end["type"], end["reason"]) == ("end", "TRIAL_ERROR")
    assert fault in end["message"]
    assert end["message"].endswith(ADVICE)


def test_a_measurement_of_a_node_is_one_line(fault: str, aiperf: Run) -> None:
    done = aiperf("bench-node")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {fault}")
    assert len(done.stderr.splitlines()) == 1


def test_an_evaluation_is_one_line(fault: str, aiperf: Run, weighted_campaign: Any, tmp_path: Path) -> None:
    write_package(weighted_campaign, tmp_path / "p.tar.gz", with_pseudonyms=False, with_weights=True)
    done = aiperf("evaluate", tmp_path / "p.tar.gz")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {fault}")
    assert len(done.stderr.splitlines()) == 1
