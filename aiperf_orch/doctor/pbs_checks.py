"""Checks of PBS from the login node: queue, nodes, limits and job history."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import Final

from aiperf_orch.doctor import pbs_job_classes
from aiperf_orch.doctor.findings import Finding, fault, ok, warning
from aiperf_orch.doctor.job_words import ALLOCATION, TRIAL, JobWords
from aiperf_orch.schedulers.pbs import inventory
from aiperf_orch.schedulers.pbs.access_lists import Submitter, denies_host, denying_list, job_limit
from aiperf_orch.schedulers.pbs.scheduler import PROGRAMS
from aiperf_orch.schedulers.pbs.survey import survey
from aiperf_orch.settings.allocation_job import allocation_job
from aiperf_orch.settings.schedulers import PbsSettings
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.units import format_duration

_DEFAULT_HISTORY: Final = 14 * 86400.0  # seconds: PBS's default of job_history_duration


def checks(settings: PbsSettings, concurrency: int, duration: float) -> Iterator[Finding]:
    """Run all checks that need no job. PBS has no test submission: only the probe job tests the batch script.

    Args:
        settings: scheduler settings of the site.
        concurrency: number of trials that run at the same time.
        duration: duration of the campaign in seconds.

    Raises:
        SchedulerUnreachableError: if PBS does not answer.
    """
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        raise SchedulerUnreachableError(f"{', '.join(missing)}: not found on PATH")
    found = survey(timeout=settings.command_timeout)
    submitter = Submitter.current()
    yield ok("scheduler", f"PBS {found.version} answers, server {found.name}")
    if not found.server.is_true("scheduling"):
        yield warning("scheduler", "the server starts no jobs now (scheduling = False)", "ask its administrators")
    job, words, jobs = allocation_job(settings), TRIAL, concurrency
    if settings.allocations:
        words, jobs = ALLOCATION, settings.allocations.at_once
    yield from check_queue(job, found, submitter, words)
    yield from check_nodes(job, jobs, found, words)
    yield from check_limits(job, jobs, found, submitter, words)
    yield check_history(found)
    yield from pbs_job_classes.check_way(settings, concurrency, duration, found, submitter)


def check_queue(
    settings: PbsSettings, found: inventory.Complex, submitter: Submitter, words: JobWords = TRIAL
) -> Iterator[Finding]:
    """Check that the queue exists, accepts jobs of this user, and allows the resources of a job.

    Args:
        settings: settings that request the job.
        found: inventory of the complex.
        submitter: the user who will submit the jobs.
        words: what the job is.
    """
    name = settings.queue or found.default_queue
    others = f"set scheduler.queue: one of {', '.join(found.queues)}"
    if name is None:
        yield fault("queue", "PBS has no default queue", others)
        return
    queue = found.queues.get(name)
    if queue is None:
        yield fault("queue", f"{name}: does not exist", others)
    else:
        yield from _check_existing_queue(settings, found, submitter, queue, others, words)
    for holder, queue_or_server in ((f"server {found.name}", found.server), (name, queue)):
        if queue_or_server and denies_host(queue_or_server, submitter):  # PBS may know this host by another name
            message = f"{holder}: acl_hosts does not contain {' or '.join(sorted(submitter.hosts))}"
            yield warning("queue", message, "if qsub rejects jobs, submit from a host of the list")


def _check_existing_queue(
    settings: PbsSettings,
    found: inventory.Complex,
    submitter: Submitter,
    queue: inventory.QueueOrServer,
    others: str,
    words: JobWords,
) -> Iterator[Finding]:
    name = queue.name
    if not queue.is_true("enabled"):
        yield fault("queue", f"{name}: accepts no jobs (enabled = False)", f"wait until it does, or {others}")
    elif queue.is_true("from_route_only"):
        yield fault("queue", f"{name}: accepts jobs only from a routing queue", "set scheduler.queue to that queue")
    elif denying := denying_list(found.server, submitter):
        yield fault("queue", f"the access list of the server does not contain you ({denying})", "ask for access")
    elif denying := denying_list(queue, submitter):
        message = f"{name}: its access list does not contain you ({denying})"
        yield fault("queue", message, f"ask for access, or {others}")
    elif not queue.is_true("started"):
        yield warning("queue", f"{name}: starts no jobs now (started = False)", f"wait until it does, or {others}")
    else:
        yield from _check_execution_queues(settings, found, submitter, name, words)


def _check_execution_queues(
    settings: PbsSettings, found: inventory.Complex, submitter: Submitter, name: str, words: JobWords
) -> Iterator[Finding]:
    """Check the execution queues of a queue: a routing queue passes a job to any that accepts it."""
    queues = [found.with_server_limits(each) for each in found.execution_queues(name)]
    rejections = {each.name: _rejections(settings, each, submitter, words) for each in queues}
    if rejections and all(rejections.values()):
        for queue_name, reasons in rejections.items():
            for message, advice in reasons:
                yield fault("queue", f"{queue_name}: {message}", advice)
        return
    longest = [each.walltime("max") for each in queues if not rejections[each.name]]
    bounded = max(filter(None, longest), default=0)
    limit = "without a time limit" if None in longest else f"time limit {format_duration(bounded)}"
    yield ok("queue", f"{name}: enabled and started, {limit}")


def _rejections(
    settings: PbsSettings, queue: inventory.QueueOrServer, submitter: Submitter, words: JobWords
) -> list[tuple[str, str]]:
    """Reasons why a queue would reject a job, each with advice."""
    found = []
    denying = denying_list(queue, submitter)
    if denying:
        found.append((f"its access list does not contain you ({denying})", "ask for access"))
    wanted = f"{words.time_limit} is {format_duration(settings.time_limit)}"
    longest, shortest = queue.walltime("max"), queue.walltime("min")
    if longest is not None and settings.time_limit > longest:
        bound = format_duration(longest)
        advice = f"set {words.time_limit}: {bound} or less: {words.longer}"
        found.append((f"its time limit is {bound}, and {wanted}", advice))
    if shortest is not None and settings.time_limit < shortest:
        bound = format_duration(shortest)
        found.append((f"its smallest time limit is {bound}, and {wanted}", f"set {words.time_limit}: {bound}"))
    least = queue.minimum("nodect")
    if least is not None and inventory.requested_resources(settings).get("nodect", least) < least:
        message = f"requires at least {least} nodes, and {words.job} requests {settings.nodes}"
        found.append((message, f"set {words.keys['nodect']}: {least}, or set another scheduler.queue"))
    for resource, amount in inventory.requested_resources(settings).items():
        maximum = queue.maximum(resource)
        if maximum is not None and amount > maximum:
            unit = inventory.unit_of(resource)
            message = f"allows {resource} {maximum}{unit} per job, and {words.job} requests {amount}{unit}"
            found.append((message, f"lower {words.keys[resource]}, or set another scheduler.queue"))
    return found


def check_nodes(
    settings: PbsSettings, concurrency: int, found: inventory.Complex, words: JobWords = TRIAL
) -> Iterator[Finding]:
    """Check that nodes have the resources of a job, and enough of them to run all jobs at the same time."""
    if found.without_nodes is not None:
        yield warning("nodes", found.without_nodes, "the resources of nodes were not checked")
        return
    if settings.resources:
        message = f"{len(found.nodes)} nodes; scheduler.resources is specific to the site and was not compared"
        yield ok("nodes", message)
        return
    nodes = found.nodes_of(found.execution_queues(settings.queue or found.default_queue or ""))
    if not nodes:
        return  # without a queue the nodes are not known
    fitting = [node for node in nodes if not inventory.shortfalls(settings, node)]
    if not fitting:
        message = f"no node has the resources of {words.job}: {_shortfalls_of_best(settings, nodes)}"
        yield fault("nodes", message, _advice(settings, nodes))
        return
    usable = [node for node in fitting if node.is_usable]
    slots = sum(inventory.trials_per_node(settings, node) for node in usable) // settings.nodes
    message = f"{len(usable)} of {len(fitting)} suitable nodes are in service: {slots} concurrent {words.jobs} possible"
    if len(fitting) < settings.nodes:
        advice = f"set {words.keys['nodect']}: {len(fitting)} or less"
        yield fault("nodes", f"{message}, {words.job} needs {settings.nodes} nodes", advice)
    elif len(usable) < settings.nodes:
        advice = "`pbsnodes -l` shows why nodes are down"
        yield fault("nodes", f"{message}, {words.job} needs {settings.nodes} nodes", advice)
    elif slots < concurrency:
        advice = f"set {words.count}: {max(slots, 1)}"
        yield warning("nodes", f"{message}, and {words.count} is {concurrency}", advice)
    else:
        yield ok("nodes", message)


def _shortfalls_of_best(settings: PbsSettings, nodes: Sequence[inventory.PbsNode]) -> str:
    """Shortfalls of the node with the most resources."""
    best = max(nodes, key=lambda node: (node.gpus, node.cpus, node.memory))
    return "; ".join(f"{shortfall} on {best.name}" for shortfall in inventory.shortfalls(settings, best))


def _advice(settings: PbsSettings, nodes: Sequence[inventory.PbsNode]) -> str:
    if settings.gpus and not any(node.gpus for node in nodes):
        return "set another scheduler.queue, or request GPUs as this site names them: scheduler.chunk or resources"
    return "request less, or set another scheduler.queue"


def check_limits(
    settings: PbsSettings,
    concurrency: int,
    found: inventory.Complex,
    submitter: Submitter,
    words: JobWords = TRIAL,
) -> Iterator[Finding]:
    """Check that the limits of server and queue allow all jobs of this user to run and wait at the same time."""
    findings = [
        finding
        for holder, queue_or_server in limit_holders(settings, found).items()
        for finding in _check_job_limits(settings, concurrency, submitter, holder, queue_or_server, words)
    ]
    yield from findings
    if not findings:
        yield ok("limits", f"server and queue allow {concurrency} concurrent {words.jobs}")


def limit_holders(settings: PbsSettings, found: inventory.Complex) -> dict[str, inventory.QueueOrServer]:
    """The server, the queue, and the execution queue that it routes to if there is only one."""
    name = settings.queue or found.default_queue or ""
    execution_queues = found.execution_queues(name)
    queue = found.queues.get(name)
    queues = [queue] if queue else []
    if len(execution_queues) == 1:
        queues += execution_queues
    return {f"server {found.name}": found.server, **{f"queue {each.name}": each for each in queues}}


def _check_job_limits(
    settings: PbsSettings,
    concurrency: int,
    submitter: Submitter,
    holder: str,
    holding: inventory.QueueOrServer,
    words: JobWords,
) -> Iterator[Finding]:
    requested = inventory.requested_resources(settings)
    running = job_limit(holding, "run", submitter, settings.project, requested)
    queued = job_limit(holding, "queued", submitter, settings.project, requested)
    never = next((limit for limit in (running, queued) if limit and not limit.jobs), None)
    if never:
        yield fault(
            "limits", f"{holder}: no {words.job.partition(' ')[2]} would ever run: {never.why}", "request less of it"
        )
        return
    if running and running.jobs < concurrency:
        message = f"allows {running.jobs} running jobs of yours ({running.why}), and {words.count} is {concurrency}"
        advice = f"set {words.count}: {running.jobs}"
        yield warning("limits", f"{holder}: {message}: the other jobs wait", advice)
    if queued and queued.jobs < concurrency + settings.lookahead:
        yield warning(
            "limits",
            f"{holder}: allows {queued.jobs} jobs of yours in the queue ({queued.why}), and the campaign has "
            f"{concurrency} {words.jobs} and {settings.lookahead} pending ones: the other jobs are submitted later",
            f"lower {words.settings_of_jobs}",
        )


def check_history(found: inventory.Complex) -> Finding:
    """Check that the server keeps the history of ended jobs."""
    if not found.server.is_true("job_history_enable"):
        return warning(
            "history",
            "off: the end of a job that writes no end event stays unknown (LOST), and packages contain no accounting",
            "ask the administrators for job_history_enable = True",
        )
    kept = inventory.parse_walltime(found.server.attributes.get("job_history_duration", "")) or _DEFAULT_HISTORY
    return ok("history", f"on: ended jobs can be queried for {format_duration(kept)}")
