"""The scheduler of a site's settings.

It is no part of the package's own module, which stays empty: submitit's plugin for PBS is loaded in every job.
"""

from __future__ import annotations

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.schedulers.base import Scheduler
from aiperf_orch.settings.placement import placement_settings
from aiperf_orch.settings.schedulers import AgentsSettings, LocalSettings, PbsSettings, SchedulerSettings, SlurmSettings


def make_trial_scheduler(directory: CampaignDirectory) -> Scheduler:
    """Make the scheduler of a campaign's trials: their jobs, or their placements on agents."""
    settings, concurrency = directory.settings.scheduler, directory.settings.campaign.concurrency
    placement = placement_settings(settings, concurrency)
    if placement is None:
        return make_scheduler(settings)
    from aiperf_orch.schedulers.allocation_jobs import make_allocation_scheduler
    from aiperf_orch.schedulers.placement.scheduler import PlacementScheduler

    return PlacementScheduler(directory, placement, concurrency, make_allocation_scheduler(settings, concurrency))


def make_scheduler(settings: SchedulerSettings) -> Scheduler:
    """Make the scheduler of trials that are jobs of their own."""
    match settings:
        case AgentsSettings():
            from aiperf_orch.schedulers.placement.hand_started import HandStartedAgents

            return HandStartedAgents()
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
