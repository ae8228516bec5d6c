"""Classes of jobs of a Slurm cluster, each a partition with a QOS, and which way to run trials fits them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiperf_orch.doctor import way_to_run
from aiperf_orch.doctor.findings import Finding
from aiperf_orch.doctor.slurm_limit_checks import collect_limits
from aiperf_orch.doctor.way_to_run import Bound, JobClass, Trials
from aiperf_orch.schedulers.draft_part import DraftPart
from aiperf_orch.schedulers.slurm import inventory
from aiperf_orch.schedulers.slurm.accounting_limits import Limit, LimitKind
from aiperf_orch.settings.allocation_job import trial_job
from aiperf_orch.settings.schedulers import SlurmSettings


def check_way(
    settings: SlurmSettings, concurrency: int, duration: float, cluster: inventory.Cluster
) -> Iterator[Finding]:
    """Report which of the two ways to run trials fits the cluster's limits, and why."""
    trials = trials_of(settings, concurrency, duration, cluster)
    yield from way_to_run.check_way(settings, trials, job_classes(settings, cluster))


def draft_part(settings: SlurmSettings, concurrency: int, duration: float, cluster: inventory.Cluster) -> DraftPart:
    """The part `allocations` of a new site file."""
    return way_to_run.draft_part(trials_of(settings, concurrency, duration, cluster), job_classes(settings, cluster))


def trials_of(settings: SlurmSettings, concurrency: int, duration: float, cluster: inventory.Cluster) -> Trials:
    """What the trials need of nodes that most jobs in the chosen partitions get."""
    trial = trial_job(settings)
    chosen = inventory.chosen_partitions(settings, cluster.partitions)
    groups = [group for group in _fitting(trial, cluster) if group.partition in chosen]
    typical = max(groups, key=lambda group: group.count, default=None)
    amounts = {"cpus_per_node": trial.cpus_per_task, "gpus_per_node": trial.gpus_per_node}
    shares = inventory.trials_per_node(trial, typical) if typical and any(amounts.values()) else 1
    if trial.nodes > 1 or shares <= 1:
        return Trials(concurrency, trial.nodes, duration)
    keys = {key: amount * shares for key, amount in amounts.items() if amount}
    return Trials(concurrency, trial.nodes, duration, shares, keys)


def job_classes(settings: SlurmSettings, cluster: inventory.Cluster) -> list[JobClass]:
    """Partitions that are up and have nodes for a trial, with each QOS of the user; those of the site file first."""
    trial = trial_job(settings)
    chosen = inventory.chosen_partitions(settings, cluster.partitions)
    partitions = [each for each in cluster.partitions if each.state == "UP"]
    partitions.sort(key=lambda each: each.name not in chosen)
    found = []
    for partition in partitions:
        nodes = sum(group.count for group in _fitting(trial, cluster) if group.partition == partition.name)
        if not nodes:
            continue
        for qos in _names_of_qos(settings, cluster):
            keys = {} if partition.name in chosen else {"partition": partition.name}
            if qos is not None and qos != settings.qos:
                keys["qos"] = qos
            changed = trial.model_copy(update={"partition": partition.name, "qos": qos})
            found.append(_job_class(changed, partition, nodes, keys, cluster))
    return sorted(found, key=lambda each: bool(each.keys))


def _job_class(
    settings: SlurmSettings,
    partition: inventory.Partition,
    nodes: int,
    keys: dict[str, str],
    cluster: inventory.Cluster,
) -> JobClass:
    limits: Sequence[Limit] = ()
    if "limits" in cluster.config.get("AccountingStorageEnforce", ""):
        limits = collect_limits(settings, cluster, [partition.name]).limits
    per_job = [limit for limit in limits if limit.resource == "node"]
    most = [limit.amount for limit in per_job if limit.kind is LimitKind.PER_JOB]
    least = [limit.amount for limit in per_job if limit.kind is LimitKind.MIN_PER_JOB]
    times = [limit.amount for limit in limits if limit.kind is LimitKind.WALL]
    qos = f", QOS {settings.qos}" if settings.qos else ""
    return JobClass(
        f"partition {partition.name}{qos}",
        keys,
        max([partition.min_nodes, *(int(amount) for amount in least)]),
        min([partition.max_nodes or nodes, *(int(amount) for amount in most)]),
        min([*([] if partition.max_time is None else [partition.max_time]), *times], default=None),
        _tightest(limits, LimitKind.RUNNING),
        _tightest(limits, LimitKind.QUEUED),
        nodes,
    )


def _tightest(limits: Sequence[Limit], kind: LimitKind) -> Bound | None:
    bounds = [Bound(int(limit.amount), str(limit)) for limit in limits if limit.kind is kind]
    return min(bounds, key=lambda bound: bound.jobs, default=None)


def _names_of_qos(settings: SlurmSettings, cluster: inventory.Cluster) -> list[str | None]:
    """The QOS of the site file, None for the default one, then the user's others with limits of their own.

    The QOS of a partition holds there in any case.
    """
    mine = [each for each in cluster.associations if settings.account in (None, each.account)]
    allowed = {name for each in mine for name in each.qos}
    known = {each.default_qos for each in mine} | {settings.qos or "normal"} | {each.qos for each in cluster.partitions}
    return [settings.qos, *sorted(each.name for each in cluster.qos if each.name in allowed - known and each.limits)]


def _fitting(trial: SlurmSettings, cluster: inventory.Cluster) -> Iterator[inventory.NodeGroup]:
    return (group for group in cluster.nodes if not inventory.shortfalls(trial, group))
