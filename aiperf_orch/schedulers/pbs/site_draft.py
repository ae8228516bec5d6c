"""A first site file for PBS, from what the server is_true that its complex has. Asks nothing itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from aiperf_orch.schedulers.pbs.access_lists import Submitter, denying_list, job_limit
from aiperf_orch.schedulers.pbs.inventory import Complex, PbsNode, QueueOrServer, requested_resources, trials_per_node
from aiperf_orch.schedulers.script_rendering import render_script
from aiperf_orch.settings.schedulers import PbsSettings
from aiperf_orch.util.units import format_duration

_LONGEST: Final = 4 * 3600.0  # seconds of one job, the settings' default
_MOST: Final = 100_000  # trials, and cores of a node
_MOST_MEMORY: Final = 999_999_999  # MiB
_SHORTEST: Final = 60.0  # seconds: no trial gets anywhere in less, whatever a queue is_true
_USEFUL: Final = 1800.0  # seconds: queues of shorter jobs are for trying things out
_LONGEST_ASKED: Final = 365 * 86400.0


def draft(found: Complex, file: str, who: Submitter) -> str:
    """The text of a site file, with the alternatives as comments.

    One trial gets one GPU and its share of the host; in a complex without GPUs it gets a whole host.

    Args:
        found: what there is.
        file: where the file will lie, for the words that tell how to go on.
        who: whose jobs they will be.
    """
    queue = choose_queue(found, who)
    nodes = found.nodes_of(found.execution_queues(queue.name)) if queue else []
    settings = trial_allocation(queue, nodes, found)
    slots = sum(trials_per_node(settings, node) for node in nodes if node.is_usable)
    places = [found.server, *([queue] if queue else [])]
    asked = requested_resources(settings)
    limits = [limit for place in places if (limit := job_limit(place, "run", who, None, asked)) and limit.jobs]
    tightest = min(limits, key=lambda limit: limit.jobs, default=None)
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
        concurrency=min([max(slots, 1), _MOST, *([tightest.jobs] if tightest else [])]),
    )


def choose_queue(found: Complex, who: Submitter) -> QueueOrServer | None:
    """The queue to begin with.

    In this order of weight: it takes and starts this user's jobs, jobs of a useful length, it has GPUs, is the default
    one, has maximum hosts.
    """

    def merit(queue: QueueOrServer) -> tuple[bool, bool, bool, bool, int]:
        execution_queues = found.execution_queues(queue.name)
        nodes = found.nodes_of(execution_queues)
        admitted = not denying_list(queue, who) and any(not denying_list(each, who) for each in execution_queues)
        return (
            queue.is_true("enabled") and queue.is_true("started") and not queue.is_true("from_route_only") and admitted,
            _longest(execution_queues, found) >= _USEFUL,
            any(node.gpus for node in nodes),
            queue.name == found.default_queue,
            len(nodes),
        )

    return max(found.queues.values(), key=merit, default=None)


def trial_allocation(queue: QueueOrServer | None, nodes: Sequence[PbsNode], found: Complex) -> PbsSettings:
    """What one trial gets in a queue: of its maximum frequent kind of host one GPU's share, or all of it."""
    execution_queues = found.execution_queues(queue.name) if queue else []
    shortest = min((each.walltime("min") or 0.0 for each in execution_queues), default=0.0)
    time_limit = min(max(min(_LONGEST, _longest(execution_queues, found)), shortest, _SHORTEST), _LONGEST_ASKED)
    fields: dict[str, object] = {
        "queue": queue.name if queue else None,
        "time_limit": f"{time_limit:.0f}s",
        "warn_before": f"{min(120.0, time_limit / 4):.0f}s",
    }
    kinds = Counter((node.gpus, node.cpus) for node in nodes if node.cpus)
    with_gpus = {kind: number for kind, number in kinds.items() if kind[0]}
    if kinds:
        gpus, cpus = max(with_gpus or kinds, key=lambda kind: kinds[kind])
        # memory differs a little between equal hosts: what the smallest has
        memory = min(node.memory for node in nodes if (node.gpus, node.cpus) == (gpus, cpus)) // 1024
        share = max(gpus, 1)
        fields["cpus"] = min([max(cpus // share, 1), _MOST, *_mosts("ncpus", execution_queues, found)])
        if gpus:
            fields["gpus"] = 1
            if memory >= share:
                maximum = [amount // 1024 for amount in _mosts("mem", execution_queues, found) if amount >= 1024]
                fields["memory"] = f"{min([memory // share, _MOST_MEMORY, *maximum])}mb"
        else:
            fields["place"] = "scatter:excl"
    return PbsSettings.model_validate(fields)


def _longest(queues: Sequence[QueueOrServer], found: Complex) -> float:
    """Seconds that a job in one of these queues may take."""
    limits = [found.with_server_limits(queue).walltime("max") for queue in queues] or [found.server.walltime("max")]
    return max(math.inf if limit is None else limit for limit in limits)


def _mosts(resource: str, queues: Sequence[QueueOrServer], found: Complex) -> list[int]:
    """How much of a resource a job may have in the maximum generous of these queues; nothing without a limit."""
    limits = [found.with_server_limits(queue).maximum(resource) for queue in queues] or [found.server.maximum(resource)]
    amounts = [limit for limit in limits if limit]
    return [max(amounts)] if len(amounts) == len(limits) else []


def _describe(queue: QueueOrServer, found: Complex, who: Submitter) -> str:
    kinds: Counter[str] = Counter()
    for node in found.nodes_of(found.execution_queues(queue.name)):
        gpus = f", {node.gpus} GPUs" if node.gpus else ""
        kinds[f"{node.cpus} cores, {node.memory / (1 << 20):.3g} GiB{gpus}"] += 1
    limit = queue.walltime("max")
    words = [f"{number} nodes with {kind}" for kind, number in kinds.most_common()] or ["no nodes of its own"]
    words.append("jobs of any length" if limit is None else f"jobs up to {format_duration(limit)}")
    if queue.is_route:
        words.append(f"hands jobs on to {', '.join(queue.destinations)}")
    words += ["the default"] * (queue.name == found.default_queue)
    words += ["takes no jobs now"] * (not queue.is_true("enabled")) + ["starts no jobs now"] * (
        not queue.is_true("started")
    )
    words += [f"not for you ({barring})"] if (barring := denying_list(queue, who)) else []
    return "; ".join(words)
