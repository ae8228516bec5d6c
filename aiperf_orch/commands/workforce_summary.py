"""Allocations and agents of a campaign in few words, from the state of its journal alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from aiperf_orch.campaign.agent_view import agents_of
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.campaign.workforce import AllocationState, Workforce
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.records.workforce import AgentRecord
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.placement import placement_settings
from aiperf_orch.settings.schedulers import AgentsSettings, ClusterSettings, LocalSettings
from aiperf_orch.util.units import count, format_duration, now


@dataclass(frozen=True, slots=True)
class SlotCounts:
    """Numbers of slots of the agents that have joined and not left.

    Attributes:
        total: All slots.
        at_work: Slots on which attempts run.
        beyond: Slots that stay idle because the campaign runs no more trials at once.
    """

    total: int
    at_work: int
    beyond: int

    @property
    def idle(self) -> int:
        """Slots on which no attempt runs."""
        return self.total - self.at_work

    @property
    def use(self) -> str:
        """`1,470 at work, 2 idle`."""
        beyond = f" ({self.beyond:,} beyond the concurrency)" if self.beyond else ""
        return f"{self.at_work:,} at work, {self.idle:,} idle{beyond}"


def uses_agents(settings: SiteSettings) -> bool:
    """Whether the campaign's trials are placed on agents."""
    return placement_settings(settings.scheduler, settings.campaign.concurrency) is not None


def is_local(settings: SiteSettings) -> bool:
    """Whether the campaign runs on this machine, where there is one agent at most."""
    return isinstance(settings.scheduler, LocalSettings)


def count_slots(state: CampaignState, settings: SiteSettings, running: Iterable[AttemptState]) -> SlotCounts:
    """Count the slots of a campaign.

    Args:
        state: State of the campaign.
        settings: Its settings.
        running: Its attempts that run at present.
    """
    present = {agent.agent: agent for agent in state.workforce.present_agents}
    total = sum(agent.slots for agent in present.values())
    at_work = sum(_slots_of(attempt, state.workforce, present) for attempt in running)
    placing = placement_settings(settings.scheduler, settings.campaign.concurrency)
    wanted = settings.campaign.concurrency if placing and placing.nodes == 1 else total
    return SlotCounts(total, min(at_work, total), max(total - max(wanted, at_work), 0))


def _slots_of(attempt: AttemptState, workforce: Workforce, present: Mapping[str, AgentRecord]) -> int:
    """Number of slots that an attempt takes: one, or those of whole nodes where it has several."""
    agents = agents_of(attempt, workforce)
    if len(agents) == 1:
        return int(agents[0] in present)
    return sum(present[name].slots for name in agents if name in present)


def summary_line(directory: CampaignDirectory, state: CampaignState, slots: SlotCounts) -> str:
    """`2 of 2 allocations, 184 agents, 1,472 slots: 1,470 at work, 2 idle; 11h20m left`."""
    present, words = state.workforce.present_agents, allocations_line(state, directory.settings)
    if present:
        left = time_left(agent.ends_at for agent in present)
        agents = f"{count(len(present), 'agent')}, {count(slots.total, 'slot')}: {slots.use}"
        return ", ".join(filter(None, [words, agents])) + (f"; {left} left" if left else "")
    none = "no agent is left" if state.workforce.agents else "no agent yet"
    if isinstance(directory.settings.scheduler, AgentsSettings):
        return f"{none}; {how_to_start(directory)}"
    return ", ".join(filter(None, [words, none]))


def allocations_line(state: CampaignState, settings: SiteSettings) -> str:
    """Number of allocations that run, of those that should; empty where the campaign submits none."""
    scheduler = settings.scheduler
    if not isinstance(scheduler, ClusterSettings) or scheduler.allocations is None:
        return ""
    running = running_allocations(state.workforce)
    return f"{len(running):,} of {count(max(scheduler.allocations.at_once, len(running)), 'allocation')}"


def running_allocations(workforce: Workforce) -> list[AllocationState]:
    """Allocations with an agent that has not left."""
    present = {agent.allocation for agent in workforce.present_agents}
    return [allocation for allocation in workforce.live_allocations if allocation.name in present]


def waiting_reasons(workforce: Workforce) -> list[str]:
    """A line for each allocation that waits in the queue, with the reason; not for one that follows a live one."""
    live = {allocation.name for allocation in workforce.live_allocations}
    running = {allocation.name for allocation in running_allocations(workforce)}
    waiting = [each for each in workforce.live_allocations if each.name not in running and each.after not in live]
    return [f"allocation {each.name} waits: {each.note}" for each in waiting if each.note]


def how_to_start(directory: CampaignDirectory) -> str:
    """How an agent of the campaign is started by hand."""
    return f"start one on each node: {command_line(['agent', str(directory.path)])}"


def held_resources(state: CampaignState, settings: SiteSettings) -> str:
    """What the campaign still holds besides its trials: `2 allocations` or `3 agents`; empty for nothing."""
    allocations = len(state.workforce.live_allocations)
    by_hand = sum(agent.allocation is None for agent in state.workforce.present_agents)
    if is_local(settings):  # its allocation is one process of this machine
        allocations, by_hand = 0, allocations + by_hand
    held = [(allocations, "allocation"), (by_hand, "agent")]
    return " and ".join(count(number, what) for number, what in held if number)


def time_left(ends: Iterable[datetime | None]) -> str:
    """Time until these ends: `11h20m`, or `40m to 11h20m` where they differ by more than a minute; empty for none."""
    left = [max((end - now()).total_seconds(), 0.0) for end in ends if end is not None]
    if not left:
        return ""
    first, last = format_duration(int(min(left))), format_duration(int(max(left)))
    return last if max(left) - min(left) < 60 else f"{first} to {last}"
