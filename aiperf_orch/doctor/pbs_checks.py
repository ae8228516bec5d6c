"""What `check` asks PBS itself: does it answer, does the queue take such jobs from this user, have nodes what a trial needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import Final

from aiperf_orch.doctor.findings import Finding, fault, ok, warning
from aiperf_orch.schedulers.pbs import inventory
from aiperf_orch.schedulers.pbs.access_lists import Submitter, denies_host, denying_list, job_limit
from aiperf_orch.schedulers.pbs.scheduler import PROGRAMS
from aiperf_orch.schedulers.pbs.survey import survey
from aiperf_orch.settings.schedulers import PbsSettings
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.units import format_duration

_SETTINGS: Final = {"nodect": "nodes", "ncpus": "cpus", "ngpus": "gpus", "mem": "memory"}
"""The setting that a trial's amount of a resource comes from."""


def checks(settings: PbsSettings, concurrency: int) -> Iterator[Finding]:
    """Everything that PBS can tell before a job runs. PBS tries no script without taking it: that is the small job's part.

    Args:
        settings: the site's.
        concurrency: how many trials shall run at once.

    Raises:
        SchedulerUnreachableError: when PBS does not answer.
    """
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        raise SchedulerUnreachableError(f"{', '.join(missing)}: not found here")
    found = survey(timeout=settings.command_timeout)
    who = Submitter.current()
    yield ok("scheduler", f"PBS {found.version} answers, server {found.name}")
    if not found.server.is_true("scheduling"):
        yield warning("scheduler", "the server starts no jobs now (scheduling = False)", "ask its administrators")
    yield from judge_queue(settings, found, who)
    yield from judge_nodes(settings, concurrency, found)
    yield from judge_limits(settings, concurrency, found, who)
    yield judge_history(found)


def judge_queue(settings: PbsSettings, found: inventory.Complex, who: Submitter) -> Iterator[Finding]:
    """Whether the queue is there, takes jobs, lets this user in, and starts what a trial asks for."""
    name = settings.queue or found.default_queue
    others = f"set scheduler.queue: one of {', '.join(found.queues)}"
    if name is None:
        yield fault("queue", "PBS has no default one", others)
        return
    queue = found.queues.get(name)
    if queue is None:
        yield fault("queue", f"{name}: there is none here", others)
    elif not queue.is_true("enabled"):
        yield fault("queue", f"{name}: takes no jobs (enabled = False)", f"wait for it, or {others}")
    elif queue.is_true("from_route_only"):
        yield fault("queue", f"{name}: takes jobs from a routing queue only", "set scheduler.queue to that one")
    elif barring := denying_list(found.server, who):
        yield fault("queue", f"the server's list does not hold you ({barring})", "ask for access")
    elif barring := denying_list(queue, who):
        yield fault("queue", f"{name}: its list does not hold you ({barring})", f"ask for access, or {others}")
    elif not queue.is_true("started"):
        yield warning("queue", f"{name}: starts no jobs now (started = False)", f"wait for it, or {others}")
    else:
        execution_queues = found.execution_queues(name)
        # a job goes where one of them takes it
        taken = {each.name: _refusals(settings, found.with_server_limits(each), who) for each in execution_queues}
        if taken and all(taken.values()):
            for each, said_there in taken.items():
                for message, advice in said_there:
                    yield fault("queue", f"{each}: {message}", advice)
        else:
            longest = [
                found.with_server_limits(each).walltime("max") for each in execution_queues if not taken[each.name]
            ]
            limit = "any time" if None in longest else f"up to {format_duration(max(filter(None, longest), default=0))}"
            yield ok("queue", f"{name}: enabled and started, jobs may take {limit}")
    for what, place in ((f"server {found.name}", found.server), (name, queue)):
        if place and denies_host(place, who):  # which may know this host by another name
            message = f"{what}: its list of hosts (acl_hosts) does not hold {' or '.join(sorted(who.hosts))}"
            yield warning("queue", message, "if qsub refuses, submit from a host of the list")


def _refusals(settings: PbsSettings, queue: inventory.QueueOrServer, who: Submitter) -> list[tuple[str, str]]:
    """Why a queue would refuse a trial's job, and what to do about each."""
    found = []
    barring = denying_list(queue, who)
    if barring:
        found.append((f"its list does not hold you ({barring})", "ask for access"))
    asked = settings.time_limit
    longest, shortest = queue.walltime("max"), queue.walltime("min")
    if longest is not None and asked > longest:
        found.append(
            (
                f"a job may take {format_duration(longest)}, and scheduler.time_limit is {format_duration(asked)}",
                f"set scheduler.time_limit: {format_duration(longest)} or less: a trial that needs more goes on in another job",
            )
        )
    if shortest is not None and asked < shortest:
        found.append(
            (
                f"a job must ask for {format_duration(shortest)} at least, and scheduler.time_limit is {format_duration(asked)}",
                f"set scheduler.time_limit: {format_duration(shortest)}",
            )
        )
    for resource, amount in inventory.requested_resources(settings).items():
        most = queue.maximum(resource)
        if most is not None and amount > most:
            unit = inventory.unit_of(resource)
            message = f"a job may have {resource} {most}{unit}, and a trial asks for {amount}{unit}"
            found.append((message, f"lower scheduler.{_SETTINGS[resource]}, or set another scheduler.queue"))
    return found


def judge_nodes(settings: PbsSettings, concurrency: int, found: inventory.Complex) -> Iterator[Finding]:
    """Whether the queue's hosts have what a trial asks for, and are so many that all trials can run at once."""
    if found.without_nodes is not None:
        yield warning("nodes", found.without_nodes, "what nodes have was not looked at")
        return
    if settings.resources:
        yield ok(
            "nodes", f"{len(found.nodes)} here; scheduler.resources is the site's own language and was not compared"
        )
        return
    nodes = found.nodes_of(found.execution_queues(settings.queue or found.default_queue or ""))
    if not nodes:
        return  # without a queue nobody knows which
    fitting = [node for node in nodes if not inventory.shortfalls(settings, node)]
    if not fitting:
        yield fault(
            "nodes", f"none has what a trial asks for: {_what_they_lack(settings, nodes)}", _advice(settings, nodes)
        )
        return
    usable = [node for node in fitting if node.is_usable]
    slots = sum(inventory.trials_per_node(settings, node) for node in usable) // settings.nodes
    message = f"{len(usable)} of {len(fitting)} that fit a trial are in service; room for {slots} trials at once"
    if len(fitting) < settings.nodes:
        yield fault(
            "nodes", f"{message}, a trial needs {settings.nodes}", f"set scheduler.nodes: {len(fitting)} or less"
        )
    elif len(usable) < settings.nodes:
        yield fault(
            "nodes", f"{message}, a trial needs {settings.nodes}", "`pbsnodes -l` shows those that are not, and why"
        )
    elif slots < concurrency:
        advice = f"set campaign.concurrency: {max(slots, 1)}"
        yield warning("nodes", f"{message}, and campaign.concurrency is {concurrency}", advice)
    else:
        yield ok("nodes", message)


def _what_they_lack(settings: PbsSettings, nodes: Sequence[inventory.PbsNode]) -> str:
    """Each lack once, with the host that has most."""
    best = max(nodes, key=lambda node: (node.gpus, node.cpus, node.memory))
    return "; ".join(f"{lack} on {best.name}" for lack in inventory.shortfalls(settings, best))


def _advice(settings: PbsSettings, nodes: Sequence[inventory.PbsNode]) -> str:
    if settings.gpus and not any(node.gpus for node in nodes):
        return "set another scheduler.queue, or ask for GPUs as this site names them: scheduler.chunk or resources"
    return "ask for less, or set another scheduler.queue"


def judge_limits(
    settings: PbsSettings, concurrency: int, found: inventory.Complex, who: Submitter
) -> Iterator[Finding]:
    """Whether server and queue let so many trials of this user run and wait at once."""
    name = settings.queue or found.default_queue or ""
    execution_queues = found.execution_queues(name)
    queues = {
        each.name: each
        for each in (found.queues.get(name), *(execution_queues if len(execution_queues) == 1 else []))
        if each
    }
    places = {f"server {found.name}": found.server, **{f"queue {each}": place for each, place in queues.items()}}
    wanted = concurrency + settings.lookahead
    asked = inventory.requested_resources(settings)
    good = True
    for what, place in places.items():
        running = job_limit(place, "run", who, settings.project, asked)
        queued = job_limit(place, "queued", who, settings.project, asked)
        never = next((limit for limit in (running, queued) if limit and not limit.jobs), None)
        if never:
            good = False
            yield fault("limits", f"{what}: no trial of yours would ever run: {never.why}", "ask for less of it")
            continue
        if running and running.jobs < concurrency:
            good = False
            message = f"{what}: {running.jobs} jobs of yours run at once ({running.why}), and campaign.concurrency is {concurrency}: the rest waits"
            yield warning("limits", message, f"set campaign.concurrency: {running.jobs}")
        if queued and queued.jobs < wanted:
            good = False
            yield warning(
                "limits",
                f"{what}: {queued.jobs} jobs of yours may be in the queue ({queued.why}), and {concurrency} trials and "
                f"{settings.lookahead} waiting would be: the rest is submitted later",
                "lower campaign.concurrency or scheduler.lookahead",
            )
    if good:
        yield ok("limits", f"server and queue allow {concurrency} trials at once")


def judge_history(found: inventory.Complex) -> Finding:
    """Whether the server remembers jobs that ended."""
    if not found.server.is_true("job_history_enable"):
        return warning(
            "history",
            "off: how a job ended that is_true nothing stays unknown (LOST), and packages hold no accounting",
            "ask the administrators for job_history_enable = True",
        )
    kept = inventory.parse_walltime(found.server.attributes.get("job_history_duration", "")) or 14 * 86400.0
    return ok("history", f"on: ended jobs can be asked after for {format_duration(kept)}")
