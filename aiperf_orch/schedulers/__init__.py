"""Schedulers: submitit executors that render our batch script templates, and queue queries."""

from __future__ import annotations

from aiperf_orch.config import SchedulerSettings
from aiperf_orch.schedulers.base import Scheduler


def make_scheduler(settings: SchedulerSettings) -> Scheduler:
    """The scheduler that the settings name."""
    from aiperf_orch.schedulers.local import LocalScheduler

    match settings.kind:
        case "local":
            return LocalScheduler(settings)
