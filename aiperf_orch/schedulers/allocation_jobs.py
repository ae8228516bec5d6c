"""Jobs of allocations: their scheduler, over settings of what one of them requests, and their command.

An allocation's job runs its command once on each node. The batch scripts are templates/slurm_allocation.sh.j2,
templates/pbs_allocation.sh.j2 and templates/local_allocation.sh.j2; `aiperf_orch.schedulers.script_contract` lists what
they must do.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.layout import Layout
from aiperf_orch.schedulers.base import JobRequest, Scheduler
from aiperf_orch.settings.allocation_job import allocation_job
from aiperf_orch.settings.allocations import AllocationSettings
from aiperf_orch.settings.schedulers import (
    LocalSettings,
    PbsSettings,
    SchedulerSettings,
    SlurmSettings,
)

RESTARTS: Final = 5
"""How often an agent that was killed is started again on its node."""

_SUPERVISOR: Final = f"""\
left={RESTARTS}
trap 'ended=yes' TERM
while :; do
    "$@"
    status=$?
    if [ $status -lt 128 ] || [ -n "${{ended-}}" ] || [ $left -eq 0 ]; then
        exit $status
    fi
    left=$((left - 1))
    echo "aiperf-orch: the agent was killed (exit status $status) and is started again"
done"""
"""A program for sh that starts a command again when a signal has ended it. SIGTERM, which a batch system sends to all
processes of a job, does not end it before the command."""


def agent_command(settings: SchedulerSettings, campaign: Path, allocation: str) -> tuple[str, ...]:
    """Return the command of an agent.

    Args:
        settings: the section `scheduler` of the settings.
        campaign: the campaign directory.
        allocation: name of the allocation's job.
    """
    # -P: Python does not import modules from the working directory
    python = settings.python or sys.executable
    return python, "-P", "-m", "aiperf_orch.agent", str(campaign), "--allocation", allocation


def allocation_request(layout: Layout, settings: SchedulerSettings, name: str) -> JobRequest:
    """Return the request of an allocation's job, without time limit and dependency.

    Args:
        layout: the campaign.
        settings: the section `scheduler` of the settings.
        name: name of the allocation's job.
    """
    folder = layout.allocation_folder(name)
    command = supervised(agent_command(settings, layout.path, name))
    return JobRequest(name=name, folder=folder, submit_folder=folder, campaign=layout.path, command=command)


def supervised(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command that starts another one again when it was killed, at most `RESTARTS` times.

    It is part of what submitit runs, not of the batch script: submitit does not pass on how a command ended.
    """
    return "sh", "-c", _SUPERVISOR, "aiperf-orch", *command


def make_allocation_scheduler(settings: SchedulerSettings, concurrency: int) -> Scheduler | None:
    """Make the scheduler of allocations' jobs; None where every trial is a job, and where no job is submitted.

    Args:
        settings: the section `scheduler` of the settings.
        concurrency: number of trials at once.
    """
    match settings:
        case SlurmSettings(allocations=AllocationSettings()):
            from aiperf_orch.schedulers.slurm.scheduler import SlurmScheduler

            return SlurmScheduler(allocation_job(settings), "slurm_allocation.sh.j2")
        case PbsSettings(allocations=AllocationSettings()):
            from aiperf_orch.schedulers.pbs.scheduler import PbsScheduler

            return PbsScheduler(allocation_job(settings), "pbs_allocation.sh.j2")
        case LocalSettings() if not settings.job_per_trial:
            from aiperf_orch.schedulers.local import LocalScheduler

            return LocalScheduler(_of_local_allocation(settings, concurrency), "local_allocation.sh.j2")
        case _:
            return None


def _of_local_allocation(settings: LocalSettings, concurrency: int) -> LocalSettings:
    from aiperf_orch.schedulers.local import available_cores, available_gpus

    gpus = settings.gpus_per_trial
    return settings.model_copy(
        update={
            "cores_per_trial": min(len(available_cores()), concurrency * settings.cores_per_trial),
            "gpus_per_trial": gpus and min(len(available_gpus()), concurrency * gpus),
        }
    )
