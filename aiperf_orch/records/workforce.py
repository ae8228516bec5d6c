"""Allocations and agents as journal entries describe them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aiperf_orch.records.agents import AgentName
from aiperf_orch.records.base import JobName, Natural, Positive, Record
from aiperf_orch.util.units import Timestamp


class AllocationRecord(Record):
    """An allocation before its submission.

    Attributes:
        name: Name of its job.
        nodes: Number of its nodes.
        slots: Number of slots that are expected of each node.
        after: Name of the allocation that must have ended before this one starts; None where it need not wait.
    """

    name: JobName
    nodes: Positive
    slots: Positive
    after: JobName | None = None


class AllocationJob(Record):
    """The scheduler's id for the job of an allocation."""

    name: JobName
    job: str


class AgentRecord(Record):
    """An agent as the begin line of its log describes it; the fields are those of `records.agents.AgentBegin`.

    `core_ids` are the numbers of the cores that its slots use; empty where they are not known.
    """

    agent: AgentName
    allocation: JobName | None = None
    job: str
    host: str
    slots: Positive
    cores: Positive
    gpus: Natural
    core_ids: list[Natural] = Field(default_factory=list)
    time: Timestamp
    ends_at: Timestamp | None = None


class AgentLeave(Record):
    """End of an agent.

    Attributes:
        agent: Its name.
        time: Its end by its own log; for an agent that wrote none, the time of its last sign of life.
        reason: As in its log; `killed` where a successor on its node says so, `lost` where it fell silent.
        message: What is known of that.
    """

    agent: AgentName
    time: Timestamp
    reason: Literal["dismissed", "time limit", "terminated", "no controller", "failed", "killed", "lost"]
    message: str = ""


class AllocationEnd(Record):
    """End of an allocation, as far as the scheduler knows it."""

    name: JobName
    reason: str
    message: str = ""
