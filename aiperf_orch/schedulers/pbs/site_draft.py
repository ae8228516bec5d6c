"""Draft of a site file for PBS, from the inventory of a complex; runs no command."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from aiperf_orch.schedulers.draft_part import DraftPart
from aiperf_orch.schedulers.pbs.access_lists import Submitter, denying_list, job_limit
from aiperf_orch.schedulers.pbs.inventory import Complex, PbsNode, QueueOrServer, requested_resources, trials_per_node
from aiperf_orch.schedulers.script_rendering import render_script
from aiperf_orch.settings.schedulers import PbsSettings
from aiperf_orch.util.units import format_duration

_DEFAULT_TIME_LIMIT: Final = 4 * 3600.0  # seconds, the default of scheduler.time_limit
_MAX_COUNT: Final = 100_000  # trials; cores of a node
_MAX_MEMORY: Final = 999_999_999  # MiB
_MIN_TIME_LIMIT: Final = 60.0  # seconds, regardless of the queue's limit: a trial achieves nothing in less
_MAX_TIME_LIMIT: Final = 365 * 86400.0  # seconds
_USEFUL_WALLTIME: Final = 1800.0  # seconds: queues with a lower limit are for tests


def draft(
    found: Complex, file: str, who: Submitter, part: Callable[[PbsSettings, int], DraftPart] | None = None
) -> str:
    """Text of a site file, with alternatives as comments.

    A trial gets one GPU and its share of the node; in a complex without GPUs it gets a whole node.

    Args:
        found: inventory of the complex.
        file: path of the site file, for the commands that its comments show.
        who: the user who will submit the jobs.
        part: returns the part `allocations` for settings of a trial and a number of concurrent trials; None for none.
    """
    queue = choose_queue(found, who)
    nodes = found.nodes_of(found.execution_queues(queue.name)) if queue else []
    settings = trial_allocation(queue, nodes, found)
    slots = sum(trials_per_node(settings, node) for node in nodes if node.is_usable)
    wanted = min(max(slots, 1), _MAX_COUNT)
    allocations = part(settings, wanted) if part else None
    requested = requested_resources(settings)
    scopes = [found.server, queue] if queue else [found.server]
    limits = [limit for scope in scopes if (limit := job_limit(scope, "run", who, None, requested)) and limit.jobs]
    tightest = min(limits, key=lambda limit: limit.jobs, default=None)
    if allocations and allocations.is_needed:
        tightest = None  # a limit on the number of jobs does not bound the number of trials
    chosen_first = sorted(found.queues.values(), key=lambda each: each is not queue)
    return render_script(
        "site_pbs.yaml.j2",
        None,
        file=file,
        found=found,
        site=settings,
        queues=[(each.name, _describe(each, found, who)) for each in chosen_first],
        time_limit=format_duration(settings.time_limit),
        warn_before=format_duration(settings.warn_before),
        slots=slots,
        limit=tightest,
        concurrency=min(wanted, tightest.jobs if tightest else _MAX_COUNT),
        part=allocations,
    )


def choose_queue(found: Complex, who: Submitter) -> QueueOrServer | None:
    """Choose the queue of the draft; None if there is no queue.

    The criteria, most important first: it accepts and starts jobs of this user, it allows a useful walltime, it has
    GPUs, it is the default queue, it has the most nodes.
    """

    def merit(queue: QueueOrServer) -> tuple[bool, bool, bool, bool, int]:
        execution_queues = found.execution_queues(queue.name)
        nodes = found.nodes_of(execution_queues)
        allowed = not denying_list(queue, who) and any(not denying_list(each, who) for each in execution_queues)
        accepts = queue.is_true("enabled") and queue.is_true("started") and not queue.is_true("from_route_only")
        return (
            accepts and allowed,
            _max_walltime(execution_queues, found) >= _USEFUL_WALLTIME,
            any(node.gpus for node in nodes),
            queue.name == found.default_queue,
            len(nodes),
        )

    return max(found.queues.values(), key=merit, default=None)


def trial_allocation(queue: QueueOrServer | None, nodes: Sequence[PbsNode], found: Complex) -> PbsSettings:
    """Settings of one trial in a queue: one GPU's share of its most frequent kind of node, or all of the node.

    Args:
        queue: the queue; None for the server's default.
        nodes: nodes that serve the queue.
        found: inventory of the complex.
    """
    execution_queues = found.execution_queues(queue.name) if queue else []
    min_walltime = min((each.walltime("min") or 0.0 for each in execution_queues), default=0.0)
    time_limit = max(min(_DEFAULT_TIME_LIMIT, _max_walltime(execution_queues, found)), min_walltime, _MIN_TIME_LIMIT)
    time_limit = min(time_limit, _MAX_TIME_LIMIT)
    fields: dict[str, object] = {
        "queue": queue.name if queue else None,
        "time_limit": f"{time_limit:.0f}s",
        "warn_before": f"{min(120.0, time_limit / 4):.0f}s",
    }
    kinds = Counter((node.gpus, node.cpus) for node in nodes if node.cpus)
    with_gpus = {kind: count for kind, count in kinds.items() if kind[0]}
    if kinds:
        gpus, cpus = max(with_gpus or kinds, key=lambda kind: kinds[kind])
        # the memory of otherwise equal nodes differs slightly: use the smallest
        memory = min(node.memory for node in nodes if (node.gpus, node.cpus) == (gpus, cpus)) // 1024
        shares = max(gpus, 1)
        max_cpus = _max_amount("ncpus", execution_queues, found) or _MAX_COUNT
        fields["cpus"] = min(max(cpus // shares, 1), _MAX_COUNT, max_cpus)
        if gpus:
            fields["gpus"] = 1
            if memory >= shares:
                max_memory = (_max_amount("mem", execution_queues, found) or 0) // 1024 or _MAX_MEMORY
                fields["memory"] = f"{min(memory // shares, _MAX_MEMORY, max_memory)}mb"
        else:
            fields["place"] = "scatter:excl"
    return PbsSettings.model_validate(fields)


def _max_walltime(queues: Sequence[QueueOrServer], found: Complex) -> float:
    """Highest walltime in seconds that one of the queues allows; infinite without a limit."""
    scopes = [found.with_server_limits(queue) for queue in queues] or [found.server]
    limits = [scope.walltime("max") for scope in scopes]
    return max(math.inf if limit is None else limit for limit in limits)


def _max_amount(resource: str, queues: Sequence[QueueOrServer], found: Complex) -> int | None:
    """Highest amount of a resource that one of the queues allows for a job, memory in KiB; None without a limit."""
    scopes = [found.with_server_limits(queue) for queue in queues] or [found.server]
    limits = [limit for scope in scopes if (limit := scope.maximum(resource))]
    return max(limits) if len(limits) == len(scopes) else None


def _describe(queue: QueueOrServer, found: Complex, who: Submitter) -> str:
    """Nodes, time limit and restrictions of a queue, for a comment."""
    kinds: Counter[str] = Counter()
    for node in found.nodes_of(found.execution_queues(queue.name)):
        gpus = f", {node.gpus} GPUs" if node.gpus else ""
        kinds[f"{node.cpus} cores, {node.memory / (1 << 20):.3g} GiB{gpus}"] += 1
    limit = queue.walltime("max")
    parts = [f"{count} nodes with {kind}" for kind, count in kinds.most_common()] or ["no nodes of its own"]
    parts.append("jobs of any length" if limit is None else f"jobs up to {format_duration(limit)}")
    if queue.is_routing:
        parts.append(f"routes jobs to {', '.join(queue.destinations)}")
    if queue.name == found.default_queue:
        parts.append("the default")
    if not queue.is_true("enabled"):
        parts.append("disabled: accepts no jobs now")
    if not queue.is_true("started"):
        parts.append("stopped: starts no jobs now")
    if denying := denying_list(queue, who):
        parts.append(f"denies you access ({denying})")
    return "; ".join(parts)
