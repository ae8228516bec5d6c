"""Table of the settings that may change after a campaign began, and the reasons for which the others may not.

The command `set`, the controller and `verify` share this table; docs/reference/settings.md is made from it.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from aiperf_orch.settings.models import SiteSettings


class Effect(Enum):
    """What a change of a setting takes effect on."""

    JOBS = "jobs submitted from now on; those that wait in the queue are submitted again"
    TRIALS = "trials proposed from now on"
    STARTS = "trials that start from now on"
    CONTROLLER = "the controller, from its next step on"


CHANGEABLE: Final[dict[str, Effect]] = {
    "campaign.concurrency": Effect.CONTROLLER,
    "campaign.duration": Effect.CONTROLLER,
    "campaign.max_trials": Effect.CONTROLLER,
    "data.stage": Effect.STARTS,
    "data.stage_readers": Effect.STARTS,
    "data.loaders": Effect.TRIALS,
    "scheduler.partition": Effect.JOBS,
    "scheduler.queue": Effect.JOBS,
    "scheduler.account": Effect.JOBS,
    "scheduler.project": Effect.JOBS,
    "scheduler.qos": Effect.JOBS,
    "scheduler.reservation": Effect.JOBS,
    "scheduler.constraint": Effect.JOBS,
    "scheduler.exclude": Effect.JOBS,
    "scheduler.time_limit": Effect.JOBS,
    "scheduler.setup": Effect.JOBS,
    "scheduler.modules": Effect.JOBS,
    "scheduler.python": Effect.JOBS,
    "scheduler.lookahead": Effect.CONTROLLER,
    "scheduler.poll_interval": Effect.CONTROLLER,
    "scheduler.query_interval": Effect.CONTROLLER,
    "scheduler.stop_grace": Effect.CONTROLLER,
    "scheduler.allocations.nodes": Effect.JOBS,
    "scheduler.allocations.time_limit": Effect.JOBS,
    "scheduler.allocations.at_once": Effect.CONTROLLER,
    "scheduler.allocations.total": Effect.CONTROLLER,
    "scheduler.allocations.lookahead": Effect.CONTROLLER,
}
"""Key of each setting that may change -> what the change takes effect on."""

_BENCHMARK: Final = "it would change the benchmark, whose trials must all be made by the same"
_REFUSALS: Final[tuple[tuple[str, str], ...]] = (
    ("system.", "it describes the system that is measured, which is the same for the whole campaign"),
    ("campaign.seed", f"{_BENCHMARK} seed"),
    ("campaign.group_readable", "the modes of the campaign's files are set when they are made"),
    ("campaign.", "the failure policy is the same for all trials of a campaign"),
    ("data.", f"{_BENCHMARK} data"),
    ("network.", f"{_BENCHMARK} limits of networks"),
    ("search.", f"{_BENCHMARK} search"),
    ("training.", f"{_BENCHMARK} recipe"),
    ("scheduler.kind", "the jobs of a campaign are all those of one scheduler"),
    ("scheduler.cluster", "the jobs of a campaign are all those of one cluster"),
    ("scheduler.job_per_trial", "the trials of a campaign all run in the same way"),
    *(
        (f"scheduler.{key}", f"{_BENCHMARK} nodes, cores, memory and accelerators")
        for key in (
            "nodes", "cores_per_trial", "gpus_per_trial", "cpus_per_task", "memory", "gpus_per_node", "gpu_type",
            "gpu_option", "exclusive", "cpus", "gpus", "chunk", "place", "resources", "workers_per_node",
            "allocations.cpus_per_node", "allocations.gpus_per_node",
        )
    ),
    ("scheduler.allocations", "times of agents, and the way in which trials run, are the same for the whole campaign"),
    ("scheduler.", "scripts, launchers and time-outs are the same for all jobs of a campaign"),
)  # fmt: skip
"""Key, or beginning of keys, and why the setting may not change; the first that matches a key is its reason."""


def refusal_reason(key: str) -> str | None:
    """Why a setting may not change after a campaign began; None where it may.

    Args:
        key: Dotted key without `advanced`, for example `scheduler.poll_interval`.
    """
    if key in CHANGEABLE:
        return None
    return next(
        reason
        for beginning, reason in _REFUSALS
        if key == beginning or key.startswith(beginning if beginning.endswith(".") else f"{beginning}.")
    )


def bound_fault(before: SiteSettings, after: SiteSettings) -> str | None:
    """Why settings may not follow others, by the values of settings that may change in one direction only.

    Returns:
        The key, and what is wrong with its value; None where nothing is.
    """
    old, new = before.campaign.duration, after.campaign.duration
    if new > old:
        return "campaign.duration: may only become shorter: the time limit is part of the benchmark"
    return None


def concerns_jobs(key: str, before: Any, after: Any) -> bool:
    """Whether jobs of trials that wait in the queue must be submitted again after a change of a setting.

    Args:
        key: Dotted key without `advanced`.
        before: JSON value before the change.
        after: JSON value after it.
    """
    is_bound = key in ("campaign.concurrency", "scheduler.lookahead")
    return (is_bound and _is_lower(after, before)) or CHANGEABLE.get(key) is Effect.JOBS


def concerns_allocations(key: str, before: Any, after: Any) -> bool:
    """Whether allocations that wait in the queue must be submitted again; arguments as of `concerns_jobs`."""
    is_bound = key == "scheduler.allocations.at_once"
    return (is_bound and _is_lower(after, before)) or CHANGEABLE.get(key) is Effect.JOBS


def _is_lower(one: Any, other: Any) -> bool:
    """Whether a number is lower than another one; a journal that was not checked may have other values."""
    return isinstance(one, int) and isinstance(other, int) and one < other
