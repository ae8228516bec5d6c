"""State of an attempt that was placed on agents: a fold of its order and of the lines of the agents' logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final, Protocol

from aiperf_orch.records.agents import AgentEnd, Exited, Place, Started
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.workforce import AgentLeave
from aiperf_orch.schedulers.base import JobEnd, JobRequest, JobState, JobStatus

_OF_LEAVE: Final = {
    "time limit": EndReason.TIME_LIMIT,
    "killed": EndReason.LOST,
    "lost": EndReason.NODE_FAILURE,
}
"""What the end of an agent means for an attempt on it; any other end is PREEMPTED."""
_OF_ALLOCATION: Final = frozenset({EndReason.TIME_LIMIT, EndReason.NODE_FAILURE})
"""Ends of an allocation that are those of its attempts; for any other end they are PREEMPTED, and go on elsewhere."""

_WORDS: Final = {
    "killed": "was killed",
    "lost": "was lost",
    "dismissed": "was dismissed",
    "terminated": "was terminated",
    "time limit": "ended with the time of its allocation",
    "no controller": "ended without a controller",
    "failed": "failed",
}
"""What is said of an agent that left for a reason."""


class Holder(Protocol):
    """What the state of an attempt depends on of an agent that holds it."""

    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def end(self) -> AgentEnd | None: ...  # noqa: D102
    @property
    def gone(self) -> AgentLeave | None: ...  # noqa: D102
    @property
    def allocation_end(self) -> JobEnd | None: ...  # noqa: D102
    @property
    def clock_skew(self) -> float: ...  # noqa: D102


class Stage(Enum):
    """How far an attempt has come on its agents."""

    PENDING = "it has not started on all of them"
    RUNNING = "it has started on all of them, and not exited"
    ENDED = "it has exited on all of them"
    RETURNED = "it has certainly started on none of them, and never will"
    GONE = "an agent that held it is gone, and did not record its exit"


@dataclass(eq=False)
class Placement:
    """An attempt that was placed on agents.

    Attributes:
        name: Name of the attempt.
        agents: Names of its agents, by rank.
        at_once: Number of attempts that may run at once on each of them.
        order: The order of an earlier controller, which this one has not confirmed; None for an order of its own.
        given: Agents whose orders have it; fewer than `agents` where a controller was killed in between.
        started: The starts, by agent.
        exited: The exits, by agent.
        released: Whether its trial has ended, by the campaign's journal.
        killed: Whether its agents have the order to end it by force.
    """

    name: str
    agents: tuple[str, ...]
    at_once: int
    order: Place | None = None
    given: set[str] = field(default_factory=set)
    started: dict[str, Started] = field(default_factory=dict)
    exited: dict[str, Exited] = field(default_factory=dict)
    released: bool = False
    killed: bool = False

    @property
    def job(self) -> str:
        """Its job id."""
        return ",".join(self.agents)

    def stage(self, holders: Mapping[str, Holder]) -> Stage:
        """How far it has come."""
        if any(self._is_gone(name, holders) for name in self.agents):
            return Stage.GONE
        if all(self._is_returned(name, holders) for name in self.agents):
            return Stage.RETURNED
        still = self.open_agents(holders)
        if not still:
            return Stage.ENDED
        return Stage.RUNNING if self.started.keys() >= set(still) else Stage.PENDING

    def open_agents(self, holders: Mapping[str, Holder]) -> list[str]:
        """Agents that hold it still."""
        return [
            name
            for name in self.agents
            if name not in self.exited and not self._is_returned(name, holders) and not self._is_gone(name, holders)
        ]

    def is_hopeless(self, holders: Mapping[str, Holder]) -> bool:
        """Whether some of its agents hold it although others never will: then it can only be ended."""
        never = any(self._is_returned(name, holders) or self._is_gone(name, holders) for name in self.agents)
        return never and bool(self.open_agents(holders))

    def refusal(self, holders: Mapping[str, Holder]) -> str:
        """Why living agents did not start it although it was not stopped; empty where that is no refusal."""
        if self.killed or any((holder := holders.get(name)) is None or holder.gone for name in self.agents):
            return ""
        messages = {name: exited.message for name, exited in self.exited.items() if not exited.started}
        return next((f"agent {name}: {message}" for name, message in messages.items() if message), "")

    def _is_returned(self, name: str, holders: Mapping[str, Holder]) -> bool:
        """Whether it certainly never started on an agent, and never will."""
        if name in self.exited:
            return not self.exited[name].started
        holder = holders.get(name)
        if holder is None or name in self.started:
            return False
        # an agent that has ended takes no more orders; of one that was killed its successor has ended all processes
        return (
            name not in self.given
            or holder.end is not None
            or (holder.gone is not None and holder.gone.reason == "killed")
        )

    def _is_gone(self, name: str, holders: Mapping[str, Holder]) -> bool:
        """Whether an agent is gone that may have started it, and did not record its exit."""
        holder = holders.get(name)
        if name in self.exited or holder is None or holder.gone is None:
            return False
        return not self._is_returned(name, holders)


def preferred(placements: Iterable[Placement], holders: Mapping[str, Holder]) -> Placement | None:
    """Of several placements of one attempt the one that counts: one that started, else the latest that may start."""
    ranks = {Stage.RUNNING: 3, Stage.ENDED: 2, Stage.GONE: 2, Stage.PENDING: 1, Stage.RETURNED: 0}
    best, best_rank = None, (-1, False)
    for placement in placements:
        stage = placement.stage(holders)
        rank = (ranks[stage] if stage is not Stage.GONE or placement.started else 1, bool(placement.started))
        if rank >= best_rank:
            best, best_rank = placement, rank
    return best


def job_status(placement: Placement, holders: Mapping[str, Holder], time: datetime) -> JobStatus | None:
    """The attempt as a queue would list it; None for one whose agent is gone."""
    match placement.stage(holders):
        case Stage.PENDING:
            agents = ", ".join(name for name in placement.open_agents(holders) if name not in placement.started)
            return JobStatus(placement.name, placement.job, JobState.PENDING, f"waits for a slot of {agents}")
        case Stage.RUNNING:
            seconds = min(
                _seconds_since(started, holders.get(name), time) for name, started in placement.started.items()
            )
            return JobStatus(placement.name, placement.job, JobState.RUNNING, running_for=max(seconds, 0.0))
        case Stage.RETURNED:
            detail = next((exited.message for exited in placement.exited.values() if exited.message), "never started")
            return JobStatus(placement.name, placement.job, JobState.ENDED, detail, never_started=True)
        case Stage.ENDED:
            return JobStatus(placement.name, placement.job, JobState.ENDED, job_end(placement, holders).detail)
        case Stage.GONE:
            return None


def job_end(placement: Placement, holders: Mapping[str, Holder]) -> JobEnd:
    """The end of an attempt that has ended, or whose agent is gone."""
    gone = [
        (name, holder)
        for name in placement.agents
        if name not in placement.exited and (holder := holders.get(name)) is not None and holder.gone is not None
    ]
    return _end_of_gone(gone) if gone else _end_of_exited(placement, holders)


def describe_leave(leave: AgentLeave) -> str:
    """Say how an agent left: `n1.1 was lost: no sign of life for 180 s`."""
    return ": ".join(filter(None, [f"{leave.agent} {_WORDS[leave.reason]}", leave.message]))


def _end_of_gone(gone: list[tuple[str, Holder]]) -> JobEnd:
    """The end of an attempt by agents that are gone."""
    name, holder = gone[0]
    leave = holder.gone
    if leave is None:
        raise AssertionError(f"agent {name} is not gone")
    detail = f"its agent {describe_leave(leave)}"
    if leave.reason == "lost" and (end := holder.allocation_end) is not None:
        return JobEnd(end.reason if end.reason in _OF_ALLOCATION else EndReason.PREEMPTED, detail, end.hosts)
    hosts = tuple(each.host for _, each in gone) if leave.reason == "lost" else ()
    return JobEnd(_OF_LEAVE.get(leave.reason, EndReason.PREEMPTED), detail, hosts)


def _end_of_exited(placement: Placement, holders: Mapping[str, Holder]) -> JobEnd:
    """The end of an attempt that exited on all of its agents, by the first one that did not exit with status 0."""
    exits = [(name, placement.exited[name]) for name in placement.agents if name in placement.exited]
    for name, exited in exits:
        if exited.agent_ends or (exited.started and exited.message):  # by the agent, and not for the controller's order
            holder = holders.get(name)
            leave = holder.end.reason if holder and holder.end else "terminated"
            return JobEnd(_OF_LEAVE.get(leave, EndReason.PREEMPTED), f"agent {name}: {exited.message}")
    bad = next((exited for _, exited in exits if exited.status != 0), None)
    if bad is None:
        return JobEnd(None, "exit status 0" if exits else "never started")
    if bad.status is None:
        return JobEnd(None, f"ended by signal {bad.signal}" if bad.signal else bad.message or "never started")
    return JobEnd(EndReason.TRIAL_ERROR, f"exit status {bad.status}")


def _seconds_since(started: Started, holder: Holder | None, time: datetime) -> float:
    """Seconds since a start, by this clock."""
    return (time - started.time).total_seconds() + (holder.clock_skew if holder else 0.0)


def order_fields(request: JobRequest, placement: Placement, hosts: Sequence[str]) -> dict[str, Any]:
    """The fields of an attempt's order."""
    return {
        "name": request.name,
        "command": list(request.command),
        "folder": str(request.folder),
        "spec": str(request.spec) if request.spec else None,
        "spec_sha256": request.spec_sha256,
        "agents": list(placement.agents),
        "hosts": list(hosts),
        "at_once": placement.at_once,
    }
