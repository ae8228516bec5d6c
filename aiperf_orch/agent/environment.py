"""Environment variables: what the agent reads of its allocation, and what it gives to the trials that it starts.

`trial/runtime/allocation.py` reads the latter, and lists them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiperf_orch.agent.slots import Slot
from aiperf_orch.records.agents import BY_HAND, Place
from aiperf_orch.settings.placement import PlacementSettings
from aiperf_orch.util import gpus
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import format_time

AGENT_FOLDER: Final = "AIPERF_ORCH_AGENT_FOLDER"
"""Names the agent's folder in the environment of its processes: by it a later agent finds what a killed one left."""

ATTEMPT: Final = "AIPERF_ORCH_ATTEMPT"
"""Names the attempt in the environment of its processes."""

_JOB_VARIABLES: Final = (
    "AIPERF_ORCH_JOB_ID",
    "SLURM_JOB_ID",
    "PBS_JOBID",
    "LSB_JOBID",
    "FLUX_JOB_ID",
    "PJM_JOBID",
    "JOB_ID",
)
_RANK_VARIABLES: Final = ("SLURM_PROCID", "AIPERF_ORCH_RANK")
_END_VARIABLES: Final = ("AIPERF_ORCH_ENDS_AT", "SLURM_JOB_END_TIME")
_DROPPED: Final = ("SLURM_", "SUBMITIT_", "AIPERF_ORCH_")
"""Prefixes of variables that describe the agent's own task: a trial, torch and submitit would take them for theirs."""

_KEPT: Final = ("SLURM_CONF", "SLURM_JOB_ID", "SLURM_TMPDIR", "AIPERF_ORCH_JOB")
_NUMBERED: Final = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK")
_ROCR: Final = "ROCR_VISIBLE_DEVICES"
"""Restricts the accelerators that AMD's other variables number."""


@dataclass(frozen=True, slots=True)
class AgentAllocation:
    """The agent's own job.

    Attributes:
        job: Id of the job as the scheduler prints it; "by hand" outside a batch system.
        host: Host name of this node, as the batch system has it.
        ends_at: End of the job in seconds since 1970; None where it is not known.
    """

    job: str
    host: str
    ends_at: float | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], ends_at: float | None) -> AgentAllocation:
        """Read the allocation.

        Args:
            environment: Environment variables of the agent.
            ends_at: End of the allocation from the command line, in seconds since 1970; None where it is not given.

        Raises:
            UsageError: When a variable has no valid value.
        """
        hosts = [host for host in environment.get("AIPERF_ORCH_HOSTS", "").split(",") if host]
        rank = next((int(environment[name]) for name in _RANK_VARIABLES if environment.get(name, "").isdigit()), 0)
        if hosts and rank >= len(hosts):
            raise UsageError(f"AIPERF_ORCH_HOSTS: names {len(hosts)} hosts, and this is task {rank}: start one a node")
        ends = [] if ends_at is None else [ends_at]
        for name in _END_VARIABLES:
            if environment.get(name):
                try:
                    ends.append(float(environment[name]))
                except ValueError:
                    raise UsageError(f"{name}: must be seconds since 1970, not {environment[name]!r}") from None
        return cls(
            job=next((environment[name] for name in _JOB_VARIABLES if environment.get(name)), BY_HAND),
            host=hosts[rank] if hosts else socket.gethostname(),
            ends_at=min(ends, default=None),
        )


def available_accelerators(environment: Mapping[str, str]) -> list[str]:
    """Accelerators that the agent may use, as the first variable that restricts them names them."""
    for name in (_ROCR, *_NUMBERED):
        if name in environment:
            return gpus.listed_gpus(environment[name])
    return gpus.available_gpus(environment)


def accelerator_variables(environment: Mapping[str, str], chosen: tuple[int, ...] | None) -> dict[str, str]:
    """Variables that restrict a process to some of the agent's accelerators.

    Args:
        environment: Environment variables of the agent.
        chosen: Positions among `available_accelerators`; None for all of them.
    """
    if chosen is None:
        return {}
    numbered = [name for name in _NUMBERED if name in environment]
    if _ROCR in environment:  # the others count within its list
        listed = gpus.listed_gpus(environment[_ROCR])
        within = ",".join(str(number) for number in range(len(chosen)))
        return {_ROCR: ",".join(listed[index] for index in chosen), **dict.fromkeys(numbered, within)}
    if not numbered:
        listed = gpus.available_gpus(environment)
        return {"CUDA_VISIBLE_DEVICES": ",".join(listed[index] for index in chosen)}
    found = {name: gpus.listed_gpus(environment[name]) for name in numbered}
    return {name: ",".join(listed[index] for index in chosen if index < len(listed)) for name, listed in found.items()}


def base_environment(environment: Mapping[str, str], agent_folder: str) -> dict[str, str]:
    """The agent's environment without what describes its own task, for every process that it starts."""
    kept = {name: value for name, value in environment.items() if name in _KEPT or not name.startswith(_DROPPED)}
    return kept | {AGENT_FOLDER: agent_folder}


@dataclass(frozen=True, slots=True)
class TrialEnvironment:
    """Makes the environments of attempts.

    Attributes:
        base: Environment of every process that the agent starts.
        agent: Name of the agent.
        allocation: Name of its allocation; None without one.
        job: Job id of its allocation.
        settings: How trials are placed.
        shared: Whether the agent has several slots.
        ends_at: End of the allocation in seconds since 1970; None where it is not known.
    """

    base: Mapping[str, str]
    agent: str
    allocation: str | None
    job: str
    settings: PlacementSettings
    shared: bool
    ends_at: float | None

    def of(self, order: Place, slot: Slot, started: datetime) -> dict[str, str]:
        """Environment of an attempt that starts on a slot."""
        settings, threads = self.settings, str(len(slot.cores))
        variables = {
            "AIPERF_ORCH_JOB_ID": self.job,
            "AIPERF_ORCH_HOSTS": ",".join(order.hosts),
            "AIPERF_ORCH_RANK": str(order.agents.index(self.agent) if self.agent in order.agents else 0),
            "AIPERF_ORCH_RUN": "0",
            "AIPERF_ORCH_REQUEUE": "0",
            "AIPERF_ORCH_WORKERS": str(settings.workers or ""),
            "AIPERF_ORCH_ACCELERATORS": str(settings.gpus or ""),
            "AIPERF_ORCH_PORTS": "-".join(map(str, settings.ports)),
            "AIPERF_ORCH_INTERFACE": settings.interface or "",
            "AIPERF_ORCH_SHARED": "1" if self.shared else "",
            "AIPERF_ORCH_WARN_AT": "" if self.ends_at is None else str(self.ends_at - settings.warn_before),
            "AIPERF_ORCH_AGENT": self.agent,
            "AIPERF_ORCH_ALLOCATION": self.allocation or "",
            "AIPERF_ORCH_SLOT": str(slot.number),
            "AIPERF_ORCH_STARTED": format_time(started),
            ATTEMPT: order.name,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            **accelerator_variables(self.base, slot.gpus),
        }
        return {**self.base, **{name: value for name, value in variables.items() if value}}


def own_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))
