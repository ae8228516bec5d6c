"""What Slurm says of itself, as recorded from 22.05.8, and what its other forms are read as."""

from __future__ import annotations

from typing import Any

import pytest

from aiperf_orch.schedulers.slurm import inventory
from aiperf_orch.settings.schedulers import SlurmSettings

PARTITIONS = """\
PartitionName=main AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES QoS=N/A DefaultTime=00:10:00 \
DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED MinNodes=0 LLN=NO \
MaxCPUsPerNode=UNLIMITED Nodes=n[1-4] PriorityJobFactor=1 PriorityTier=10 RootOnly=NO ReqResv=NO OverSubscribe=NO \
OverTimeLimit=NONE PreemptMode=OFF State=UP TotalCPUs=16 TotalNodes=4 SelectTypeParameters=NONE JobDefaults=(null)
PartitionName=short AllowGroups=ALL Default=NO QoS=N/A DefaultTime=00:01:00 MaxNodes=2 MaxTime=1-00:01:00 State=DRAIN
"""


def test_partitions() -> None:
    assert list(inventory.parse_partitions(PARTITIONS)) == [
        inventory.Partition("main", True, "UP", None, None),
        inventory.Partition("short", False, "DRAIN", 86460.0, 2),
    ]


def test_nodes() -> None:
    output = "CLUSTER: lab\nmain|idle|4|4|16000|gpu:fake:4|(null)\nmain|down*|1|64+|1|(null)|ib,nvlink\nrubbish\n"
    assert list(inventory.parse_nodes(output)) == [
        inventory.NodeGroup("main", "idle", 4, 4, 16000, {"fake": 4}),
        inventory.NodeGroup("main", "down*", 1, 64, 1, {}, ("ib", "nvlink")),
    ]


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        ("idle", True),
        ("mixed", True),
        ("allocated+", True),
        ("idle~", True),
        ("planned", True),
        ("idle*", False),
        ("down", False),
        ("down*", False),
        ("drained", False),
        ("draining", False),
        ("maint", False),
        ("inval", False),
        ("unknown", False),
    ],
)
def test_nodes_that_take_jobs(state: str, usable: bool) -> None:
    assert inventory.NodeGroup("p", state, 1, 1, 1, {}).is_usable is usable


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", {}),
        ("", {}),
        ("gpu", {"": 1}),
        ("gpu:4", {"": 4}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:2(S:0,3),gpu:v100:1,nvme:1", {"a100": 2, "v100": 1}),
        ("craynetwork:4,gpu:h100:8", {"h100": 8}),
    ],
)
def test_gpus(gres: str, gpus: dict[str, int]) -> None:
    assert inventory.parse_gpus(gres) == gpus


def test_a_partitions_qos() -> None:
    output = "PartitionName=main Default=YES QoS=part_main MaxTime=UNLIMITED State=UP MaxNodes=UNLIMITED AllowQos=ALL\n"
    assert [each.qos for each in inventory.parse_partitions(output + PARTITIONS)] == ["part_main", "", ""]


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({}, {"cpu": 1, "mem": None, "node": 1, "gres/gpu": 0, "gres/gpu:a100": 0, "gres/gpu:v100": 0}),
        ({"cpus_per_task": 4, "memory": "2G", "nodes": 3}, {"cpu": 12, "mem": 6144, "node": 3}),
        ({"exclusive": True, "memory": "0"}, {"cpu": 32, "mem": 256000}),
        ({"gpus_per_node": 2, "nodes": 2}, {"gres/gpu": 4, "gres/gpu:a100": None}),
        ({"gpus_per_node": 2, "gpu_type": "a100"}, {"gres/gpu": 2, "gres/gpu:a100": 2, "gres/gpu:v100": 0}),
    ],
)
def test_what_a_trial_takes(settings: dict[str, Any], taken: dict[str, float | None]) -> None:
    groups = [
        inventory.NodeGroup("gpu", "idle", 3, 64, 512000, {"a100": 4}),
        inventory.NodeGroup("gpu", "idle", 1, 32, 256000, {"v100": 2}),
    ]
    found = inventory.taken(SlurmSettings.model_validate(settings), groups)
    assert {name: found[name] for name in taken} == taken
