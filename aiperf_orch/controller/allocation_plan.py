"""Which allocations a campaign submits next, and for how long: decisions on its journal, without effects.

`at_once` chains of allocations are kept: in each of them one allocation is pending or runs, and the next one waits in
the queue for its end as soon as it runs and does not last to the end of the campaign.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aiperf_orch.campaign.workforce import AllocationState, Workforce
from aiperf_orch.records.base import EndReason
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings, LocalSettings

FAILURES: Final = 3
"""Number of allocations in a row without an agent that served after which the campaign pauses."""

NEVER_ACCEPTED: Final = "NEVER_ACCEPTED"
"""Reason of the end of an allocation of which the scheduler knows no job: its submission had no answer."""

DISMISSED: Final = "DISMISSED"
"""Reason of the end of an allocation that the campaign needed no more."""

RESUBMITTED: Final = EndReason.RESUBMITTED.value
"""Reason of the end of an allocation that waited when settings of its job were changed: another one takes its place."""


@dataclass(frozen=True, slots=True)
class AllocationLimits:
    """What one allocation of a campaign is, and how many there may be.

    Attributes:
        nodes: Number of its nodes.
        slots: Number of slots that are expected of each node.
        time_limit: Its time limit in seconds; None without one.
        at_once: Number of allocations that may run at once.
        total: Number of allocations in all; None without a limit.
        margin: Seconds by which one lasts beyond the campaign, so that its trials can end.
        least: Seconds of the campaign for which a new one is worth while.
        grows: Whether one with fewer slots, from before `campaign.concurrency` was raised, is replaced by another one.
    """

    nodes: int
    slots: int
    time_limit: float | None
    at_once: int
    total: int | None
    margin: float
    least: float
    grows: bool = False

    @classmethod
    def of(cls, settings: SiteSettings) -> AllocationLimits | None:
        """The limits by a site's settings; None where no allocation is submitted."""
        match settings.scheduler:
            case ClusterSettings() as scheduler if scheduler.allocations is not None:
                own = scheduler.allocations
                return cls(
                    own.nodes,
                    scheduler.slots_per_node,
                    own.time_limit,
                    own.at_once,
                    own.total,
                    margin=scheduler.stop_grace + scheduler.warn_before,
                    least=scheduler.warn_before,
                )
            case LocalSettings(job_per_trial=False):
                return cls(1, settings.campaign.concurrency, None, 1, None, margin=0.0, least=0.0, grows=True)
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Planned:
    """An allocation to submit.

    Attributes:
        after: The allocation that must have ended before it starts; None for one that starts as soon as it can.
        starts_at: When that is expected; None for one that starts as soon as it can.
    """

    after: str | None = None
    starts_at: datetime | None = None


def plan_allocations(
    workforce: Workforce, limits: AllocationLimits, deadline: datetime | None, time: datetime
) -> list[Planned]:
    """The allocations to submit now.

    Args:
        workforce: Allocations and agents of the campaign.
        limits: Limits of its allocations.
        deadline: End of the campaign; None before its first trial has begun.
        time: The present time.
    """
    live = workforce.live_allocations
    names = {allocation.name for allocation in live}
    heads = [allocation for allocation in live if allocation.after not in names]
    followed = {allocation.after for allocation in live}
    planned = []
    if deadline is None or deadline - time > timedelta(seconds=limits.least):
        planned += [Planned()] * (limits.at_once - len(heads))
    for head in heads:
        end = expected_end(workforce, head, limits)
        if end is None or deadline is None or head.name in followed:
            continue
        if deadline - end > timedelta(seconds=limits.least):
            planned.append(Planned(head.name, end))
    return planned if limits.total is None else planned[: max(limits.total - _number(workforce), 0)]


def expected_end(workforce: Workforce, allocation: AllocationState, limits: AllocationLimits) -> datetime | None:
    """When an allocation's time is over; None before an agent has joined from it, and without a time limit."""
    agents = [agent.record for agent in workforce.agents.values() if agent.record.allocation == allocation.name]
    if not agents or limits.time_limit is None:
        return None
    stated = [agent.ends_at for agent in agents if agent.ends_at is not None]
    limit = timedelta(seconds=limits.time_limit)
    return max(stated) if stated else min(agent.time for agent in agents) + limit


def time_limit(
    planned: Planned, limits: AllocationLimits, duration: float, deadline: datetime | None, time: datetime
) -> float | None:
    """Seconds that an allocation submitted now may take: what is left of the campaign, and the time to end its trials.

    Args:
        planned: The allocation.
        limits: Limits of the campaign's allocations.
        duration: Duration of the campaign in seconds.
        deadline: End of the campaign; None before its first trial has begun.
        time: The present time.
    """
    if limits.time_limit is None:
        return None
    # the campaign is measured from the first begin of any trial, so that the first allocation, too, ends within it
    left = duration if deadline is None else max((deadline - (planned.starts_at or time)).total_seconds(), 0.0)
    return min(limits.time_limit, left + limits.margin)


def failure_reason(workforce: Workforce, ended: Iterable[str]) -> str | None:
    """Why the campaign should pause after the ends of these allocations, which the workforce contains; None if not.

    An allocation fails when its job ends and no agent of it ever served. Before any has served, the first failure
    pauses the campaign; after that, `FAILURES` in a row do.
    """
    ended_jobs = [each for each in workforce.allocations.values() if each.job and each.end]
    jobs = [each for each in ended_jobs if each.end and each.end.reason not in (DISMISSED, RESUBMITTED)]
    jobs.sort(key=lambda allocation: allocation.ended or allocation.submitted)
    served = _served(workforce)
    failures = 0
    for allocation in reversed(jobs):
        if allocation.name in served:
            break
        failures += 1
    names = set(ended)
    last = next((allocation for allocation in reversed(jobs) if allocation.name in names), None)
    if last is None or last.end is None or not failures or (served and failures < FAILURES):
        return None
    before = f"{failures} allocations in a row did not serve; the last one: " if failures > 1 else ""
    what = f"allocation {last.name} (job {last.job}) ended {last.end.reason}, and none of its agents served"
    return f"{before}{what}: {last.end.message or 'no message'}"


def exhaustion_reason(workforce: Workforce, limits: AllocationLimits) -> str | None:
    """Why the campaign cannot go on for want of further allocations; None where it can."""
    if limits.total is None or workforce.live_allocations or workforce.present_agents:
        return None
    if _number(workforce) < limits.total:
        return None
    if limits.total == 1:
        ended = "the only allocation that the campaign may have (scheduler.allocations.total: 1) has ended"
    else:
        ended = f"all {limits.total:,} allocations that the campaign may have (scheduler.allocations.total) have ended"
    return f"no further trial can start: {ended}; agents that are started manually can go on"


def _served(workforce: Workforce) -> set[str]:
    """Names of the allocations of which any agent could run trials."""
    return {
        agent.record.allocation
        for agent in workforce.agents.values()
        if agent.record.allocation and not (agent.left and agent.left.reason == "failed")
    }


def _number(workforce: Workforce) -> int:
    """Number of allocations of the campaign, without those that were never accepted, or replaced before they began."""
    allocations = workforce.allocations.values()
    return sum(each.end is None or (each.job is not None and each.end.reason != RESUBMITTED) for each in allocations)
