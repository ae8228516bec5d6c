"""The scheduler of a site's settings.

It is no part of the package's own module, which stays empty: submitit's plugin for PBS is loaded in every job.
"""

from __future__ import annotations

from aiperf_orch.schedulers.base import Scheduler
from aiperf_orch.settings.schedulers import LocalSettings, PbsSettings, SchedulerSettings, SlurmSettings


def make_scheduler(settings: SchedulerSettings) -> Scheduler:
    """Make the scheduler of these settings."""
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
            raise AssertionError(f"no scheduler of kind {settings.kind}")
