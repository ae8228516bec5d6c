"""Parts of a controller that depend on its scheduler or on settings that may change: made together, and made again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from aiperf_orch.controller.agents_keeper import NoAllocations
from aiperf_orch.controller.allocation_keeper import keeper_of
from aiperf_orch.controller.cancellation import Canceller
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.controller.queue_poller import QueuePoller
from aiperf_orch.controller.submitter import Submitter
from aiperf_orch.schedulers.base import Scheduler
from aiperf_orch.schedulers.registry import make_trial_scheduler


@dataclass(frozen=True)
class SchedulerParts:
    """What a controller calls one scheduler with, by the settings in force when it was made."""

    scheduler: Scheduler
    poller: QueuePoller
    canceller: Canceller
    submitter: Submitter
    keeper: NoAllocations

    @classmethod
    def of(
        cls, campaign: HeldCampaign, scheduler: Scheduler, warn: Callable[[str], None], wake: Event
    ) -> SchedulerParts:
        """The parts for a scheduler of a campaign.

        Args:
            campaign: The campaign.
            scheduler: Scheduler of its jobs.
            warn: Receives messages for the user.
            wake: Set when a call has ended.
        """
        times = campaign.directory.settings.scheduler
        pause = max(scheduler.query_interval, times.poll_interval)
        scheduler.hold(campaign.generation)
        accepted = any(attempt.job for trial in campaign.state.trials.values() for attempt in trial.attempts)
        return cls(
            scheduler,
            QueuePoller(scheduler, times.poll_interval, warn, wake),
            Canceller(scheduler, times.stop_grace, pause, warn, wake),
            Submitter(scheduler, times.retry_submit_for, pause, warn, wake, accepted=accepted),
            keeper_of(campaign, scheduler, warn, wake),
        )

    @property
    def running(self) -> bool:
        """Whether any call to the scheduler runs, or its result has not been taken."""
        return any(part.running for part in (self.poller, self.canceller, self.submitter, self.keeper))

    def renewed(self, campaign: HeldCampaign, warn: Callable[[str], None], wake: Event) -> SchedulerParts:
        """The parts by the settings now in force, with what only these know of jobs; none of their calls may run.

        Arguments are those of `of`.
        """
        parts = SchedulerParts.of(campaign, make_trial_scheduler(campaign.directory), warn, wake)
        parts.scheduler.succeed(self.scheduler)
        parts.keeper.succeed(self.keeper)
        return parts
