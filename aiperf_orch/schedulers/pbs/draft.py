"""A first site file for PBS, from what the server says that its complex has. Asks nothing itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from aiperf_orch.config_schedulers import PbsSettings
from aiperf_orch.schedulers.pbs.site import Complex, Node, Place, trials_a_node
from aiperf_orch.schedulers.script import render_script
from aiperf_orch.units import format_duration

_LONGEST: Final = 4 * 3600.0  # seconds of one job, the settings' default
_MOST_TRIALS: Final = 100_000


def draft(found: Complex, file: str) -> str:
    """The text of a site file, with the alternatives as comments.

    One trial gets one GPU and its share of the host; in a complex without GPUs it gets a whole host.

    Args:
        found: what there is.
        file: where the file will lie, for the words that tell how to go on.
    """
    queue = choose_queue(found)
    nodes = found.nodes_of(found.executing(queue.name)) if queue else []
    settings = trial_allocation(queue, nodes, found)
    slots = sum(trials_a_node(settings, node) for node in nodes if node.is_usable)
    chosen_first = sorted(found.queues.values(), key=lambda each: each is not queue)
    return render_script(
        "site_pbs.yaml.j2",
        None,
        file=file,
        found=found,
        site=settings,
        queues=[(each.name, _describe(each, found)) for each in chosen_first],
        time_limit=format_duration(settings.time_limit),
        warn_before=format_duration(settings.warn_before),
        slots=slots,
        concurrency=min(max(slots, 1), _MOST_TRIALS),
    )


def choose_queue(found: Complex) -> Place | None:
    """The queue to begin with: it takes and starts jobs, with GPUs, the default one, with most hosts, in this order of weight."""

    def merit(queue: Place) -> tuple[bool, bool, bool, int]:
        nodes = found.nodes_of(found.executing(queue.name))
        return (
            queue.says("enabled") and queue.says("started") and not queue.says("from_route_only"),
            any(node.gpus for node in nodes),
            queue.name == found.default_queue,
            len(nodes),
        )

    return max(found.queues.values(), key=merit, default=None)


def trial_allocation(queue: Place | None, nodes: Sequence[Node], found: Complex) -> PbsSettings:
    """What one trial gets in a queue: of its most frequent kind of host one GPU's share, or all of it."""
    bounds = [found.server, *(found.executing(queue.name) if queue else [])]
    longest = min((limit for place in bounds if (limit := place.walltime("max"))), default=_LONGEST)
    time_limit = min(_LONGEST, longest)
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
        fields["cpus"] = max(cpus // share, 1)
        if gpus:
            fields["gpus"] = 1
            if memory >= share:
                fields["memory"] = f"{memory // share}mb"
        else:
            fields["place"] = "scatter:excl"
    return PbsSettings.model_validate(fields)


def _describe(queue: Place, found: Complex) -> str:
    kinds: Counter[str] = Counter()
    for node in found.nodes_of(found.executing(queue.name)):
        gpus = f", {node.gpus} GPUs" if node.gpus else ""
        kinds[f"{node.cpus} cores, {node.memory / (1 << 20):.3g} GiB{gpus}"] += 1
    limit = queue.walltime("max")
    words = [f"{number} nodes with {kind}" for kind, number in kinds.most_common()] or ["no nodes of its own"]
    words.append("jobs of any length" if limit is None else f"jobs up to {format_duration(limit)}")
    if queue.is_route:
        words.append(f"hands jobs on to {', '.join(queue.destinations)}")
    words += ["the default"] * (queue.name == found.default_queue)
    words += ["takes no jobs now"] * (not queue.says("enabled")) + ["starts no jobs now"] * (not queue.says("started"))
    words += ["with a list of its users"] * queue.says("acl_user_enable")
    return "; ".join(words)
