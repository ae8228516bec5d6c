"""Settings of the job of an allocation, and of the job of a trial, from the section `scheduler` of a site file."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from aiperf_orch.settings.schedulers import ClusterSettings, PbsSettings, SlurmSettings

AnyCluster = TypeVar("AnyCluster", bound=ClusterSettings)


def allocation_job(settings: AnyCluster) -> AnyCluster:
    """The settings that request one allocation as those of a trial request a trial.

    Memory is that of as many trials as a node holds. Without `allocations` they are the settings of a trial.
    """
    own = settings.allocations
    if own is None:
        return settings
    changed: dict[str, Any] = {
        "nodes": own.nodes,
        "time_limit": own.time_limit,
        "lookahead": own.at_once,
        "allocations": None,
    }
    match settings:
        case SlurmSettings():
            changed |= {"cpus_per_task": settings.node_cores, "gpus_per_node": settings.node_gpus}
            changed["memory"] = _times(settings.memory, settings.slots_per_node)
        case PbsSettings():
            changed |= {"cpus": settings.node_cores, "gpus": settings.node_gpus}
            changed["memory"] = _times(settings.memory, settings.slots_per_node)
    return settings.model_copy(update=changed)


def trial_job(settings: AnyCluster) -> AnyCluster:
    """The settings with which each trial would be a job of its own, without a site's template of an allocation."""
    if settings.allocations is None:
        return settings
    return settings.model_copy(update={"allocations": None, "template": None})


def _times(memory: str | None, factor: int) -> str | None:
    """An amount of memory times a factor, in its unit; all of a node's stays all of it."""
    amount = re.match(r"[0-9]+", memory or "")
    if memory is None or amount is None:
        return None
    return f"{int(amount[0]) * factor}{memory[amount.end() :]}"
