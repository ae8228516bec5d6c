"""Allocations and agents of a built campaign: journal entries and the files that agents would have left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiperf_orch
from aiperf_orch.campaign.agent_files import claim_folder
from aiperf_orch.records.agents import AgentBegin, AgentEnd, Exited, Heartbeat, Started
from aiperf_orch.records.journal import Allocated, Allocating, AllocationEnded, Began, Joined, Left
from aiperf_orch.records.workforce import AgentLeave, AgentRecord, AllocationEnd, AllocationJob, AllocationRecord
from campaign_builder import CampaignBuilder


class AgentBuilder:
    """Writes allocations and agents of a campaign. Times are seconds after the campaign's start."""

    def __init__(self, made: CampaignBuilder) -> None:
        self.made = made

    def allocate(
        self, number: int = 1, *, at: float = 0, nodes: int = 2, job: str | None = "4711", after: str | None = None
    ) -> str:
        """Journal an allocation, and with `job` that the scheduler accepted it; returns its name."""
        name = f"{self.made.directory.config.tag}-a{number:05d}"
        record = AllocationRecord(name=name, nodes=nodes, slots=8, after=after)
        self.made.write(Allocating, at=at, allocations=[record])
        if job is not None:
            self.made.write(Allocated, at=at, jobs=[AllocationJob(name=name, job=job)])
        return name

    def end_allocation(self, name: str, reason: str, *, at: float) -> None:
        self.made.write(AllocationEnded, at=at, allocations=[AllocationEnd(name=name, reason=reason)])

    def begin(self, host: str, *, at: float = 0, ends_at: float | None = None, **fields: Any) -> AgentBegin:
        """Write the begin line of an agent."""
        name, _ = claim_folder(self.made.directory, host)
        given: dict[str, Any] = {"job": "4711", "slots": 8, "cores": 64, "gpus": 8} | fields
        begin = AgentBegin(
            time=self.made.at(at),
            agent=name,
            host=host,
            boot="b",
            pid=1,
            started=1,
            version=aiperf_orch.__version__,
            ends_at=None if ends_at is None else self.made.at(ends_at),
            **given,
        )
        self.log(name, begin)
        self.beat(name, at=at)
        return begin

    def join(self, *hosts: str, at: float = 0, **fields: Any) -> list[str]:
        """Agents that began and have joined; returns their names."""
        begins = [self.begin(host, at=at, **fields) for host in hosts]
        kept = AgentRecord.model_fields
        records = [AgentRecord(**{key: value for key, value in dict(begin).items() if key in kept}) for begin in begins]
        self.made.write(Joined, at=at, agents=records)
        return [begin.agent for begin in begins]

    def leave(self, *agents: str, reason: str, at: float, message: str = "") -> None:
        """Journal that agents have left."""
        leaves = [AgentLeave(agent=agent, time=self.made.at(at), reason=reason, message=message) for agent in agents]
        self.made.write(Left, at=at, agents=leaves)

    def log(self, agent: str, line: Any) -> None:
        """Append a line to an agent's log."""
        with self.made.directory.agent_log(agent).open("a") as file:
            file.write(line.to_line() + "\n")

    def beat(self, agent: str, *, at: float) -> None:
        """Write an agent's sign of life."""
        beat = Heartbeat(count=1, time=self.made.at(at))
        self.made.directory.agent_heartbeat(agent).write_text(beat.to_line() + "\n")

    def place(self, trial: int, *agents: str, at: float | None = None, attempt: int = 1) -> str:
        """Journal an attempt as placed on agents; returns its name."""
        self.made.submit(trial, attempt, at=at, job=",".join(agents))
        return self.made.directory.attempt_name(trial, attempt)

    def start(self, agent: str, name: str, *, slot: int = 0, at: float = 0) -> None:
        self.log(agent, Started(time=self.made.at(at), name=name, slot=slot, pid=1))

    def run(self, trial: int, agents: Sequence[str], *, slot: int = 0, at: float = 0, begun: bool = True) -> None:
        """Place and start an attempt, and with `begun` journal and write its begin line."""
        name = self.place(trial, *agents, at=at)
        for agent in agents:
            self.start(agent, name, slot=slot, at=at)
        if begun:
            hosts = [agent.rpartition(".")[0] for agent in agents]
            self.made.events(self.made.begin(at, trial, hosts=hosts, job="4711"), trial=trial)
            record = self.made.began_record(at, trial).model_copy(update={"job": "4711"})
            self.made.write(Began, attempts=[record])

    def exit(self, agent: str, name: str, *, at: float, **fields: Any) -> None:
        self.log(agent, Exited(time=self.made.at(at), name=name, **fields))

    def end(self, agent: str, reason: Any, *, at: float, message: str = "") -> None:
        """Write an agent's last line, which no controller has seen."""
        self.log(agent, AgentEnd(time=self.made.at(at), reason=reason, message=message))
