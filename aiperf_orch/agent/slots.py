"""Slots of an agent: which cores and accelerators of its node each attempt gets. Decides only; reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiperf_orch.settings.models import MAX_CONCURRENCY
from aiperf_orch.settings.placement import PlacementSettings
from aiperf_orch.util.errors import UsageError


@dataclass(frozen=True, slots=True)
class Slot:
    """Resources of one attempt on this node.

    Attributes:
        number: Number of the slot on the agent, from 0.
        cores: Numbers of its processor cores.
        gpus: Positions of its accelerators among those that the agent may use; None where attempts share all of them.
    """

    number: int
    cores: tuple[int, ...]
    gpus: tuple[int, ...] | None = None


def divide(
    cores: Sequence[int],
    gpus: Sequence[int],
    settings: PlacementSettings,
    *,
    asked: int | None = None,
    simulated: bool = False,
) -> list[Slot]:
    """Divide a node's resources into slots.

    Args:
        cores: Numbers of the cores that the agent may use and no other agent holds.
        gpus: Positions of the accelerators that the agent may use and no other agent holds.
        settings: What a trial wants, and the number of slots.
        asked: Number of slots that the command line requests; None for that of the settings, or as many as fit.
        simulated: Whether trials are simulated, which need no cores and accelerators of their own.

    Raises:
        UsageError: When the node has less than one slot wants, or than the requested slots want.
    """
    if (asked or 0) > MAX_CONCURRENCY:
        raise UsageError(f"{asked} slots are more than a campaign can use: at most {MAX_CONCURRENCY}")
    if simulated:
        return _simulated(cores, settings, asked or settings.slots)
    for what, key, wanted, available in _wants(cores, gpus, settings):
        if wanted > available:
            raise UsageError(
                f"a trial wants {wanted} {what} ({key}), and {available} are available to this agent: start it where "
                f"there are at least {wanted}"
            )
    fitting = _fitting(cores, gpus, settings)
    number = asked or settings.slots or fitting
    if settings.nodes > 1 and number > 1:
        raise UsageError(f"a trial of several nodes takes whole nodes: {number} slots are not possible, only 1")
    if number > fitting and not settings.share_cores:
        found = f"{len(cores)} cores and {len(gpus)} accelerators"
        raise UsageError(
            f"{number} slots do not fit: {found} are available to this agent, enough for {fitting}: request more for "
            "the allocation, or fewer slots"
        )
    size = settings.cores or (len(cores) if settings.nodes > 1 else max(len(cores) // number, 1))
    return [
        Slot(slot, _share(cores, slot, size), None if settings.gpus is None else _share(gpus, slot, settings.gpus))
        for slot in range(number)
    ]


def _wants(
    cores: Sequence[int], gpus: Sequence[int], settings: PlacementSettings
) -> tuple[tuple[str, str, int, int], tuple[str, str, int, int]]:
    """Resources of one slot: name, where the settings request it, number wanted, number available."""
    return (
        ("cores", "cores of a trial on each of its nodes", settings.cores or 1, len(cores)),
        ("GPUs", "GPUs of a trial on each of its nodes", settings.gpus or 0, len(gpus)),
    )


def _fitting(cores: Sequence[int], gpus: Sequence[int], settings: PlacementSettings) -> int:
    """Number of slots with resources of their own."""
    if settings.nodes > 1:
        return 1
    limits = [len(gpus) // settings.gpus] if settings.gpus else []
    if settings.cores:
        limits.append(len(cores) // settings.cores)
    elif settings.slots or limits:
        limits.append(len(cores))
    return min(limits, default=1)


def _simulated(cores: Sequence[int], settings: PlacementSettings, number: int | None) -> list[Slot]:
    """Slots of simulated trials, which may share all cores."""
    size = min(settings.cores or 1, len(cores))
    number = 1 if settings.nodes > 1 else number or max(len(cores) // size, 1)
    return [Slot(slot, _share(cores, slot, size)) for slot in range(number)]


def _share(available: Sequence[int], slot: int, size: int) -> tuple[int, ...]:
    """Resources of a slot; slots beyond the last one begin again with the first resource."""
    return tuple(sorted({available[(slot * size + index) % len(available)] for index in range(size)}))
