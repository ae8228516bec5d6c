"""Energy of an epoch on two nodes: real processes, each with a stand-in for NVIDIA's library; both nodes count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.records.events import NodeMeasurements
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.trial.runtime.telemetry import combine_nodes

_DEADLINE = 240  # seconds
# each reading of the counter adds as many millijoules as the variable STEP of the task says
_PYNVML = """
import itertools, os
counter = itertools.count(0, int(os.environ["STEP"]))
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(handle): return "GPU-aaaa"
def nvmlDeviceGetTotalEnergyConsumption(handle):
    return next(counter)
"""


def test_the_energy_of_an_epoch_is_that_of_all_nodes(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "pynvml.py").write_text(_PYNVML)
    settings = SiteSettings.model_validate({"training": {"warmup_epochs": [1]}})
    directory = CampaignDirectory.create(tmp_path / "campaign", settings, {})
    directory.write_spec(SearchAdapter(directory, []).propose(0, CampaignState())[0])
    directory.job_folder(0, 1).mkdir(parents=True)
    command = [sys.executable, "-P", "-m", "aiperf_orch.trial", str(directory.spec(0)), "--attempt", "1"]
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path / "library"),
        "AIPERF_ORCH_HOSTS": "n1,n2",
        "AIPERF_ORCH_WORKERS": "1",
        "AIPERF_ORCH_INTERFACE": "lo",
        "SLURM_CPUS_ON_NODE": "0",  # so that this machine's processors are not counted
    }
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    steps = ["1", "1000000000"]
    tasks = [
        subprocess.Popen(command, env=environment | {"AIPERF_ORCH_RANK": str(rank), "STEP": step})
        for rank, step in enumerate(steps)
    ]
    assert [task.wait(_DEADLINE) for task in tasks] == [0, 0]
    events = [json.loads(line) for line in directory.events(0, 1, 0).read_text().splitlines()]
    epoch = next(event for event in events if event["type"] == "epoch")
    assert epoch["energy_of"] == "accelerators"
    assert epoch["energy"] > 1e6
    assert epoch["energy"] % 1e6 > 0
    for host in ("n1", "n2"):
        lines = directory.telemetry(0, 1, host).read_text().splitlines()
        assert json.loads(lines[0])["energy_joules"] is not None


GPUS = NodeMeasurements(energy=2.0, energy_of="accelerators")
GPUS_AND_CPUS = NodeMeasurements(energy=3.0, energy_of="accelerators+processors")
UNKNOWN = NodeMeasurements()


@pytest.mark.parametrize(
    ("nodes", "combined"),
    [
        ([GPUS, GPUS], NodeMeasurements(energy=4.0, energy_of="accelerators")),
        ([GPUS, GPUS_AND_CPUS], UNKNOWN),
        ([GPUS, UNKNOWN], UNKNOWN),
        ([], UNKNOWN),
    ],
)
def test_energy_is_summed_only_if_all_nodes_measured_the_same_parts(
    nodes: list[NodeMeasurements], combined: NodeMeasurements
) -> None:
    assert combine_nodes(nodes) == combined
