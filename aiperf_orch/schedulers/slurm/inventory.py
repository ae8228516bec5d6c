"""What a Slurm cluster has: builders of sinfo and scontrol commands, and parsers of what they print. Runs nothing.

For `init` and `check`. Of the queue and of jobs is `queue`, of accounting and its limits `limits`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiperf_orch.schedulers.slurm.accounting_limits import Account, Association, Qos
from aiperf_orch.schedulers.slurm.squeue import on_cluster, parse_elapsed
from aiperf_orch.settings.schedulers import SlurmSettings

_NODE_FORMAT: Final = "%R|%T|%D|%c|%m|%G|%f"
_USABLE: Final = ("idle", "mixed", "allocated", "completing", "planned", "reserved", "powered_down", "powering_up")


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition. Times in seconds; None is no limit. `qos` has limits of the partition's own, and is empty without."""

    name: str
    is_default: bool
    state: str
    max_time: float | None
    max_nodes: int | None
    qos: str = ""


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Equal nodes of a partition: `memory` of each in MiB, `gpus` by type (an empty type where it has no name)."""

    partition: str
    state: str
    count: int
    cpus: int
    memory: int
    gpus: Mapping[str, int]
    features: tuple[str, ...] = ()

    @property
    def is_usable(self) -> bool:
        """Whether jobs run on them, now or when they are free; `*` and its like after the state are Slurm's notes."""
        return self.state.rstrip("*~#!%$@^-+").lower() in _USABLE and not self.state.endswith("*")

    @property
    def gpu_count(self) -> int:
        """GPUs of each node, of all types."""
        return sum(self.gpus.values())


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster has. Where accounting is off, or does not answer, `without_accounting` says so, None where it does.

    `associations` are this user's, `accounts` all that accounting shows to this user, by name; `default_account` is None
    where it is not known.
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
        """The cluster's name."""
        return self.config.get("ClusterName", "unknown")

    @property
    def version(self) -> str:
        """Slurm's version."""
        return self.config.get("SLURM_VERSION", "of an unknown version")


def partitions_command(cluster: str | None) -> list[str]:
    """Every partition that this user can see."""
    return ["scontrol", *on_cluster(cluster), "--all", "--oneliner", "show", "partition"]


def parse_partitions(output: str) -> Iterator[Partition]:
    """The partitions in `scontrol --oneliner show partition`."""
    for line in output.split("\n"):
        fields = dict(re.findall(r"(?:^|\s)(PartitionName|Default|State|MaxTime|MaxNodes|QoS)=(\S+)", line))
        if "PartitionName" in fields:
            yield Partition(
                fields["PartitionName"],
                fields.get("Default") == "YES",
                fields.get("State", ""),
                parse_elapsed(fields.get("MaxTime", "")),
                _number(fields.get("MaxNodes", "")),
                fields.get("QoS", "N/A").replace("N/A", ""),
            )


def chosen_partitions(settings: SlurmSettings, partitions: Sequence[Partition]) -> list[str]:
    """The names of the partitions that jobs go to: those of the site file, or the default one."""
    if settings.partition:
        return settings.partition.split(",")
    return [partition.name for partition in partitions if partition.is_default]


def nodes_command(cluster: str | None) -> list[str]:
    """The nodes of every partition, grouped by what they have and by their state."""
    return ["sinfo", "--all", "--noheader", "--exact", f"--format={_NODE_FORMAT}", *on_cluster(cluster)]


def parse_nodes(output: str) -> Iterator[NodeGroup]:
    """The groups of nodes in sinfo's output; lines of another form are passed over."""
    for line in output.split("\n"):
        fields = [field.strip() for field in line.split("|", 6)]
        if len(fields) != 7 or not fields[2].isdigit():
            continue
        partition, state, count, cpus, memory, gres, features = fields
        names = () if features in ("", "(null)") else tuple(features.split(","))
        # `4+` is what sinfo prints of nodes that differ: at least 4
        yield NodeGroup(
            partition,
            state,
            int(count),
            _number(cpus.rstrip("+")) or 0,
            _number(memory.rstrip("+")) or 0,
            parse_gpus(gres),
            names,
        )


def parse_gpus(gres: str) -> dict[str, int]:
    """GPUs by type in a list of generic resources, `gpu:a100:4(S:0-1),gpu:v100:2,nvme:1`; `gpu:4` has no type."""
    found: dict[str, int] = {}
    for item in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = item.strip().split(":")
        if name == "gpu":
            kind, count = (rest[0], rest[1]) if len(rest) > 1 else ("", rest[0] if rest else "1")
            if count.isdigit():
                found[kind] = found.get(kind, 0) + int(count)
    return found


def would_submit_command(script: str) -> list[str]:
    """Ask whether a script would be accepted; nothing is submitted."""
    return ["sbatch", "--test-only", script]


def parse_seconds(text: str) -> float | None:
    """Seconds of a time in Slurm's configuration, `300 sec`; None for anything else."""
    match = re.match(r"(\d+)\b", text)
    return float(match[1]) if match else None


def shortfalls(settings: SlurmSettings, group: NodeGroup) -> list[str]:
    """What a trial asks for and these nodes do not have."""
    shortfalls = []
    if settings.cpus_per_task and settings.cpus_per_task > group.cpus:
        shortfalls.append(f"cpus_per_task {settings.cpus_per_task}, {group.count} nodes have {group.cpus}")
    if _mebibytes(settings) > group.memory:
        shortfalls.append(f"memory {settings.memory}, {group.count} nodes have {group.memory}M")
    if settings.gpus_per_node and settings.gpus_per_node > _gpus(settings, group):
        kind = f" of type {settings.gpu_type}" if settings.gpu_type else ""
        has = ", ".join(f"{count} {name}".strip() for name, count in group.gpus.items()) or "none"
        shortfalls.append(f"gpus_per_node {settings.gpus_per_node}{kind}, {group.count} nodes have {has}")
    return shortfalls


def trials_per_node(settings: SlurmSettings, group: NodeGroup) -> int:
    """How many trials a node of the group can hold at once, as far as the site file says what one needs."""
    if settings.exclusive or settings.memory == "0":
        return 1
    bounds = [group.cpus // (settings.cpus_per_task or 1)]
    if _mebibytes(settings):
        bounds.append(group.memory // _mebibytes(settings))
    if settings.gpus_per_node:
        bounds.append(_gpus(settings, group) // settings.gpus_per_node)
    return min(bounds)


def taken(settings: SlurmSettings, groups: Sequence[NodeGroup]) -> dict[str, float | None]:
    """What one trial takes by Slurm's names of resources, memory in MiB; None of what is not known.

    Args:
        settings: the site's.
        groups: nodes that fit a trial; one that has a node for itself is counted with the smallest of them.
    """
    whole = settings.exclusive
    cpus: float = min((group.cpus for group in groups), default=0) if whole else settings.cpus_per_task or 1
    memory: float | None = _mebibytes(settings) or None  # without a word it is the partition's default
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
    """The memory that a trial asks for of each node, in MiB; 0 where it does not say, or takes all."""
    memory = settings.memory or "0"
    kibibytes = {"K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
    return int(memory[:-1]) * kibibytes[memory[-1]] // 1024 if memory != "0" else 0


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
