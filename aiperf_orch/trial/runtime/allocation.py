"""The trial's view of its allocation: the only module that reads the variables that the batch scripts export.

A batch script exports:

- `AIPERF_ORCH_JOB_ID`: the job's id,
- `AIPERF_ORCH_HOSTS`: host names, separated by commas,
- `AIPERF_ORCH_RUN`: how often the scheduler has started this job before,
- `AIPERF_ORCH_REQUEUE`: 1 when the scheduler may start the job again by itself,
- `AIPERF_ORCH_WARN_AT`: seconds since 1970, where the scheduler does not send a signal before the time limit,
- `AIPERF_ORCH_AGENT`, `AIPERF_ORCH_ALLOCATION`, `AIPERF_ORCH_SLOT`, `AIPERF_ORCH_STARTED`: in a trial that an agent
  starts, the agent's name, that of its allocation (empty without one), the number of the slot, and the time of the
  start (ISO 8601),
- `AIPERF_ORCH_SHARED`: 1 where other trials may use accelerators and cores of the same node,
- from the site's settings `AIPERF_ORCH_ACCELERATORS` and `AIPERF_ORCH_WORKERS` (per node), `AIPERF_ORCH_INTERFACE` and
  `AIPERF_ORCH_PORTS` (first-last).

The launcher or the script numbers the tasks, one per node. Without these variables the trial runs on this machine.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from aiperf_orch.records.agents import BY_HAND
from aiperf_orch.util import gpus

_RANK_VARIABLES = ("SLURM_PROCID", "AIPERF_ORCH_RANK")
_JOB_VARIABLES = ("AIPERF_ORCH_JOB_ID", "SUBMITIT_LOCAL_JOB_ID")
_DEFAULT_PORTS = "29400-29499"


def _parse_ports(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last)


@dataclass(frozen=True, slots=True)
class Allocation:
    """Nodes and resources of one job, as one of its tasks sees them.

    Attributes:
        job: Id of the job as the scheduler prints it.
        hosts: Host names of the nodes.
        rank: Number of this task among all tasks of the job.
        run: Number of the job's run, from 0.
        requeueable: Whether the scheduler may start the job again by itself.
        warn_at: Time in seconds since 1970 at which the trial must end before the time limit; None where the scheduler
            sends a signal.
        workers: Number of workers on this node.
        accelerators: Number of accelerators that were requested per node; 0 for none or unknown.
        interface: Network interface on which the nodes communicate; None for that of their host names.
        ports: First and last port that rank 0 may listen on.
        exclusive: Whether no other trial runs on the same nodes.
        agent: Name of the agent that started the trial; None for a job of its own.
        allocation: Name of the agent's allocation; None without one.
        slot: Number of the trial's slot on the agent; None without an agent.
        started: Time at which the agent started the trial; None without an agent.
    """

    job: str
    hosts: tuple[str, ...]
    rank: int
    run: int
    requeueable: bool
    warn_at: float | None = None
    workers: int = 1
    accelerators: int = 0
    interface: str | None = None
    ports: tuple[int, int] = _parse_ports(_DEFAULT_PORTS)
    exclusive: bool = True
    agent: str | None = None
    allocation: str | None = None
    slot: int | None = None
    started: datetime | None = None

    @property
    def host(self) -> str:
        """Host name of this task's node; a task beyond the last node counts to it."""
        return self.hosts[min(self.rank, len(self.hosts) - 1)]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Allocation:
        """Read the allocation from environment variables; None for those of this process."""
        variables = os.environ if environment is None else environment
        hosts = tuple(filter(None, variables.get("AIPERF_ORCH_HOSTS", "").split(",")))
        warn_at = variables.get("AIPERF_ORCH_WARN_AT")
        return cls(
            job=next((variables[name] for name in _JOB_VARIABLES if variables.get(name)), BY_HAND),
            hosts=hosts or (socket.gethostname(),),
            rank=next((int(variables[name]) for name in _RANK_VARIABLES if variables.get(name, "").isdigit()), 0),
            run=int(variables.get("AIPERF_ORCH_RUN") or 0),
            requeueable=variables.get("AIPERF_ORCH_REQUEUE") == "1",
            workers=int(variables.get("AIPERF_ORCH_WORKERS") or 0) or max(len(gpus.available_gpus(variables)), 1),
            accelerators=int(variables.get("AIPERF_ORCH_ACCELERATORS") or 0),
            interface=variables.get("AIPERF_ORCH_INTERFACE") or None,
            ports=_parse_ports(variables.get("AIPERF_ORCH_PORTS") or _DEFAULT_PORTS),
            exclusive=variables.get("AIPERF_ORCH_SHARED") != "1",
            warn_at=float(warn_at) if warn_at else None,
            agent=variables.get("AIPERF_ORCH_AGENT") or None,
            allocation=variables.get("AIPERF_ORCH_ALLOCATION") or None,
            slot=int(variables["AIPERF_ORCH_SLOT"]) if variables.get("AIPERF_ORCH_SLOT") else None,
            started=datetime.fromisoformat(variables["AIPERF_ORCH_STARTED"])
            if variables.get("AIPERF_ORCH_STARTED")
            else None,
        )
