"""Parsers of sinfo and scontrol: output recorded from Slurm 22.05.8, and other formats."""

from __future__ import annotations

from typing import Any

import pytest

from aiperf_orch.schedulers.slurm import inventory
from aiperf_orch.settings.schedulers import SlurmSettings

pytestmark = pytest.mark.unit

PARTITIONS = """\
PartitionName=main AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES QoS=N/A \
DefaultTime=00:10:00 \
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


def test_groups_of_nodes() -> None:
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
def test_states_of_nodes_in_service(state: str, usable: bool) -> None:
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
def test_gres_lists(gres: str, gpus: dict[str, int]) -> None:
    assert inventory.parse_gpus(gres) == gpus


def test_qos_of_a_partition() -> None:
    output = "PartitionName=main Default=YES QoS=part_main MaxTime=UNLIMITED State=UP MaxNodes=UNLIMITED AllowQos=ALL\n"
    assert [each.qos for each in inventory.parse_partitions(output + PARTITIONS)] == ["part_main", "", ""]


@pytest.mark.parametrize(
    ("settings", "resources"),
    [
        ({}, {"cpu": 1, "mem": None, "node": 1, "gres/gpu": 0, "gres/gpu:a100": 0, "gres/gpu:v100": 0}),
        ({"cpus_per_task": 4, "memory": "2G", "nodes": 3}, {"cpu": 12, "mem": 6144, "node": 3}),
        ({"exclusive": True, "memory": "0"}, {"cpu": 32, "mem": 256000}),
        ({"gpus_per_node": 2, "nodes": 2}, {"gres/gpu": 4, "gres/gpu:a100": None}),
        ({"memory": "2048K"}, {"mem": 2}),
        ({"memory": "3M"}, {"mem": 3}),
        ({"memory": "1T"}, {"mem": 1024**2}),
        ({"gpus_per_node": 2, "gpu_type": "a100", "nodes": 3}, {"gres/gpu": 6, "gres/gpu:a100": 6}),
        ({"gpus_per_node": 2, "gpu_type": "a100"}, {"gres/gpu": 2, "gres/gpu:a100": 2, "gres/gpu:v100": 0}),
    ],
)
def test_resources_of_one_trial(settings: dict[str, Any], resources: dict[str, float | None]) -> None:
    groups = [
        inventory.NodeGroup("gpu", "idle", 3, 64, 512000, {"a100": 4}),
        inventory.NodeGroup("gpu", "idle", 1, 32, 256000, {"v100": 2}),
    ]
    found = inventory.requested_resources(SlurmSettings.model_validate(settings), groups)
    assert {name: found[name] for name in resources} == resources


@pytest.mark.parametrize(("text", "seconds"), [("300 sec", 300.0), ("300", 300.0), ("UNLIMITED", None), ("", None)])
def test_times_in_the_configuration(text: str, seconds: float | None) -> None:
    assert inventory.parse_seconds(text) == seconds


GPU_NODES = inventory.NodeGroup("gpu", "idle", 3, 64, 512000, {"a100": 4, "v100": 2})


@pytest.mark.parametrize(
    ("settings", "shortfalls", "trials"),
    [
        ({}, [], 64),
        ({"cpus_per_task": 64}, [], 1),
        ({"cpus_per_task": 65}, ["cpus_per_task 65, 3 nodes have 64"], 0),
        ({"cpus_per_task": 10, "memory": "250G"}, [], 2),
        ({"memory": "512000M"}, [], 1),
        ({"memory": "512001M"}, ["memory 512001M, 3 nodes have 512000M"], 0),
        ({"memory": "1T"}, ["memory 1T, 3 nodes have 512000M"], 0),
        ({"memory": "0"}, [], 1),
        ({"exclusive": True}, [], 1),
        ({"gpus_per_node": 6}, [], 1),
        ({"gpus_per_node": 7}, ["gpus_per_node 7, 3 nodes have 4 a100, 2 v100"], 0),
        ({"gpus_per_node": 1, "gpu_type": "a100"}, [], 4),
        ({"gpus_per_node": 1, "gpu_type": "h100"}, ["gpus_per_node 1 of type h100, 3 nodes have 4 a100, 2 v100"], 0),
    ],
)
def test_nodes_that_fit_a_trial(settings: dict[str, Any], shortfalls: list[str], trials: int) -> None:
    checked = SlurmSettings.model_validate(settings)
    assert inventory.shortfalls(checked, GPU_NODES) == shortfalls
    assert inventory.trials_per_node(checked, GPU_NODES) == trials


def test_nodes_without_gpus_are_named() -> None:
    settings = SlurmSettings.model_validate({"gpus_per_node": 1})
    nodes = inventory.NodeGroup("cpu", "idle", 2, 64, 512000, {})
    assert inventory.shortfalls(settings, nodes) == ["gpus_per_node 1, 2 nodes have none"]


def test_partitions_of_jobs() -> None:
    partitions = list(inventory.parse_partitions(PARTITIONS))
    assert inventory.chosen_partitions(SlurmSettings(), partitions) == ["main"]
    assert inventory.chosen_partitions(SlurmSettings(partition="a,b"), partitions) == ["a", "b"]


def test_commands_include_hidden_partitions_and_the_cluster() -> None:
    for command in (inventory.partitions_command("big"), inventory.nodes_command("big")):
        assert {"--all", "--clusters=big"} <= set(command)
    assert "--test-only" in inventory.dry_run_command("job.sh")


@pytest.mark.parametrize(
    ("config", "name", "version"),
    [({"ClusterName": "big", "SLURM_VERSION": "23.11"}, "big", "23.11"), ({}, "unknown", "of an unknown version")],
)
def test_name_and_version_of_a_cluster(config: dict[str, str], name: str, version: str) -> None:
    cluster = inventory.Cluster(config, (), ())
    assert (cluster.name, cluster.version) == (name, version)


@pytest.mark.parametrize(
    ("line", "nodes"),
    [
        ("main|idle|x|4|16000|(null)|(null)", []),
        ("main|idle|2|4|16000|(null)", []),
        (
            "main|idle|2|n/a|n/a|(null)|a|b",
            [inventory.NodeGroup("main", "idle", 2, 0, 0, {}, ("a|b",))],
        ),
        (
            " main | mixed- | 2 | 4 | 16000+ | gpu:x | (null) ",
            [inventory.NodeGroup("main", "mixed-", 2, 4, 16000, {})],
        ),
    ],
)
def test_unusual_lines_of_sinfo(line: str, nodes: list[inventory.NodeGroup]) -> None:
    assert list(inventory.parse_nodes(line)) == nodes


@pytest.mark.parametrize("gpus", [{}, {"": 4}])
def test_gpus_without_a_type_are_no_resource_of_their_own(gpus: dict[str, int]) -> None:
    group = inventory.NodeGroup("gpu", "idle", 1, 8, 1000, gpus)
    found = inventory.requested_resources(SlurmSettings(gpus_per_node=1), [group])
    assert {name for name in found if name.startswith("gres/gpu:")} == set()
    assert group.gpu_count == sum(gpus.values())
    assert inventory.shortfalls(SlurmSettings(gpus_per_node=4), group) == (
        [] if gpus else ["gpus_per_node 4, 1 nodes have none"]
    )


def test_resources_without_known_nodes() -> None:
    settings = SlurmSettings.model_validate({"exclusive": True, "memory": "0", "nodes": 2})
    assert inventory.requested_resources(settings, []) == {"cpu": None, "mem": None, "node": 2, "gres/gpu": 0}
