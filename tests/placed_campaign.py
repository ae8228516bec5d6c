"""Builder of campaigns whose trials are placed on agents."""

from __future__ import annotations

from typing import Any

from aiperf_orch.records.events import Begin
from aiperf_orch.records.journal import Allocated, Allocating, JobRecord, Joined, Left, Submitted, Submitting
from aiperf_orch.records.workforce import AgentLeave, AgentRecord, AllocationJob, AllocationRecord
from campaign_builder import CampaignBuilder


class PlacedCampaignBuilder(CampaignBuilder):
    """Writes the records of allocations, agents, and attempts that are placed on them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._agents: dict[str, AgentRecord] = {}

    def allocate(self, number: int = 1, *, nodes: int = 1, slots: int = 2, at: float | None = None) -> str:
        """Journal an allocation as submitted; returns its name. Its job id is 7000 plus its number."""
        name = f"{self.directory.config.tag}-a{number:05d}"
        self.write(Allocating, at=at, allocations=[AllocationRecord(name=name, nodes=nodes, slots=slots)])
        self.write(Allocated, jobs=[AllocationJob(name=name, job=str(7000 + number))])
        return name

    def join(self, agent: str, at: float, *, allocation: str | None = None, slots: int = 2, **fields: Any) -> None:
        """Journal an agent as joined, a second after it began; it has a core for each slot."""
        host = agent.rpartition(".")[0]
        job = f"{7000 + int(allocation[-5:])}" if allocation else "by hand"
        known = {"job": job, "host": host, "slots": slots, "cores": slots, "gpus": 0, "time": self.at(at)}
        record = AgentRecord(agent=agent, allocation=allocation, **known | fields)
        self._agents[agent] = record
        self._latest = max(self._latest, self.at(at + 1))
        self.write(Joined, agents=[record])

    def rejoin(self, agent: str, at: float) -> None:
        """Journal an agent that was lost as joined again."""
        self.write(Joined, at=at, agents=[self._agents[agent]])

    def leave(self, agent: str, at: float, reason: Any = "dismissed", *, recorded: float | None = None) -> None:
        """Journal an agent as left, a second after its end or at the time `recorded`."""
        recorded = at + 1 if recorded is None else recorded
        self._latest = max(self._latest, self.at(recorded))
        self.write(Left, at=recorded, agents=[AgentLeave(agent=agent, time=self.at(at), reason=reason)])

    def place(self, trial: int, attempt: int = 1, *, on: str, at: float | None = None, again: bool = False) -> None:
        """Journal an attempt as placed on agents, which are separated by commas; `again` after an earlier placement."""
        if not again:
            self.write(Submitting, at=at, attempts=[self.attempt_record(trial, attempt)])
        self._jobs[trial, attempt] = self._agents[on.partition(",")[0]].job
        self.write(Submitted, at=at, jobs=[JobRecord(trial=trial, attempt=attempt, job=on)])

    def placed_begin(
        self, at: float, trial: int = 0, attempt: int = 1, *, on: str, slot: int = 0, start_up: float = 0.5, **more: Any
    ) -> Begin:
        """The begin line of an attempt on agents, whose process started `start_up` seconds before."""
        agents = [self._agents[agent] for agent in on.split(",")]
        placement = {
            "hosts": [agent.host for agent in agents],
            "agent": agents[0].agent,
            "allocation": agents[0].allocation,
            "slot": slot,
            "started": self.at(at - start_up),
        }
        return self.begin(at, trial, attempt, **placement | more)

    def run_on(
        self,
        on: str,
        trial: int,
        *ends: float,
        at: float,
        attempt: int = 1,
        slot: int = 0,
        start_up: float = 0.5,
        reason: str = "COMPLETED",
        first_epoch: int = 1,
        **fields: Any,
    ) -> None:
        """A run of an attempt on agents, with epochs that end at `ends`; it is placed now unless it was before."""
        if (trial, attempt) not in self._jobs:
            self.place(trial, attempt, on=on)
        begin = self.placed_begin(at, trial, attempt, on=on, slot=slot, start_up=start_up)
        epochs = [
            self.epoch(number, end, 0.5, trial, attempt, start=end - 0.1)
            for number, end in enumerate(ends, start=first_epoch)
        ]
        self.run(begin, epochs, ends[-1] if ends else at, reason=reason, **fields)
