"""Allocations and agents of a campaign: a fold over the entries of its journal."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from aiperf_orch.records.agents import AGENT_PATTERN
from aiperf_orch.records.journal import Allocated, Allocating, AllocationEnded, Entry, Joined, Left, SettingsChanged
from aiperf_orch.records.workforce import AgentLeave, AgentRecord, AllocationEnd
from aiperf_orch.settings.changeable import concerns_allocations


@dataclass
class AllocationState:
    """One allocation, as the journal describes it.

    Attributes:
        name: Name of its job.
        nodes: Number of its nodes.
        slots: Number of slots that are expected of each node.
        after: Name of the allocation that must have ended before this one starts; None where it need not wait.
        submitted: Time of the journal entry that announces its submission.
        job: The scheduler's job id; None between that journal entry and the scheduler's answer.
        end: Its end; None while it is pending or runs.
        ended: Time of the journal entry of its end.
        outdated: Whether settings of its job changed before any agent joined from it; it is then to be submitted again.
        note: What the queue last said of its job, for the user: why it is pending. The journal does not have it.
    """

    name: str
    nodes: int
    slots: int
    after: str | None
    submitted: datetime
    job: str | None = None
    end: AllocationEnd | None = None
    ended: datetime | None = None
    outdated: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Absence:
    """A time during which an agent was considered lost: its leave, and the journal entry that it joined again."""

    leave: AgentLeave
    joined_again: datetime


@dataclass
class AgentState:
    """One agent, as the journal describes it.

    Attributes:
        record: Its begin.
        left: Its end; None while it may get attempts.
        left_recorded: Time of the journal entry of that end.
        absences: Earlier times during which it was considered lost.
    """

    record: AgentRecord
    left: AgentLeave | None = None
    left_recorded: datetime | None = None
    absences: list[Absence] = field(default_factory=list)


@dataclass
class Workforce:
    """All allocations and agents of a campaign, by name, in the order of the journal."""

    allocations: dict[str, AllocationState] = field(default_factory=dict)
    agents: dict[str, AgentState] = field(default_factory=dict)

    def apply(self, entry: Entry) -> None:
        """Apply an entry of the journal; others than those of allocations and agents change nothing.

        Raises:
            KeyError: When the entry names an allocation or an agent that the entries before it do not contain.
        """
        match entry:
            case Allocating():
                for new in entry.allocations:
                    self.allocations[new.name] = AllocationState(new.name, new.nodes, new.slots, new.after, entry.time)
            case Allocated():
                for job in entry.jobs:
                    self.allocations[job.name].job = job.job
            case AllocationEnded():
                for end in entry.allocations:
                    allocation = self.allocations[end.name]
                    allocation.end, allocation.ended = end, entry.time
            case SettingsChanged() if any(concerns_allocations(*change.values) for change in entry.changes):
                serving = {agent.record.allocation for agent in self.agents.values()}
                for allocation in self.live_allocations:
                    allocation.outdated |= allocation.name not in serving
            case Joined():
                for record in entry.agents:
                    self._join(record, entry.time)
            case Left():
                for leave in entry.agents:
                    agent = self.agents[leave.agent]
                    agent.left, agent.left_recorded = leave, entry.time

    def _join(self, record: AgentRecord, time: datetime) -> None:
        if record.allocation in self.allocations:
            self.allocations[record.allocation].outdated = False  # it runs
        known = self.agents.get(record.agent)
        absences = known.absences if known else []
        if known is not None and known.left is not None:
            absences = [*absences, Absence(known.left, time)]
        self.agents[record.agent] = AgentState(record, absences=absences)

    @property
    def live_allocations(self) -> list[AllocationState]:
        """Allocations that are pending or run, or whose submission has not been answered."""
        return [allocation for allocation in self.allocations.values() if allocation.end is None]

    @property
    def present_agents(self) -> list[AgentRecord]:
        """Agents that have joined and not left."""
        return [agent.record for agent in self.agents.values() if agent.left is None]


_AGENTS: Final = re.compile(rf"{AGENT_PATTERN}(?:,{AGENT_PATTERN})*")


def agents_in(job: str | None) -> list[str]:
    """Agents that hold a placed attempt, by its job id in the journal; none for a job id of a batch system."""
    return job.split(",") if job is not None and _AGENTS.fullmatch(job) else []
