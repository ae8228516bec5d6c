"""Keeper of a campaign's agents: it reads what they do, and dismisses them when the campaign is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Event
from time import monotonic

from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.agent_register import AgentRegister
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.schedulers.placement.scheduler import PlacementScheduler


class NoAllocations:
    """Keeper of a campaign whose trials are jobs of their own: it has nothing to keep."""

    @property
    def running(self) -> bool:
        """Whether any call runs whose result a step will take."""
        return False

    @property
    def busy(self) -> bool:
        """Whether allocations or agents of a campaign that is over have not ended yet."""
        return False

    def step(self) -> None:
        """Take results of calls, journal what they found, and begin what is due."""

    def record_agents(self) -> None:
        """Journal the agents that are known to have joined or left."""

    def submit(self, deadline: datetime | None) -> None:
        """Submit allocations that the running campaign needs.

        Args:
            deadline: End of the campaign; None before its first trial has begun.
        """

    def close(self, seconds: float) -> None:
        """Record the result of a submission that ends within this time."""

    def succeed(self, former: NoAllocations) -> None:
        """Take over what only the former keeper of this controller knows, none of whose calls runs."""


class AgentsKeeper(NoAllocations):
    """Keeper of a campaign whose agents are started by hand: it reads what they do, and dismisses them at the end."""

    def __init__(
        self, campaign: HeldCampaign, scheduler: PlacementScheduler, warn: Callable[[str], None], wake: Event
    ) -> None:
        """Begin without having read any file of an agent.

        Args:
            campaign: The campaign.
            scheduler: Scheduler that places its trials on agents.
            warn: Receives messages for the user.
            wake: Set when a call has ended.
        """
        self._campaign, self._scheduler, self._warn = campaign, scheduler, warn
        self._settings = campaign.directory.settings.scheduler
        self._agents = AgentRegister(campaign, scheduler, warn, wake)
        self._closing_since: float | None = None

    @property
    def running(self) -> bool:
        """Whether any call runs, or a campaign that is over waits for its allocations."""
        return self._agents.running or self.busy

    @property
    def busy(self) -> bool:
        """Whether allocations or agents of a campaign that is over have not ended yet, for a limited time."""
        closing = self._closing_for
        return closing is not None and closing < self._settings.stop_grace and self._is_anything_left()

    def step(self) -> None:
        """Take results of calls, journal what they found, and begin what is due."""
        if not self._is_over:
            self._closing_since = None
        elif self._closing_since is None:
            self._closing_since = monotonic()
        phase = self._campaign.state.phase
        self._agents.step(dismiss=f"the campaign is {phase.value}" if self._is_over else None)

    def record_agents(self) -> None:
        """Journal the agents that are known to have joined or left."""
        self._agents.record()

    @property
    def _is_over(self) -> bool:
        """Whether the campaign needs its agents no more; a paused one keeps them for a while."""
        return self._campaign.state.phase in (Phase.FINISHED, Phase.STOPPED)

    @property
    def _closing_for(self) -> float | None:
        """Seconds since the campaign is known to be over; None before that."""
        if not self._is_over:
            return None
        return 0.0 if self._closing_since is None else monotonic() - self._closing_since

    def _is_anything_left(self) -> bool:
        return bool(self._campaign.state.workforce.present_agents)
