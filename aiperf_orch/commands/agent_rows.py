"""What `status` says of agents and of the attempts placed on them, by the journal and the agents' files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiperf_orch.campaign.agent_view import AgentView, agents_of
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.campaign.workforce import AgentState, Workforce
from aiperf_orch.records.agents import AgentBegin, Exited
from aiperf_orch.records.workforce import AgentRecord
from aiperf_orch.schedulers.base import JobState, JobStatus
from aiperf_orch.schedulers.placement.placements import describe_leave
from aiperf_orch.settings.placement import PlacementSettings
from aiperf_orch.util.units import format_duration

AT_WORK: Final = "AT WORK"
USUAL_STATES: Final = (AT_WORK, "IDLE", "DISMISSED", "TIME LIMIT")
"""States of agents that need no attention."""
_UNRECORDED: Final = "not yet recorded by a controller"


@dataclass(frozen=True, slots=True)
class Silence:
    """Limits of an agent's silence in seconds: after which it is shown, and after which a controller gives it up."""

    shown_after: float
    lost_after: float

    @classmethod
    def of(cls, placement: PlacementSettings) -> Silence:
        """The limits of these settings."""
        return cls(4 * placement.heartbeat_interval, placement.lost_after)


def agent_rows(
    state: CampaignState, views: Mapping[str, AgentView], silence: Silence, time: datetime
) -> list[dict[str, Any]]:
    """A row for each agent of the journal, and for those that the journal does not have yet.

    Its values are those of JSON, and times; `left` and `silent_for` in seconds.

    Args:
        state: State of the campaign.
        views: What the agents' files say, by name.
        silence: Limits of an agent's silence.
        time: The present time.
    """
    trials = {attempt.name: attempt.trial for attempt in state.live.values()}
    waiting = Counter(name for attempt in state.live.values() for name in _waits_on(attempt, state, views))
    names = [*state.workforce.agents, *(name for name in views if name not in state.workforce.agents)]
    rows = []
    for name in names:
        agent, view = state.workforce.agents.get(name), views.get(name)
        record = agent.record if agent else view.begin if view else None
        shown, why = _agent_state(agent, view, silence, time)
        left = agent.left if agent else None
        running = view.running if view and not left else {}
        ends_at = record.ends_at if record and not left else None
        last_sign = left.time if left else view.last_sign if view else None
        rows.append(
            {
                "agent": name,
                "state": shown,
                **_begin_fields(record),
                "at_work": len(running),
                "waiting": 0 if left else waiting[name],
                "attempts": [
                    {"name": each.name, "trial": trials.get(each.name), "slot": each.slot, "since": each.time}
                    for each in running.values()
                ],
                "left": None if ends_at is None else max(int((ends_at - time).total_seconds()), 0),
                "ended": left.time if left else None,
                "last_sign": last_sign,
                "silent_for": _seconds(last_sign, time) if last_sign and not left else None,
                "why": why or None,
            }
        )
    return rows


def _begin_fields(record: AgentRecord | AgentBegin | None) -> dict[str, Any]:
    """What an agent's begin line says; None for each field before it."""
    fields: dict[str, Any] = {key: getattr(record, key, None) for key in ("host", "allocation", "job", "slots")}
    return fields | {"began": record.time if record else None}


def _agent_state(agent: AgentState | None, view: AgentView | None, silence: Silence, time: datetime) -> tuple[str, str]:
    """State of an agent, and what there is to say about it."""
    if agent and agent.left:
        return agent.left.reason.upper(), agent.left.message
    if view is None:
        return "SILENT", "its folder is not visible here"
    if view.fault:
        return "UNKNOWN", view.fault
    if view.end:
        return view.end.reason.upper(), "; ".join(filter(None, [view.end.message, _UNRECORDED]))
    silent_for = _seconds(view.last_sign, time) if view.last_sign else None
    if silent_for is not None and silent_for >= silence.shown_after:
        return "SILENT", f"lost after {format_duration(silence.lost_after)}"
    if agent is None:
        return "JOINING", _UNRECORDED if view.begin else "no begin line yet"
    return (AT_WORK if view.running else "IDLE"), ""


def _waits_on(attempt: AttemptState, state: CampaignState, views: Mapping[str, AgentView]) -> list[str]:
    """Agents on which an attempt was placed and has not started."""
    return [
        name
        for name in agents_of(attempt, state.workforce)
        if name not in views or attempt.name not in views[name].started | views[name].exited
    ]


def attempt_status(
    attempt: AttemptState, state: CampaignState, views: Mapping[str, AgentView], exhausted: str | None
) -> JobStatus | None:
    """What its agents say of an attempt, as a queue would say it; None where its placement is not known.

    Args:
        attempt: The attempt.
        state: State of the campaign.
        views: What the agents' files say, by name.
        exhausted: Why no further attempt can start; None where one can.
    """
    names = agents_of(attempt, state.workforce)
    if attempt.job is None:
        return JobStatus(attempt.name, "", JobState.PENDING, exhausted or "not placed on an agent yet")
    if not names:
        return None
    if all(_never_started(attempt, name, state.workforce, views) for name in names):
        detail = exhausted or f"waits for another agent: {', '.join(names)} ended before it started"
        return JobStatus(attempt.name, attempt.job, JobState.PENDING, detail)
    found = [views[name] for name in names if name in views]
    exits = [view.exited[attempt.name] for view in found if attempt.name in view.exited]
    starts = any(attempt.name in view.started for view in found)
    gone = [left for name in names if (left := state.workforce.agents[name].left)]
    if len(exits) == len(names):
        worst = max(exits, key=lambda each: (not each.started, each.signal or 0, each.status or 0))
        detail = f"{_exit(worst)}; {_UNRECORDED}"
    elif gone:
        detail = f"its agent {describe_leave(gone[0])}"
    else:
        detail = "" if starts else f"waits for a slot of {', '.join(names)}"
    waits = not (starts or exits or gone)
    return JobStatus(attempt.name, attempt.job, JobState.PENDING if waits else JobState.RUNNING, detail)


def _never_started(attempt: AttemptState, name: str, workforce: Workforce, views: Mapping[str, AgentView]) -> bool:
    """Whether an attempt certainly never started on an agent that ended, and never will."""
    view, left = views.get(name), workforce.agents[name].left
    if view is None or attempt.name in view.started:
        return False
    if attempt.name in view.exited:
        return view.exited[attempt.name].agent_ends
    return view.end is not None or (left is not None and left.reason != "lost")


def slot_of(attempt: AttemptState, state: CampaignState, views: Mapping[str, AgentView]) -> int | None:
    """Slot of a live attempt on its first agent; None before its start."""
    first = views.get(next(iter(agents_of(attempt, state.workforce)), ""))
    return first.started[attempt.name].slot if first and attempt.name in first.started else None


def is_running(attempt: AttemptState, state: CampaignState, views: Mapping[str, AgentView]) -> bool:
    """Whether a process of an attempt runs on any of its agents."""
    return any(name in views and attempt.name in views[name].running for name in agents_of(attempt, state.workforce))


def _exit(end: Exited) -> str:
    """How an attempt ended on an agent."""
    if not end.started:
        how = "it did not start"
    else:
        how = f"its process has ended: {f'signal {end.signal}' if end.signal else f'exit status {end.status}'}"
    return ": ".join(filter(None, [how, end.message]))


def _seconds(since: datetime, time: datetime) -> int:
    """Seconds from one time to another, 0 where clocks disagree about their order."""
    return max(int((time - since).total_seconds()), 0)
