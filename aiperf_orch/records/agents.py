"""Lines of an agent's two files: its log, which the agent writes, and its orders, which the controller writes."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from aiperf_orch.records.base import JobName, Natural, Positive, Record, Sha256, Version
from aiperf_orch.util.units import Timestamp

AGENT_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}\.[1-9][0-9]{0,5}"
AgentName = Annotated[str, Field(pattern=f"^{AGENT_PATTERN}$")]
"""Host name and number of the agent on that host: `n17.1`. It is also the name of the agent's folder."""

BY_HAND: Final = "by hand"
"""Job id of an agent or a trial that was started outside a batch system."""


class _Order(Record):
    """Fields of every order.

    Attributes:
        seq: Number of the line, from 0.
        generation: Generation of the controller's lock. An agent ignores orders of an older generation than one that it
            has read.
    """

    seq: Natural
    generation: Natural
    time: Timestamp


class Place(_Order):
    """Run this attempt as soon as a slot is free.

    Attributes:
        name: Name of the attempt's job.
        command: Program and arguments.
        folder: Absolute path of the attempt's own folder, which exists; its output goes to the file `log` there.
        spec: Absolute path of the trial's specification; None for a command that is no trial.
        spec_sha256: SHA-256 of that file, as the journal has it. The agent does not run an attempt whose specification
            differs.
        agents: Agents that hold the attempt; the number of one in this list is the rank of its task.
        hosts: Host of each of these agents.
        at_once: Number of attempts that may run on this agent at once; it holds for the orders before, too.
        renews: Whether it only confirms, for another controller, an order that the agent has; it places nothing again.
    """

    type: Literal["place"] = "place"
    name: JobName
    command: Annotated[list[str], Field(min_length=1)]
    folder: str
    spec: str | None = None
    spec_sha256: Sha256 | None = None
    agents: Annotated[list[AgentName], Field(min_length=1)]
    hosts: Annotated[list[str], Field(min_length=1)]
    at_once: Positive
    renews: bool = False


class Stop(_Order):
    """End this attempt: one that has not started never starts; one that runs gets SIGTERM, or SIGKILL with `force`."""

    type: Literal["stop"] = "stop"
    name: JobName
    force: bool = False


class Dismiss(_Order):
    """End when no attempt is left: the campaign needs the agent no more.

    Attributes:
        reason: Why.
        again: Whether its process may join again under another name: the agent was considered lost, and what it held
            was given to others, but its node is of use.
    """

    type: Literal["dismiss"] = "dismiss"
    reason: str
    again: bool = False


Order = Place | Stop | Dismiss
order_adapter: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="type")])


class _AgentLine(Record):
    time: Timestamp


class AgentBegin(_AgentLine):
    """First line of an agent's log: where it runs, and what it offers.

    Attributes:
        agent: Its name.
        allocation: Name of the allocation that the controller submitted; None for an agent that was started by hand.
        job: Job id of its allocation as the scheduler prints it; "by hand" outside a batch system.
        host: Host name of its node.
        boot: Boot id of the node.
        namespace: PID namespace of `pid`; None where it is not known.
        pid: Its process id.
        started: Start of that process in clock ticks since boot.
        slots: Number of attempts that it can run at once.
        cores: Number of processor cores that its slots use.
        gpus: Number of accelerators that its slots use.
        core_ids: Numbers of these cores.
        gpu_ids: Names of these accelerators, as in the variable that restricts them.
        ends_at: End of its allocation; None where that is not known.
        clock_skew: Seconds by which the node's clock is ahead of the file server's, at least.
        version: Version of aiperf-orch.
        predecessor: An agent of the same slots on the same host that was killed, and of whose trials no process is
            left; None without one.
    """

    type: Literal["begin"] = "begin"
    agent: AgentName
    allocation: JobName | None = None
    job: str
    host: str
    boot: str
    namespace: str | None = None
    pid: Positive
    started: Natural
    slots: Positive
    cores: Positive
    gpus: Natural
    core_ids: list[Natural] = Field(default_factory=list)
    gpu_ids: list[str] = Field(default_factory=list)
    ends_at: Timestamp | None = None
    clock_skew: float = 0.0
    version: Version
    predecessor: AgentName | None = None


class Started(_AgentLine):
    """The agent started the process of an attempt; `pid` is that process, which leads a session of its own."""

    type: Literal["start"] = "start"
    name: JobName
    slot: Natural
    pid: Positive


class Exited(_AgentLine):
    """An attempt is over on this agent, and no process of it is left.

    Attributes:
        status: Exit status of its process; None where a signal ended it, or where it never started.
        signal: Number of the signal that ended it; None without one.
        started: Whether it ever started here. One that did not may be placed again.
        message: Why it never started, or was ended by the agent; empty otherwise.
        agent_ends: Whether it never started because the agent itself was ending, and not for a reason of its own.
    """

    type: Literal["exit"] = "exit"
    name: JobName
    status: Natural | None = None
    signal: Positive | None = None
    started: bool = True
    message: str = ""
    agent_ends: bool = False


AgentEndReason = Literal["dismissed", "time limit", "terminated", "no controller", "failed"]


class AgentEnd(_AgentLine):
    """Last line of an agent's log: it runs nothing, and takes no more orders.

    Reasons: the campaign needs it no more; its allocation's time is nearly over; SIGTERM or SIGINT; no sign of a
    controller for `wait_for_controller`; an error of its own.
    """

    type: Literal["end"] = "end"
    reason: AgentEndReason
    message: str = ""


AgentLine = AgentBegin | Started | Exited | AgentEnd
agent_line_adapter: TypeAdapter[AgentLine] = TypeAdapter(Annotated[AgentLine, Field(discriminator="type")])


class Heartbeat(Record):
    """A sign of life: of an agent in its folder, or of the controller for all agents."""

    count: Natural
    time: Timestamp
    generation: Natural = 0
