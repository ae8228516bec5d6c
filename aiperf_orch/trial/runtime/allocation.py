"""What a trial's job knows of its allocation: the only module that reads the variables that our batch scripts set.

A script of ours exports AIPERF_ORCH_JOB_ID, AIPERF_ORCH_HOSTS (names with commas between them), AIPERF_ORCH_RUN (how often
the scheduler has run this job before), AIPERF_ORCH_REQUEUE (1 when it may run it again by itself) and, where the
scheduler does not warn of a time limit, AIPERF_ORCH_WARN_AT (seconds since 1970), and where other trials may use the same
node's accelerators and cores AIPERF_ORCH_SHARED (1); of a site's settings AIPERF_ORCH_ACCELERATORS and AIPERF_ORCH_WORKERS
(of each node), AIPERF_ORCH_INTERFACE and AIPERF_ORCH_PORTS (first-last). The launcher or the script numbers the tasks, one a
node. Whoever sets none of them runs the trial by hand, on this machine.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from aiperf_orch.util import gpus

_RANKS = ("SLURM_PROCID", "AIPERF_ORCH_RANK")
_JOB_IDS = ("AIPERF_ORCH_JOB_ID", "SUBMITIT_LOCAL_JOB_ID")
_PORTS = "29400-29499"


def _ports(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last)


@dataclass(frozen=True, slots=True)
class Allocation:
    """A job's id as the scheduler prints it, its hosts, this task's number, and the number of the job's run.

    `workers` train on this node, by the `accelerators` that it was asked for (0: none, or nobody said). Nodes meet on `interface` (None: their host names') at one of `ports`, first and last.
    `requeueable` tells whether the scheduler may run it again by itself, `warn_at` when, in seconds since 1970, the trial
    must remind itself of the job's time limit (None: the scheduler does). Not `alone`, it shares what it has with other
    trials.
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
    ports: tuple[int, int] = _ports(_PORTS)
    alone: bool = True

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Allocation:
        """The allocation that this process runs in; `environment` stands in for the process's own."""
        given = os.environ if environment is None else environment
        hosts = tuple(filter(None, given.get("AIPERF_ORCH_HOSTS", "").split(",")))
        return cls(
            job=next((given[name] for name in _JOB_IDS if given.get(name)), "by hand"),
            hosts=hosts or (socket.gethostname(),),
            rank=next((int(given[name]) for name in _RANKS if given.get(name, "").isdigit()), 0),
            run=int(given.get("AIPERF_ORCH_RUN") or 0),
            requeueable=given.get("AIPERF_ORCH_REQUEUE") == "1",
            workers=int(given.get("AIPERF_ORCH_WORKERS") or 0) or max(len(gpus.available_gpus(given)), 1),
            accelerators=int(given.get("AIPERF_ORCH_ACCELERATORS") or 0),
            interface=given.get("AIPERF_ORCH_INTERFACE") or None,
            ports=_ports(given.get("AIPERF_ORCH_PORTS") or _PORTS),
            alone=given.get("AIPERF_ORCH_SHARED") != "1",
            warn_at=float(given["AIPERF_ORCH_WARN_AT"]) if given.get("AIPERF_ORCH_WARN_AT") else None,
        )
