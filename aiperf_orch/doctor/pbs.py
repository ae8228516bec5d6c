"""What `check` asks PBS itself: does it answer, does the queue take such jobs from this user, have nodes what a trial needs."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator, Sequence

from aiperf_orch.config_schedulers import PbsSettings
from aiperf_orch.doctor.findings import Finding, fault, ok, warning
from aiperf_orch.errors import SchedulerUnreachable
from aiperf_orch.schedulers.pbs import site
from aiperf_orch.schedulers.pbs.scheduler import PROGRAMS
from aiperf_orch.schedulers.pbs.survey import survey
from aiperf_orch.units import format_duration


def checks(settings: PbsSettings, concurrency: int) -> Iterator[Finding]:
    """Everything that PBS can tell before a job runs. PBS tries no script without taking it: that is the small job's part.

    Args:
        settings: the site's.
        concurrency: how many trials shall run at once.

    Raises:
        SchedulerUnreachable: when PBS does not answer.
    """
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        raise SchedulerUnreachable(f"{', '.join(missing)}: not found here")
    found = survey(timeout=settings.command_timeout)
    user = pwd.getpwuid(os.getuid()).pw_name
    yield ok("scheduler", f"PBS {found.version} answers, server {found.name}")
    if not found.server.says("scheduling"):
        yield warning("scheduler", "the server starts no jobs now (scheduling = False)", "ask its administrators")
    yield from judge_queue(settings, found, user)
    yield from judge_nodes(settings, concurrency, found)
    yield from judge_limits(settings, concurrency, found, user)
    yield judge_history(found)


def judge_queue(settings: PbsSettings, found: site.Complex, user: str) -> Iterator[Finding]:
    """Whether the queue is there, takes jobs, lets this user in, and starts what a trial asks for."""
    name = settings.queue or found.default_queue
    others = f"set scheduler.queue: one of {', '.join(found.queues)}"
    if name is None:
        yield fault("queue", "PBS has no default one", others)
        return
    queue = found.queues.get(name)
    if queue is None:
        yield fault("queue", f"{name}: there is none here", others)
    elif not queue.says("enabled"):
        yield fault("queue", f"{name}: takes no jobs (enabled = False)", f"wait for it, or {others}")
    elif queue.says("from_route_only"):
        yield fault("queue", f"{name}: takes jobs from a routing queue only", "set scheduler.queue to that one")
    elif not site.may_use(queue, user):
        yield fault("queue", f"{name}: you are not among its users (acl_users)", f"ask for access, or {others}")
    elif not queue.says("started"):
        yield warning("queue", f"{name}: starts no jobs now (started = False)", f"wait for it, or {others}")
    else:
        refusals = {each.name: _refusals(settings, each) for each in found.executing(name)}
        longest = [each.walltime("max") for each in found.executing(name)]
        if refusals and all(refusals.values()):
            for each, said in refusals.items():
                for message, advice in said:
                    yield fault("queue", f"{each}: {message}", advice)
        else:
            limit = "any time" if None in longest else f"up to {format_duration(max(filter(None, longest), default=0))}"
            yield ok("queue", f"{name}: enabled and started, jobs may take {limit}")


def _refusals(settings: PbsSettings, queue: site.Place) -> list[tuple[str, str]]:
    """Why a queue, or the server, would refuse a trial's job, and what to do about each."""
    found = []
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
    if settings.resources:
        return found
    wanted = {
        "nodect": ("nodes", settings.nodes, ""),
        "ncpus": ("cpus", settings.cpus * settings.nodes, ""),
        "ngpus": ("gpus", (settings.gpus or 0) * settings.nodes, ""),
        "mem": ("memory", site.memory_of(settings) * settings.nodes, "kb"),
    }
    for resource, (setting, amount, unit) in wanted.items():
        most = queue.most(resource)
        if most is not None and amount > most:
            message = f"a job may have {resource} {most}{unit}, and a trial asks for {amount}{unit}"
            found.append((message, f"lower scheduler.{setting}, or set another scheduler.queue"))
    return found


def judge_nodes(settings: PbsSettings, concurrency: int, found: site.Complex) -> Iterator[Finding]:
    """Whether the queue's hosts have what a trial asks for, and are so many that all trials can run at once."""
    if found.without_nodes is not None:
        yield warning("nodes", found.without_nodes, "what nodes have was not looked at")
        return
    if settings.resources:
        yield ok(
            "nodes", f"{len(found.nodes)} here; scheduler.resources is the site's own language and was not compared"
        )
        return
    nodes = found.nodes_of(found.executing(settings.queue or found.default_queue or ""))
    if not nodes:
        return  # without a queue nobody knows which
    fitting = [node for node in nodes if not site.lacks(settings, node)]
    if not fitting:
        yield fault(
            "nodes", f"none has what a trial asks for: {_what_they_lack(settings, nodes)}", _advice(settings, nodes)
        )
        return
    usable = [node for node in fitting if node.is_usable]
    slots = sum(site.trials_a_node(settings, node) for node in usable) // settings.nodes
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


def _what_they_lack(settings: PbsSettings, nodes: Sequence[site.Node]) -> str:
    """Each lack once, with the host that has most."""
    best = max(nodes, key=lambda node: (node.gpus, node.cpus, node.memory))
    return "; ".join(f"{lack} on {best.name}" for lack in site.lacks(settings, best))


def _advice(settings: PbsSettings, nodes: Sequence[site.Node]) -> str:
    if settings.gpus and not any(node.gpus for node in nodes):
        return "set another scheduler.queue, or ask for GPUs as this site names them: scheduler.chunk or resources"
    return "ask for less, or set another scheduler.queue"


def judge_limits(settings: PbsSettings, concurrency: int, found: site.Complex, user: str) -> Iterator[Finding]:
    """Whether server and queue let so many trials run and wait at once, and the server takes such a job."""
    name = settings.queue or found.default_queue or ""
    queues = [found.queues[name]] if name in found.queues else []
    wanted = concurrency + settings.lookahead
    good = True
    for place in (found.server, *queues):
        what = f"server {place.name}" if place is found.server else f"queue {place.name}"
        running, queued = place.most_jobs("run", user), place.most_jobs("queued", user)
        if place is found.server:
            for message, advice in _refusals(settings, place):
                good = False
                yield fault("limits", f"{what}: {message}", advice)
        if running is not None and running < concurrency:
            good = False
            message = f"{what}: {running} jobs of a user run at once, and campaign.concurrency is {concurrency}: the rest waits"
            yield warning("limits", message, f"set campaign.concurrency: {max(running, 1)}")
        if queued is not None and queued < wanted:
            good = False
            yield warning(
                "limits",
                f"{what}: {queued} jobs of a user may be in the queue, and {concurrency} trials and {settings.lookahead} "
                "waiting would be: the rest is submitted later",
                "lower campaign.concurrency or scheduler.lookahead",
            )
    if good:
        yield ok("limits", f"server and queue allow {concurrency} trials at once")


def judge_history(found: site.Complex) -> Finding:
    """Whether the server remembers jobs that ended."""
    if not found.server.says("job_history_enable"):
        return warning(
            "history",
            "off: how a job ended that says nothing stays unknown (LOST), and packages hold no accounting",
            "ask the administrators for job_history_enable = True",
        )
    kept = site.parse_walltime(found.server.attributes.get("job_history_duration", "")) or 14 * 86400.0
    return ok("history", f"on: ended jobs can be asked after for {format_duration(kept)}")
