"""Nodes that `check --every-node` examines: those of the partition or queue, and the schedulers of jobs on them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiperf_orch.schedulers.base import Scheduler
from aiperf_orch.schedulers.command import checked_output
from aiperf_orch.schedulers.pbs import inventory as pbs_inventory
from aiperf_orch.settings.allocation_job import allocation_job
from aiperf_orch.settings.schedulers import (
    ClusterSettings,
    LocalSettings,
    PbsSettings,
    SchedulerSettings,
    SlurmSettings,
)
from aiperf_orch.util.errors import UsageError

_DOWN: Final = ("down", "drain", "fail", "maint", "unknown", "not_responding", "powered_down", "powering_down")
_IDLE: Final = ("idle", "free")
_LEAVES_OUT: Final = "*~#!%$@^-+"  # Slurm's marks behind the state of a node


@dataclass(frozen=True, slots=True)
class SiteNode:
    """A node of the site.

    Attributes:
        name: Its name as the scheduler has it.
        is_idle: Whether no job runs there at present.
        out_of_service: State in which it runs no job; empty where it may.
    """

    name: str
    is_idle: bool = True
    out_of_service: str = ""


def site_nodes(settings: SchedulerSettings) -> list[SiteNode]:
    """The nodes that trials of a site may get.

    Raises:
        UsageError: Where jobs cannot be sent to one node.
        SchedulerUnreachableError: When the scheduler does not answer.
    """
    match settings:
        case LocalSettings():
            return [SiteNode(socket.gethostname())]
        case SlurmSettings():
            cluster = [f"--clusters={settings.cluster}"] if settings.cluster else []
            command = ["sinfo", "--all", "--noheader", "--Node", "--format=%N|%P|%T", *cluster]
            output = checked_output(command, timeout=settings.command_timeout)
            excluded: list[str] = []
            if settings.exclude:
                names = checked_output(
                    ["scontrol", "show", "hostnames", settings.exclude], timeout=settings.command_timeout
                )
                excluded = names.split()
            return parse_slurm_nodes(output, settings.partition, excluded)
        case PbsSettings(resources=[]):
            output = checked_output(pbs_inventory.nodes_command(), timeout=settings.command_timeout)
            return parse_pbs_nodes(output, settings.queue)
        case PbsSettings():
            raise UsageError("--every-node: scheduler.resources requests nodes that this check cannot name: use cpus")
        case _:
            raise UsageError("--every-node: agents are started by hand, and no job is submitted: check on each node")


def parse_slurm_nodes(output: str, partition: str | None, excluded: Sequence[str]) -> list[SiteNode]:
    """Nodes of partitions in sinfo's output, `name|partition|state`.

    Args:
        output: What sinfo printed; it marks the default partition by a star.
        partition: Names of the site's partitions; None for the default one.
        excluded: Nodes that the site file excludes.
    """
    wanted = partition.split(",") if partition else None
    found: dict[str, SiteNode] = {}
    for line in output.split("\n"):
        name, _, rest = line.strip().partition("|")
        where, _, marked = rest.partition("|")
        if not marked or name in excluded or (where[-1:] != "*" if wanted is None else where.rstrip("*") not in wanted):
            continue
        state = marked.rstrip(_LEAVES_OUT)
        down = state if any(state.startswith(each) for each in _DOWN) or "*" in marked else ""
        found.setdefault(name, SiteNode(name, state.startswith(_IDLE), down))
    return list(found.values())


def parse_pbs_nodes(output: str, queue: str | None) -> list[SiteNode]:
    """Hosts in the output of pbsnodes that serve a queue, or any queue where that is None."""
    queue = queue.partition("@")[0] if queue else None
    return [
        SiteNode(node.name, node.states <= set(_IDLE), "" if node.is_usable else ",".join(sorted(node.states)))
        for node in pbs_inventory.parse_nodes(output)
        if node.queue is None or queue is None or node.queue == queue
    ]


def job_groups(settings: SchedulerSettings, nodes: Sequence[SiteNode]) -> list[tuple[str, ...]]:
    """Nodes of each job of the check: one, or as many as an allocation of Slurm has, idle ones first."""
    own = settings.allocations if isinstance(settings, SlurmSettings) else None
    size = own.nodes if own else 1
    usable = [node for node in nodes if not node.out_of_service]
    names = [node.name for node in sorted(usable, key=lambda node: not node.is_idle)]
    return [tuple(names[start : start + size]) for start in range(0, len(names), size)]


def scheduler_on(settings: SchedulerSettings, hosts: Sequence[str]) -> Scheduler:
    """A scheduler whose jobs get exactly these nodes, by the script of a trial or of an allocation."""
    from aiperf_orch.schedulers.registry import make_scheduler

    if not isinstance(settings, ClusterSettings):
        return make_scheduler(settings)
    changed: dict[str, Any] = {"nodes": len(hosts), "lookahead": 0, "requeue": False}
    match settings:
        case SlurmSettings():
            from aiperf_orch.schedulers.slurm.scheduler import SlurmScheduler

            changed |= {"directives": [*settings.directives, f"--nodelist={','.join(hosts)}"], "exclude": None}
            template = "slurm_allocation.sh.j2" if settings.allocations else "slurm.sh.j2"
            return SlurmScheduler(allocation_job(settings).model_copy(update=changed), template)
        case PbsSettings():
            from aiperf_orch.schedulers.pbs.scheduler import PbsScheduler

            chunk = ":".join([*filter(None, [settings.chunk]), f"host={hosts[0]}"])
            template = "pbs_allocation.sh.j2" if settings.allocations else "pbs.sh.j2"
            return PbsScheduler(allocation_job(settings).model_copy(update=changed | {"chunk": chunk}), template)
        case _:
            raise AssertionError(f"no nodes of kind {settings.kind}")
