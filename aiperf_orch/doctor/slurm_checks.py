"""Checks of Slurm from the login node: partitions, nodes, configuration, account, QOS, and a test submission."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aiperf_orch.doctor import slurm_job_classes
from aiperf_orch.doctor.findings import Finding, fault, ok, warning
from aiperf_orch.doctor.job_words import ALLOCATION, TRIAL, JobWords
from aiperf_orch.doctor.slurm_limit_checks import check_limits
from aiperf_orch.schedulers.command import run_command
from aiperf_orch.schedulers.slurm import inventory, squeue
from aiperf_orch.schedulers.slurm.error_messages import ErrorClass, classify
from aiperf_orch.schedulers.slurm.scheduler import PROGRAMS
from aiperf_orch.schedulers.slurm.survey import survey
from aiperf_orch.settings.allocation_job import allocation_job
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.job_files import SCRIPT
from aiperf_orch.util.units import format_duration
from aiperf_orch.util.whole_numbers import parse_whole_number


def checks(settings: SlurmSettings, concurrency: int, duration: float, script: str) -> Iterator[Finding]:
    """Run all checks that need no job.

    Args:
        settings: scheduler settings of the site.
        concurrency: number of trials that run at the same time.
        duration: duration of the campaign in seconds.
        script: batch script of a job: of a trial, or of an allocation.

    Raises:
        SchedulerUnreachableError: if Slurm does not answer.
    """
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        raise SchedulerUnreachableError(f"{', '.join(missing)}: not found on PATH")
    cluster = survey(settings.cluster, timeout=settings.command_timeout)
    yield ok("scheduler", f"Slurm {cluster.version} answers, cluster {cluster.name}")
    job, words, jobs = allocation_job(settings), TRIAL, concurrency
    if settings.allocations:
        words, jobs = ALLOCATION, settings.allocations.at_once
    yield from check_partitions(job, cluster.partitions, words)
    chosen = inventory.chosen_partitions(settings, cluster.partitions)
    yield from check_nodes(job, jobs, [group for group in cluster.nodes if group.partition in chosen], words)
    yield _check_script(settings, script, words)
    yield from check_config(settings, jobs, cluster.config, words)
    if cluster.without_accounting is None:
        yield from check_account(job, jobs, duration, cluster, words)
    elif squeue.is_accounted(cluster.config):
        yield warning("account", cluster.without_accounting, "accounts, QOS and their limits were not checked")
    yield from slurm_job_classes.check_way(settings, concurrency, duration, cluster)


def check_partitions(
    settings: SlurmSettings, partitions: Sequence[inventory.Partition], words: JobWords = TRIAL
) -> Iterator[Finding]:
    """Check that each partition exists, is up, and allows the time limit and nodes of a job.

    Args:
        settings: settings that request the job.
        partitions: all partitions of the cluster.
        words: what the job is.
    """
    known = {partition.name: partition for partition in partitions}
    chosen = inventory.chosen_partitions(settings, partitions)
    others = f"set scheduler.partition: one of {', '.join(known)}"
    if not settings.partition and not chosen:
        yield fault("partition", "Slurm has no default partition", others)
    for name in chosen:
        partition = known.get(name)
        if partition is None:
            yield fault("partition", f"{name}: does not exist", others)
        else:
            yield _check_partition(settings, partition, words)


def _check_partition(settings: SlurmSettings, partition: inventory.Partition, words: JobWords) -> Finding:
    name = partition.name
    if partition.state != "UP":
        return fault("partition", f"{name}: is {partition.state}", "wait until it is up, or set another partition")
    if partition.max_time is not None and settings.time_limit > partition.max_time:
        longest = format_duration(partition.max_time)
        return fault(
            "partition",
            f"{name}: its time limit is {longest}, and {words.time_limit} is {format_duration(settings.time_limit)}",
            f"set {words.time_limit}: {longest} or less: {words.longer}",
        )
    if partition.max_nodes is not None and settings.nodes > partition.max_nodes:
        return fault(
            "partition",
            f"{name}: allows {partition.max_nodes} nodes per job, and {words.keys['node']} is {settings.nodes}",
            f"set {words.keys['node']}: {partition.max_nodes} or less",
        )
    limit = (
        "without a time limit" if partition.max_time is None else f"time limit {format_duration(partition.max_time)}"
    )
    return ok("partition", f"{name}: up, {limit}")


def check_nodes(
    settings: SlurmSettings, concurrency: int, nodes: Sequence[inventory.NodeGroup], words: JobWords = TRIAL
) -> Iterator[Finding]:
    """Check that nodes have the resources of a job, and enough of them to run all jobs at the same time.

    Args:
        settings: settings that request the job.
        concurrency: number of jobs that run at the same time.
        nodes: nodes of the chosen partitions.
        words: what the jobs are.
    """
    if not nodes:
        return
    fitting = [group for group in nodes if not inventory.shortfalls(settings, group)]
    if not fitting:
        shortfalls = sorted({each for group in nodes for each in inventory.shortfalls(settings, group)})
        message = f"no node has the resources of {words.job}: {'; '.join(shortfalls)}"
        yield fault("nodes", message, "request less, or set another partition")
        return
    in_service = [group for group in fitting if group.is_usable]
    usable, total = (sum(group.count for group in groups) for groups in (in_service, fitting))
    trials_on_one = sum(group.count * inventory.trials_per_node(settings, group) for group in in_service)
    slots = trials_on_one // settings.nodes
    message = f"{usable} of {total} suitable nodes are in service: {slots} concurrent {words.jobs} possible"
    if usable < settings.nodes:
        advice = "`sinfo -R` shows why nodes are down"
        yield fault("nodes", f"{message}, {words.job} needs {settings.nodes} nodes", advice)
    elif slots < concurrency:
        advice = f"set {words.count}: {max(slots, 1)}"
        yield warning("nodes", f"{message}, and {words.count} is {concurrency}", advice)
    else:
        yield ok("nodes", message)


def check_config(
    settings: SlurmSettings, concurrency: int, config: Mapping[str, str], words: JobWords = TRIAL
) -> Iterator[Finding]:
    """Check how long Slurm remembers ended jobs, and how many jobs it accepts."""
    accounted = squeue.is_accounted(config)
    if accounted:
        yield ok("accounting", "on: sacct reports how jobs ended")
    else:
        yield ok("accounting", "off: squeue and scontrol report how jobs ended, for MinJobAge")
    yield _check_min_job_age(settings, config, accounted=accounted)
    jobs = parse_whole_number(config.get("MaxJobCount", ""))
    wanted = concurrency + settings.lookahead
    if jobs is not None and jobs < wanted:
        yield warning(
            "limits",
            f"the cluster accepts {jobs} jobs in total, and {wanted} would be in the queue",
            f"set {words.count} below {jobs}",
        )
    arrays = parse_whole_number(config.get("MaxArraySize", "")) or 0
    if arrays > 1:
        yield ok("arrays", f"up to {arrays:,} jobs are submitted by one command")
    else:
        yield ok("arrays", "not available (MaxArraySize): each job is submitted by a command of its own")


def _check_min_job_age(settings: SlurmSettings, config: Mapping[str, str], *, accounted: bool) -> Finding:
    age = inventory.parse_seconds(config.get("MinJobAge", ""))
    needed = settings.silent_after + settings.query_interval + settings.lost_after
    if not age:
        return ok("MinJobAge", "ended jobs are never forgotten")
    if age >= needed:
        return ok("MinJobAge", format_duration(age))
    message = (
        f"Slurm forgets an ended job after {format_duration(age)}, and it may be queried up to "
        f"{format_duration(needed)} after its end"
    )
    if accounted:
        return ok("MinJobAge", f"{message}: sacct is used then")
    advice = f"lower scheduler.silent_after, query_interval or lost_after, or raise MinJobAge to {needed:.0f}"
    return warning("MinJobAge", f"{message}: the reason why a job failed may stay unknown (LOST)", advice)


def check_account(
    settings: SlurmSettings, concurrency: int, duration: float, cluster: inventory.Cluster, words: JobWords = TRIAL
) -> Iterator[Finding]:
    """Check that the user may use account and QOS, and that their limits suffice."""
    associations, enforced = cluster.associations, cluster.config.get("AccountingStorageEnforce", "")
    if not associations:
        if "associations" in enforced:
            yield fault("account", "you have no account in Slurm's accounting", "ask the administrators for one")
        else:
            yield ok("account", "you have none in Slurm's accounting, and none is required")
        return
    accounts = sorted({each.account for each in associations})
    mine = [each for each in associations if settings.account in (None, each.account)]
    if not mine:
        advice = f"set scheduler.account: one of {', '.join(accounts)}"
        yield fault("account", f"{settings.account}: not one of your accounts", advice)
        return
    allowed = sorted({name for each in mine for name in each.qos})
    if settings.qos and allowed and settings.qos not in allowed:
        yield fault("qos", f"{settings.qos}: not allowed for you", f"set scheduler.qos: one of {', '.join(allowed)}")
        return
    default = f"{cluster.default_account}, the default one" if cluster.default_account else "the default one"
    yield ok("account", f"{settings.account or default}, of {', '.join(accounts)}")
    partitions = inventory.chosen_partitions(settings, cluster.partitions)
    yield from check_limits(settings, concurrency, duration, cluster, partitions, words)


def _check_script(settings: SlurmSettings, script: str, words: JobWords) -> Finding:
    """Test the batch script of a job with `sbatch --test-only`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / SCRIPT
        file.write_text(script, encoding="utf-8")
        command = inventory.dry_run_command(file.name)
        answer = run_command(command, timeout=settings.command_timeout, folder=file.parent)
    message = answer.error_line.removeprefix("sbatch: ").removeprefix("error: ")
    if answer.status == 0:
        return ok("sbatch", f"accepts the batch script of {words.job}: {message.partition(' ')[2] or message}")
    match classify(answer.error_text):
        case ErrorClass.UNREACHABLE:
            raise SchedulerUnreachableError(f"sbatch failed: {message}")
        case ErrorClass.QUEUE_FULL:
            return warning("sbatch", f"accepts no job now: {message}", "wait until jobs of yours have ended")
        case _:
            return fault(
                "sbatch",
                f"rejects the batch script of {words.job}: {message}",
                "print the script with `aiperf-orch render`, and change the site file",
            )
