"""Draft of a site file for a Slurm cluster from its inventory. Runs no commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from aiperf_orch.schedulers.draft_part import DraftPart
from aiperf_orch.schedulers.script_rendering import render_script
from aiperf_orch.schedulers.slurm.accounting_limits import Association, Qos
from aiperf_orch.schedulers.slurm.inventory import Cluster, NodeGroup, Partition, trials_per_node
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util.units import format_duration

_DEFAULT_TIME_LIMIT: Final = 4 * 3600.0  # seconds, the settings' default
_MAX_CONCURRENCY: Final = 100_000


def draft(cluster: Cluster, file: str, part: Callable[[SlurmSettings, int], DraftPart] | None = None) -> str:
    """Return the text of a site file, with alternatives as comments.

    One trial gets one GPU and its share of the node; on a cluster without GPUs it gets a whole node.

    Args:
        cluster: the cluster's inventory.
        file: path of the site file, for the instructions in it.
        part: returns the part `allocations` for settings of a trial and a number of concurrent trials; None for none.
    """
    partition = choose_partition(cluster)
    nodes = [group for group in cluster.nodes if partition and group.partition == partition.name]
    settings = trial_allocation(partition, nodes)
    slots = sum(group.count * trials_per_node(settings, group) for group in nodes if group.is_usable)
    concurrency = min(max(slots, 1), _MAX_CONCURRENCY)
    return render_script(
        "site_slurm.yaml.j2",
        None,
        file=file,
        cluster=cluster,
        site=settings,
        partitions=[(each.name, _describe(each, cluster)) for each in _chosen_first(cluster.partitions, partition)],
        gpu_types=list(_gpu_types(nodes)),
        time_limit=format_duration(settings.time_limit),
        warn_before=format_duration(settings.warn_before),
        slots=slots,
        concurrency=concurrency,
        part=part(settings, concurrency) if part else None,
        features=sorted({feature for group in nodes for feature in group.features}),
        accounts=_default_first(cluster),
        qos=[(each.name, _describe_qos(each)) for each in cluster.qos if each.name in _qos_names(cluster.associations)],
    )


def choose_partition(cluster: Cluster) -> Partition | None:
    """Choose a partition: in service, with GPUs, the default one, the largest; earlier criteria weigh more."""

    def priority(partition: Partition) -> tuple[bool, bool, bool, int]:
        groups = [group for group in cluster.nodes if group.partition == partition.name]
        return (
            partition.state == "UP",
            any(group.gpu_count for group in groups),
            partition.is_default,
            sum(group.count for group in groups),
        )

    return max(cluster.partitions, key=priority, default=None)


def trial_allocation(partition: Partition | None, nodes: Sequence[NodeGroup]) -> SlurmSettings:
    """Return one trial's allocation in a partition: one GPU and its share of the most frequent node, or all of it."""
    longest = partition.max_time if partition and partition.max_time else _DEFAULT_TIME_LIMIT
    time_limit = min(_DEFAULT_TIME_LIMIT, longest)
    fields: dict[str, object] = {
        "partition": partition.name if partition else None,
        "time_limit": f"{time_limit:.0f}s",
        "warn_before": f"{min(120.0, time_limit / 4):.0f}s",
    }
    types = _gpu_types(nodes)
    kind = next(iter(types), None)
    fitting = [group for group in nodes if kind is None or kind in group.gpus]
    typical = max(fitting, key=lambda group: group.count, default=None)
    if typical is not None:
        share = typical.gpus[kind] if kind is not None else 1
        fields["cpus_per_task"] = max(typical.cpus // share, 1)
        if kind is None:
            fields |= {"exclusive": True, "memory": "0"}
        else:
            fields |= {"gpus_per_node": 1, "gpu_type": kind or None}
            if typical.memory > share:  # Slurm shows 1 where the memory is not configured
                fields["memory"] = f"{typical.memory // share}M"
    return SlurmSettings.model_validate(fields)


def _gpu_types(nodes: Sequence[NodeGroup]) -> dict[str, int]:
    """Count the GPUs of all nodes by type, the most frequent first."""
    counts: Counter[str] = Counter()
    for group in nodes:
        counts.update({kind: group.count * number for kind, number in group.gpus.items()})
    return dict(counts.most_common())


def _chosen_first(partitions: Sequence[Partition], chosen: Partition | None) -> list[Partition]:
    return sorted(partitions, key=lambda partition: partition is not chosen)


def _describe(partition: Partition, cluster: Cluster) -> str:
    groups = [group for group in cluster.nodes if group.partition == partition.name]
    kinds: Counter[str] = Counter()
    for group in groups:
        gpus = "".join(f", {number} GPUs {kind}".rstrip() for kind, number in group.gpus.items())
        kinds[f"{group.cpus} cores, {group.memory / 1024:.3g} GiB{gpus}"] += group.count
    parts = [f"{number} nodes with {kind}" for kind, number in kinds.most_common()] or ["no nodes"]
    if partition.max_time is None:
        parts.append("jobs of any length")
    else:
        parts.append(f"jobs up to {format_duration(partition.max_time)}")
    if partition.is_default:
        parts.append("the default")
    if partition.state != "UP":
        parts.append(f"now {partition.state}")
    return "; ".join(parts)


def _qos_names(associations: Sequence[Association]) -> set[str]:
    return {name for each in associations for name in each.qos}


def _describe_qos(qos: Qos) -> str:
    """Describe the limits of a QOS: the common ones in words, the names of the others."""
    parts = [
        text.format(format_duration(limit.amount) if name == "MaxWall" else f"{limit.amount:g}")
        for name, text in _LIMIT_TEXTS.items()
        for limit in qos.limits
        if limit.name == name
    ]
    others = [limit.name for limit in qos.limits if limit.name not in _LIMIT_TEXTS]
    if others:
        parts.append(f"also {', '.join(dict.fromkeys(others))}")
    return ", ".join(parts) or "no limits"


_LIMIT_TEXTS: Final = {
    "MaxJobsPerUser": "{} running jobs of a user",
    "MaxSubmitJobsPerUser": "{} in the queue",
    "MaxWall": "jobs up to {}",
}


def _default_first(cluster: Cluster) -> list[str]:
    """Return the user's accounts, the default account first."""
    names = sorted({each.account for each in cluster.associations})
    return sorted(names, key=lambda name: name != cluster.default_account)
