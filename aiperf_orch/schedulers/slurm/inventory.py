"""Inventory of a Slurm cluster: builders of sinfo and scontrol commands, and parsers of their output. Runs nothing.

For `init` and `check`. The queue and its jobs are in `squeue`, accounting and its limits in `accounting_limits`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiperf_orch.schedulers.slurm.accounting_limits import Account, Association, Qos
from aiperf_orch.schedulers.slurm.squeue import on_cluster, parse_elapsed
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util.whole_numbers import parse_whole_number

_NODE_FORMAT: Final = "%R|%T|%D|%c|%m|%G|%f"
_USABLE: Final = ("idle", "mixed", "allocated", "completing", "planned", "reserved", "powered_down", "powering_up")


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition.

    Attributes:
        name: its name.
        is_default: whether jobs without a partition are submitted to it.
        state: Slurm's word for its state, `UP` in service.
        max_time: maximum time limit of a job in seconds; None without a limit.
        max_nodes: maximum number of nodes of a job; None without a limit.
        qos: the QOS with the partition's limits; empty without one.
        min_nodes: minimum number of nodes of a job.
    """

    name: str
    is_default: bool
    state: str
    max_time: float | None
    max_nodes: int | None
    qos: str = ""
    min_nodes: int = 1


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Equal nodes of a partition: `memory` of each in MiB, `gpus` of each by type (empty for an unnamed type)."""

    partition: str
    state: str
    count: int
    cpus: int
    memory: int
    gpus: Mapping[str, int]
    features: tuple[str, ...] = ()

    @property
    def is_usable(self) -> bool:
        """Whether jobs run on them, now or once they are free; Slurm appends flags such as `*` to the state."""
        return self.state.rstrip("*~#!%$@^-+").lower() in _USABLE and not self.state.endswith("*")

    @property
    def gpu_count(self) -> int:
        """Number of GPUs of each node, of all types."""
        return sum(self.gpus.values())


@dataclass(frozen=True, slots=True)
class Cluster:
    """Inventory of a cluster.

    Attributes:
        config: `scontrol show config`.
        partitions: all partitions.
        nodes: groups of equal nodes.
        associations: this user's associations.
        qos: every QOS.
        without_accounting: why accounting is missing: it is disabled, or does not answer; None where it answers.
        accounts: by name, all accounts that this user can see.
        default_account: account of jobs that name none; None where it is not known.
    """

    config: Mapping[str, str]
    partitions: tuple[Partition, ...]
    nodes: tuple[NodeGroup, ...]
    associations: tuple[Association, ...] = ()
    qos: tuple[Qos, ...] = ()
    without_accounting: str | None = None
    accounts: Mapping[str, Account] = field(default_factory=dict)
    default_account: str | None = None

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self.config.get("ClusterName", "unknown")

    @property
    def version(self) -> str:
        """Version of Slurm."""
        return self.config.get("SLURM_VERSION", "of an unknown version")


def partitions_command(cluster: str | None) -> list[str]:
    """Show every partition, also hidden ones."""
    return ["scontrol", *on_cluster(cluster), "--all", "--oneliner", "show", "partition"]


def parse_partitions(output: str) -> Iterator[Partition]:
    """Parse `scontrol --oneliner show partition`."""
    for line in output.split("\n"):
        fields = dict(re.findall(r"(?:^|\s)(PartitionName|Default|State|MaxTime|MaxNodes|MinNodes|QoS)=(\S+)", line))
        if "PartitionName" in fields:
            yield Partition(
                fields["PartitionName"],
                fields.get("Default") == "YES",
                fields.get("State", ""),
                parse_elapsed(fields.get("MaxTime", "")),
                parse_whole_number(fields.get("MaxNodes", "")),
                fields.get("QoS", "N/A").replace("N/A", ""),
                parse_whole_number(fields.get("MinNodes", "")) or 1,
            )


def chosen_partitions(settings: SlurmSettings, partitions: Sequence[Partition]) -> list[str]:
    """Return the names of the jobs' partitions: those of the site file, or the default partition."""
    if settings.partition:
        return settings.partition.split(",")
    return [partition.name for partition in partitions if partition.is_default]


def nodes_command(cluster: str | None) -> list[str]:
    """List the nodes of every partition, grouped by hardware and state."""
    return ["sinfo", "--all", "--noheader", "--exact", f"--format={_NODE_FORMAT}", *on_cluster(cluster)]


def node_names_command(cluster: str | None) -> list[str]:
    """List the names of all nodes, one on each line for each of their partitions."""
    return ["sinfo", "--all", "--noheader", "--Node", "--format=%N", *on_cluster(cluster)]


def parse_node_names(output: str) -> list[str]:
    """Parse the output of `node_names_command`: each name once."""
    return list(dict.fromkeys(name for line in output.split("\n") if (name := line.strip()) and " " not in name))


def parse_nodes(output: str) -> Iterator[NodeGroup]:
    """Parse sinfo's output; lines of another format are skipped."""
    for line in output.split("\n"):
        fields = [field.strip() for field in line.split("|", 6)]
        if len(fields) != 7 or (count := parse_whole_number(fields[2])) is None:
            continue
        partition, state, _, cpus, memory, gres, features = fields
        names = () if features in ("", "(null)") else tuple(features.split(","))
        # sinfo prints `4+`, at least 4, for nodes that differ
        yield NodeGroup(
            partition,
            state,
            count,
            parse_whole_number(cpus.rstrip("+")) or 0,
            parse_whole_number(memory.rstrip("+")) or 0,
            parse_gpus(gres),
            names,
        )


def parse_gpus(gres: str) -> dict[str, int]:
    """Count GPUs by type in a GRES list, `gpu:a100:4(S:0-1),gpu:v100:2,nvme:1`; the type of `gpu:4` is empty."""
    found: dict[str, int] = {}
    for item in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = item.strip().split(":")
        if name == "gpu":
            match rest:
                case []:
                    kind, count = "", "1"
                case [count]:
                    kind = ""
                case [kind, count, *_]:
                    pass
            number = parse_whole_number(count)
            if number is not None:
                found[kind] = found.get(kind, 0) + number
    return found


def dry_run_command(script: str) -> list[str]:
    """Check whether sbatch would accept a script; submits nothing."""
    return ["sbatch", "--test-only", script]


def parse_seconds(text: str) -> float | None:
    """Parse a time in Slurm's configuration, `300 sec`; None for other text."""
    match = re.match(r"(\d+)\b", text)
    return float(match[1]) if match else None


def shortfalls(settings: SlurmSettings, group: NodeGroup) -> list[str]:
    """Return what a trial requests and these nodes do not have; empty where they fit a trial."""
    found = []
    if settings.cpus_per_task and settings.cpus_per_task > group.cpus:
        found.append(f"cpus_per_task {settings.cpus_per_task}, {group.count} nodes have {group.cpus}")
    if _mebibytes(settings) > group.memory:
        found.append(f"memory {settings.memory}, {group.count} nodes have {group.memory}M")
    if settings.gpus_per_node and settings.gpus_per_node > _gpus(settings, group):
        kind = f" of type {settings.gpu_type}" if settings.gpu_type else ""
        has = ", ".join(f"{count} {name}".strip() for name, count in group.gpus.items()) or "none"
        found.append(f"gpus_per_node {settings.gpus_per_node}{kind}, {group.count} nodes have {has}")
    return found


def trials_per_node(settings: SlurmSettings, group: NodeGroup) -> int:
    """Return how many trials fit on a node of the group, by the requests in the site file."""
    if settings.exclusive or settings.memory == "0":
        return 1
    bounds = [group.cpus // (settings.cpus_per_task or 1)]
    if _mebibytes(settings):
        bounds.append(group.memory // _mebibytes(settings))
    if settings.gpus_per_node:
        bounds.append(_gpus(settings, group) // settings.gpus_per_node)
    return min(bounds)


def requested_resources(settings: SlurmSettings, groups: Sequence[NodeGroup]) -> dict[str, float | None]:
    """Return the resources of one trial by Slurm's names, memory in MiB; None where the amount is not known.

    Args:
        settings: the site's settings.
        groups: nodes that fit a trial; a trial with exclusive nodes counts as the smallest of them.
    """
    cpus: float = settings.cpus_per_task or 1
    if settings.exclusive:
        cpus = min((group.cpus for group in groups), default=0)
    memory: float | None = _mebibytes(settings) or None  # None: the partition's default
    if settings.memory == "0":
        memory = min((group.memory for group in groups), default=None)
    gpus = settings.gpus_per_node or 0
    found: dict[str, float | None] = {
        "cpu": (cpus or None) and cpus * settings.nodes,
        "mem": memory and memory * settings.nodes,
        "node": settings.nodes,
        "gres/gpu": gpus * settings.nodes,
    }
    for kind in {kind for group in groups for kind in group.gpus if kind}:
        known = not gpus or settings.gpu_type is not None
        found[f"gres/gpu:{kind}"] = (gpus * settings.nodes if settings.gpu_type == kind else 0) if known else None
    return found


def _gpus(settings: SlurmSettings, group: NodeGroup) -> int:
    return group.gpus.get(settings.gpu_type, 0) if settings.gpu_type else group.gpu_count


def _mebibytes(settings: SlurmSettings) -> int:
    """Return the memory that a trial requests on each node, in MiB; 0 where it requests none, or all."""
    memory = settings.memory or "0"
    kibibytes = {"K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
    return int(memory[:-1]) * kibibytes[memory[-1]] // 1024 if memory != "0" else 0
