"""Times at which agents were present on their nodes, from the journal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from operator import attrgetter
from typing import Final

from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.workforce import AgentState
from aiperf_orch.records.agents import BY_HAND
from aiperf_orch.records.workforce import AgentLeave
from aiperf_orch.results.collected_trials import Collected

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(time: datetime) -> int:
    """A time as microseconds since 1970, with which sums are exact and cannot overflow."""
    return (time - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Presence:
    """An agent on its node, without a break. Times are microseconds since 1970.

    Attributes:
        agent: its name.
        host: the node.
        job: job id of its allocation.
        slots: number of its slots.
        begin: time at which it began, or was considered present again.
        last_sign: its latest sign of life, apart from those of its trials.
        end: the time until which it counts; later than `last_sign` only for an agent that was killed or lost.
    """

    agent: str
    host: str
    job: str
    slots: int
    begin: int
    last_sign: int
    end: int


def presences_of(state: CampaignState, collected: Collected, lost_after: float) -> list[Presence]:
    """The presences of all agents, in the order of their begins.

    An agent that was killed or lost counts until the journal recorded that, at most `lost_after` seconds beyond its
    last sign of life, and not beyond the begin of the next agent on its node. One that has not left counts until the
    last known time, and not beyond the end of its allocation or the begin of the next agent of its job on its node.
    """
    latest = _latest_time(state, collected)
    found = [
        presence
        for agent in state.workforce.agents.values()
        for presence in _presences(agent, latest, round(lost_after * 1e6))
    ]
    found.sort(key=attrgetter("begin"))
    left = {name for name, agent in state.workforce.agents.items() if agent.left is not None}
    return sorted(_without_overlaps(found, left), key=attrgetter("begin"))


def _latest_time(state: CampaignState, collected: Collected) -> int:
    """The latest time that the records know."""
    times = [state.latest] if state.latest else []
    for records in collected.trials:
        times += [begin.time for begin in records.begins] + [end.time for end in records.ends]
        times += [epoch.end for epoch in records.epochs[-1:]]
    return microseconds(max(times)) if times else 0


def _presences(agent: AgentState, latest: int, lost_after: int) -> Iterator[Presence]:
    record = agent.record
    begin = microseconds(record.time)
    first = Presence(record.agent, record.host, record.job, record.slots, begin, begin, begin)
    for absence in agent.absences:
        last_sign = max(microseconds(absence.leave.time), begin)
        back = max(microseconds(absence.joined_again), last_sign)
        yield replace(first, begin=begin, last_sign=last_sign, end=back)
        begin = back
    if agent.left is None:
        limit = math.inf if record.ends_at is None else microseconds(record.ends_at)
        end = max(int(min(latest, limit)), begin)
        yield replace(first, begin=begin, last_sign=end, end=end)
        return
    last_sign = end = max(microseconds(agent.left.time), begin)
    if not wrote_its_end(agent.left) and agent.left_recorded is not None:
        end = max(min(microseconds(agent.left_recorded), last_sign + lost_after), last_sign)
    yield replace(first, begin=begin, last_sign=last_sign, end=end)


def _without_overlaps(presences: Sequence[Presence], left: set[str]) -> Iterator[Presence]:
    """Cut presences whose end is not known where the next agent on the same node begins."""
    following: dict[str, tuple[Presence, Presence | None]] = {}  # host -> the next one, and the next of another agent
    in_job: dict[tuple[str, str], Presence] = {}
    for each in reversed(presences):
        next_, after = following.get(each.host, (None, None))
        if next_ is not None and next_.agent != each.agent:
            after = next_
        same_job = None if each.job == BY_HAND else in_job.get((each.host, each.job))
        following[each.host], in_job[each.host, each.job] = (each, after), each
        if each.agent not in left and same_job is not None and same_job.begin < each.end:
            end = same_job.begin
            yield replace(each, last_sign=min(each.last_sign, end), end=end)
        elif each.end > each.last_sign and after is not None and after.begin < each.end:
            yield replace(each, end=max(after.begin, each.last_sign))
        else:
            yield each


def wrote_its_end(leave: AgentLeave) -> bool:
    """Whether an agent wrote the end of its log itself, after the end of its last trial."""
    return leave.reason not in ("killed", "lost")
