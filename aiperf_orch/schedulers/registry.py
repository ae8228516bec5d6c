"""Chooses the scheduler that a site's settings are of. The room's own module stays empty: submitit's plugin is loaded in jobs."""

from __future__ import annotations

from aiperf_orch.schedulers.base import Scheduler
from aiperf_orch.settings.schedulers import LocalSettings, PbsSettings, SchedulerSettings, SlurmSettings


def make_scheduler(settings: SchedulerSettings) -> Scheduler:
    """The scheduler that the settings are of."""
    match settings:
        case LocalSettings():
            from aiperf_orch.schedulers.local import LocalScheduler

            return LocalScheduler(settings)
        case SlurmSettings():
            from aiperf_orch.schedulers.slurm.scheduler import SlurmScheduler

            return SlurmScheduler(settings)
        case PbsSettings():
            from aiperf_orch.schedulers.pbs.scheduler import PbsScheduler

            return PbsScheduler(settings)
        case _:
            raise AssertionError(f"no scheduler is of kind {settings.kind}")
