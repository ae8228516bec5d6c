"""What `check` asks Slurm itself: does it answer, is there such a partition, account and QOS, do their limits suffice."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aiperf_orch.doctor.findings import Finding, fault, ok, warning
from aiperf_orch.doctor.slurm_limits import judge_limits
from aiperf_orch.schedulers.command import run_command
from aiperf_orch.schedulers.slurm import inventory, squeue
from aiperf_orch.schedulers.slurm.error_messages import ErrorClass, classify
from aiperf_orch.schedulers.slurm.scheduler import PROGRAMS
from aiperf_orch.schedulers.slurm.survey import survey
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.job_files import SCRIPT
from aiperf_orch.util.units import format_duration


def checks(settings: SlurmSettings, concurrency: int, duration: float, script: str) -> Iterator[Finding]:
    """Everything that Slurm can tell before a job runs.

    Args:
        settings: the site's.
        concurrency: how many trials shall run at once.
        duration: seconds that the campaign takes.
        script: the batch script of a trial.

    Raises:
        SchedulerUnreachableError: when Slurm does not answer.
    """
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        raise SchedulerUnreachableError(f"{', '.join(missing)}: not found here")
    cluster = survey(settings.cluster, timeout=settings.command_timeout)
    yield ok("scheduler", f"Slurm {cluster.version} answers, cluster {cluster.name}")
    yield from judge_partitions(settings, cluster.partitions)
    chosen = inventory.chosen_partitions(settings, cluster.partitions)
    yield from judge_nodes(settings, concurrency, [group for group in cluster.nodes if group.partition in chosen])
    yield _would_submit(settings, script)
    yield from judge_config(settings, concurrency, cluster.config)
    if cluster.without_accounting is None:
        yield from judge_account(settings, concurrency, duration, cluster)
    elif squeue.is_accounted(cluster.config):
        yield warning("account", cluster.without_accounting, "accounts, QOS and their limits were not checked")


def judge_partitions(settings: SlurmSettings, partitions: Sequence[inventory.Partition]) -> Iterator[Finding]:
    """Whether each partition is there, is up, and lets a trial run so long on so many nodes."""
    known = {partition.name: partition for partition in partitions}
    if not settings.partition and not inventory.chosen_partitions(settings, partitions):
        yield fault("partition", "Slurm has no default one", f"set scheduler.partition: one of {', '.join(known)}")
    for name in inventory.chosen_partitions(settings, partitions):
        partition = known.get(name)
        if partition is None:
            yield fault(
                "partition", f"{name}: there is none here", f"set scheduler.partition: one of {', '.join(known)}"
            )
        elif partition.state != "UP":
            yield fault(
                "partition", f"{name}: is {partition.state}", "wait for it, or set scheduler.partition to another"
            )
        elif partition.max_time is not None and settings.time_limit > partition.max_time:
            yield fault(
                "partition",
                f"{name}: a job may take {format_duration(partition.max_time)}, "
                f"and scheduler.time_limit is {format_duration(settings.time_limit)}",
                f"set scheduler.time_limit: {format_duration(partition.max_time)} or less: "
                "a trial that needs more goes on in another job",
            )
        elif partition.max_nodes is not None and settings.nodes > partition.max_nodes:
            yield fault(
                "partition",
                f"{name}: a job may have {partition.max_nodes} nodes, and scheduler.nodes is {settings.nodes}",
                f"set scheduler.nodes: {partition.max_nodes} or less",
            )
        else:
            limit = "any time" if partition.max_time is None else f"up to {format_duration(partition.max_time)}"
            yield ok("partition", f"{name}: up, jobs may take {limit}")


def judge_nodes(settings: SlurmSettings, concurrency: int, nodes: Sequence[inventory.NodeGroup]) -> Iterator[Finding]:
    """Whether the partition's nodes have what a trial asks for, and are so many that all trials can run at once.

    Args:
        settings: the site's.
        concurrency: how many trials shall run at once.
        nodes: those of the partitions that jobs go to.
    """
    if not nodes:
        return
    fitting = [group for group in nodes if not inventory.shortfalls(settings, group)]
    if not fitting:
        lacks = sorted({lack for group in nodes for lack in inventory.shortfalls(settings, group)})
        yield fault(
            "nodes", f"no node has what a trial asks for: {'; '.join(lacks)}", "ask for less, or another partition"
        )
        return
    usable = sum(group.count for group in fitting if group.is_usable)
    total = sum(group.count for group in fitting)
    slots = (
        sum(group.count * inventory.trials_per_node(settings, group) for group in fitting if group.is_usable)
        // settings.nodes
    )
    message = f"{usable} of {total} that fit a trial are in service; room for {slots} trials at once"
    if usable < settings.nodes:
        yield fault(
            "nodes", f"{message}, a trial needs {settings.nodes}", "see `sinfo -R` for why nodes are not in service"
        )
    elif slots < concurrency:
        yield warning(
            "nodes",
            f"{message}, and campaign.concurrency is {concurrency}",
            f"set campaign.concurrency: {max(slots, 1)}",
        )
    else:
        yield ok("nodes", message)


def judge_config(settings: SlurmSettings, concurrency: int, config: Mapping[str, str]) -> Iterator[Finding]:
    """Whether Slurm remembers an ended job long enough, and takes so many jobs."""
    age = inventory.parse_seconds(config.get("MinJobAge", ""))
    needed = settings.silent_after + settings.query_interval + settings.lost_after
    accounted = squeue.is_accounted(config)
    yield ok(
        "accounting",
        "on: sacct tells how jobs ended"
        if accounted
        else "off: squeue and scontrol tell how jobs ended, for MinJobAge",
    )
    if age and age < needed:
        message = f"Slurm forgets an ended job after {format_duration(age)}, and it may be asked {format_duration(needed)} later"
        advice = f"lower scheduler.silent_after, query_interval or lost_after, or raise MinJobAge to {needed:.0f}"
        if accounted:
            yield ok("MinJobAge", f"{message}: sacct tells then")
        else:
            yield warning("MinJobAge", f"{message}: why a job died may stay unknown (LOST)", advice)
    else:
        yield ok("MinJobAge", f"{format_duration(age)}" if age else "ended jobs are never forgotten")
    jobs = config.get("MaxJobCount", "")
    wanted = concurrency + settings.lookahead
    if jobs.isdigit() and int(jobs) < wanted:
        yield warning(
            "limits",
            f"the cluster takes {jobs} jobs in all, and {wanted} shall be in the queue",
            f"set campaign.concurrency below {jobs}",
        )
    arrays = int(config["MaxArraySize"]) if config.get("MaxArraySize", "").isdigit() else 0
    if arrays > 1:
        yield ok("arrays", f"up to {arrays:,} jobs are submitted at once")
    else:
        yield ok("arrays", "none here (MaxArraySize): jobs are submitted one by one")


def judge_account(
    settings: SlurmSettings, concurrency: int, duration: float, cluster: inventory.Cluster
) -> Iterator[Finding]:
    """Whether account and QOS may be used, and their limits suffice."""
    associations, enforced = cluster.associations, cluster.config.get("AccountingStorageEnforce", "")
    if not associations:
        if "associations" in enforced:
            yield fault("account", "accounting knows no account of yours here", "ask the administrators for one")
        else:
            yield ok("account", "accounting knows none of yours, and none is needed")
        return
    accounts = sorted({each.account for each in associations})
    mine = [each for each in associations if settings.account in (None, each.account)]
    if not mine:
        yield fault(
            "account", f"{settings.account}: is none of yours", f"set scheduler.account: one of {', '.join(accounts)}"
        )
        return
    allowed = sorted({name for each in mine for name in each.qos})
    if settings.qos and allowed and settings.qos not in allowed:
        yield fault("qos", f"{settings.qos}: you may not use it", f"set scheduler.qos: one of {', '.join(allowed)}")
        return
    default = f"{cluster.default_account}, the default one" if cluster.default_account else "the default one"
    yield ok("account", f"{settings.account or default}, of {', '.join(accounts)}")
    yield from judge_limits(
        settings, concurrency, duration, cluster, inventory.chosen_partitions(settings, cluster.partitions)
    )


def _would_submit(settings: SlurmSettings, script: str) -> Finding:
    """What Slurm says of the script of a trial."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / SCRIPT
        file.write_text(script, encoding="utf-8")
        answer = run_command(
            inventory.would_submit_command(file.name), timeout=settings.command_timeout, folder=file.parent
        )
    said = answer.error_line.removeprefix("sbatch: ").removeprefix("error: ")
    if answer.status == 0:
        return ok("sbatch", f"would take a trial's script: {said.partition(' ')[2] or said}")
    match classify(answer.error_text):
        case ErrorClass.UNREACHABLE:
            raise SchedulerUnreachableError(f"sbatch failed: {said}")
        case ErrorClass.FULL:
            return warning("sbatch", f"takes no job now: {said}", "jobs of yours in the queue must end first")
        case _:
            return fault(
                "sbatch",
                f"refuses a trial's script: {said}",
                "see the script with `aiperf-orch render` and change the site file",
            )
