"""What `status` says of allocations, by the journal and the queue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from aiperf_orch.campaign.workforce import AgentState, AllocationState, Workforce
from aiperf_orch.schedulers.base import JobState, JobStatus


def allocation_rows(
    workforce: Workforce, queued: Mapping[str, JobStatus], time_limit: float | None, time: datetime
) -> list[dict[str, Any]]:
    """A row for each allocation, of values of JSON and times; `left` is in seconds.

    Args:
        workforce: Allocations and agents of the campaign.
        queued: What the queue lists of the allocations' jobs, by name.
        time_limit: Time limit of an allocation in seconds; None without one.
        time: The present time.
    """
    members: defaultdict[str | None, list[AgentState]] = defaultdict(list)
    for agent in workforce.agents.values():
        members[agent.record.allocation].append(agent)
    return [
        _row(allocation, members[allocation.name], queued.get(allocation.name), time_limit, time)
        for allocation in workforce.allocations.values()
    ]


def _row(
    allocation: AllocationState,
    members: Sequence[AgentState],
    queued: JobStatus | None,
    time_limit: float | None,
    time: datetime,
) -> dict[str, Any]:
    present = [agent.record for agent in members if agent.left is None]
    state, why = _state(allocation, queued, began=bool(members))
    ends = [record.ends_at for record in present if record.ends_at]
    since = allocation.submitted
    if state == "ENDED" and allocation.ended:
        since = allocation.ended
    elif state == "RUNNING" and queued and queued.running_for is not None:
        since = time - timedelta(seconds=queued.running_for)
    elif state == "RUNNING" and members:
        since = min(agent.record.time for agent in members)
    if not ends and state == "RUNNING" and time_limit is not None:
        ends = [since + timedelta(seconds=time_limit)]
    return {
        "allocation": allocation.name,
        "state": state,
        "job": allocation.job,
        "nodes": allocation.nodes,
        "agents": len(present),
        "since": since,
        "left": max(int((min(ends) - time).total_seconds()), 0) if ends else None,
        "why": why or None,
    }


def _state(allocation: AllocationState, queued: JobStatus | None, *, began: bool) -> tuple[str, str]:
    """State of an allocation, and the reason for it.

    Args:
        allocation: The allocation.
        queued: The state of its job in the queue; None where the queue does not list it, or was not queried.
        began: Whether any agent of it has joined.
    """
    if allocation.end:
        return "ENDED", ": ".join(filter(None, [allocation.end.reason, allocation.end.message]))
    known = "RUNNING" if began else "SUBMITTED"
    if queued is None:
        after = f"after {allocation.after}" if allocation.after and not began else ""
        return known, after if allocation.job else "the scheduler has not answered yet"
    if queued.state is JobState.PENDING:
        return "PENDING", ", ".join(
            filter(None, [queued.detail, f"after {allocation.after}" if allocation.after else ""])
        )
    if queued.state is JobState.ENDED:
        ended = ": ".join(filter(None, ["its job has ended", queued.detail]))
        return known, f"{ended}; not yet recorded by a controller"
    return ("SUSPENDED" if queued.suspended else "RUNNING"), queued.detail
