"""export-network: a plain module with weights that reproduces the recorded error without this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

_RUN_ALONE = """
import importlib.abc, runpy, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "aiperf_orch":
            raise ImportError("the exported files need nothing of this package")

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
runpy.run_path(sys.argv[1] + "/check.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def campaign_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of two short trials on digits."""
    folder = tmp_path_factory.mktemp("trained")
    site = folder / "site.yaml"
    settings = {"campaign": {"duration": "30m", "max_trials": 2, "concurrency": 1, "seed": 4, "keep_weights": 1}}
    site.write_text(yaml.safe_dump(settings | {"training": {"warmup_epochs": [2], "epochs": 2}}))
    command = [
        sys.executable,
        "-P",
        "-m",
        "aiperf_orch.cli",
        "run",
        str(site),
        "--campaign-dir",
        str(folder / "campaign"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "campaign"


def _check(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the check of an exported network where this package cannot be imported."""
    command = [sys.executable, "-P", "-c", _RUN_ALONE, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_exported_network_reproduces_the_recorded_error(campaign_path: Path, tmp_path: Path, aiperf: Any) -> None:
    done = aiperf("export-network", campaign_path, "--output", tmp_path / "network")
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "network").iterdir()) == [
        "README.md", "check.py", "network.py", "weights.safetensors",
    ]  # fmt: skip
    checked = _check(tmp_path / "network")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "the recorded error comes out" in checked.stdout
    assert " in fp32 on " in checked.stdout


def test_the_check_finds_other_weights(campaign_path: Path, tmp_path: Path, aiperf: Any) -> None:
    from safetensors.numpy import load_file, save_file

    aiperf("export-network", campaign_path, "--output", tmp_path / "network")
    weights = load_file(tmp_path / "network" / "weights.safetensors")
    weights["dense1.weight"] = -weights["dense1.weight"]
    save_file(weights, tmp_path / "network" / "weights.safetensors")
    checked = _check(tmp_path / "network")
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert "THE RECORDED ERROR DOES NOT COME OUT" in checked.stdout


def test_what_cannot_be_exported_is_refused(campaign_path: Path, tmp_path: Path, aiperf: Any) -> None:
    def refused(*arguments: str) -> str:
        done = aiperf("export-network", campaign_path, "--output", tmp_path / "network", *arguments)
        assert done.returncode == 2, done.stdout
        assert not (tmp_path / "network" / "network.py").exists()
        return str(done.stderr)

    assert "has no trial 7: its trials are 0 to 1" in refused("--trial", "7")
    for weights in (campaign_path / "weights").glob("*.safetensors"):
        kept = weights.with_suffix(".kept")
        weights.rename(kept)
        assert "the weights of trial" in refused("--trial", str(int(weights.stem)))
        weights.write_bytes(kept.read_bytes()[:-1] + b"\0")
        assert "is not the file whose SHA-256 the end line of trial" in refused("--trial", str(int(weights.stem)))
        kept.replace(weights)
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "other").touch()
    assert "exists: name a new folder" in refused()


def test_a_simulated_campaign_has_no_network(campaign: Any, tmp_path: Path, aiperf: Any) -> None:
    made = campaign()
    made.trial(0, [(5, 0.2)])
    done = aiperf("export-network", made.directory.path, "--output", tmp_path / "network")
    assert done.returncode == 2
    assert "its trials were simulated: no network was trained" in done.stderr
