"""Section of `status` for a campaign whose trials are placed on agents."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiperf_orch.campaign.agent_view import AgentView, read_agents
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.commands.agent_rows import USUAL_STATES, Silence, agent_rows, attempt_status, is_running, slot_of
from aiperf_orch.commands.allocation_rows import allocation_rows
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.commands.workforce_summary import count_slots, how_to_start, is_local, time_left
from aiperf_orch.controller.allocation_plan import AllocationLimits, exhaustion_reason
from aiperf_orch.schedulers.base import JobStatus
from aiperf_orch.schedulers.script_rendering import ranges
from aiperf_orch.settings.placement import PlacementSettings, placement_settings
from aiperf_orch.settings.schedulers import AgentsSettings, ClusterSettings
from aiperf_orch.util.units import format_duration, now

_MAX_AGENTS: Final = 20  # rows; of more agents the table has those that need attention
_MAX_GONE: Final = 5
_MAX_ALLOCATIONS: Final = 10
_MAX_REASON: Final = 48  # characters
_MAX_TRIALS: Final = 14  # characters of the trials of an agent


@dataclass(frozen=True)
class WorkforceStatus:
    """Allocations and agents of a campaign as they are at present.

    Attributes:
        directory: The campaign.
        state: Its state.
        views: What the agents' files say, by name.
        allocations: A row for each allocation.
        agents: A row for each agent.
    """

    directory: CampaignDirectory
    state: CampaignState
    views: Mapping[str, AgentView]
    allocations: Sequence[Mapping[str, Any]]
    agents: Sequence[Mapping[str, Any]]

    @classmethod
    def read(
        cls, directory: CampaignDirectory, state: CampaignState, queued: Mapping[str, JobStatus]
    ) -> WorkforceStatus | None:
        """Read the agents' files; None for a campaign whose trials are jobs of their own.

        Args:
            directory: The campaign.
            state: Its state.
            queued: What the queue lists of the jobs of its allocations, by name.

        Raises:
            TransientError: When the agents' folder cannot be listed for now.
        """
        placement = placement_of(directory)
        if placement is None:
            return None
        scheduler, time = directory.settings.scheduler, now()
        own = scheduler.allocations if isinstance(scheduler, ClusterSettings) else None
        views = read_agents(directory, state.workforce, state.live.values())
        return cls(
            directory,
            state,
            views,
            allocation_rows(state.workforce, queued, own.time_limit if own else None, time),
            agent_rows(state, views, Silence.of(placement), time),
        )

    def attempt_status(self, attempt: AttemptState) -> JobStatus | None:
        """What its agents say of a live attempt, in place of the queue."""
        limits = AllocationLimits.of(self.directory.settings)
        exhausted = exhaustion_reason(self.state.workforce, limits) if limits else None
        return attempt_status(attempt, self.state, self.views, exhausted)

    def place(self, attempt: AttemptState) -> dict[str, Any]:
        """Agent and slot of an attempt, and the job of its allocation."""
        return {
            "job": attempt.began.job if attempt.began else None,
            "agent": attempt.job,
            "slot": None if attempt.end else slot_of(attempt, self.state, self.views),
        }

    def document(self) -> dict[str, Any]:
        """All rows, for JSON."""
        return {"allocations": self.allocations, "agents": self.agents}

    def heading(self) -> dict[str, str | None]:
        """Lines of a summary, by their first word."""
        settings = self.directory.settings
        running = [each for each in self.state.live.values() if is_running(each, self.state, self.views)]
        present = [] if self.state.phase is Phase.FINISHED else self.state.workforce.present_agents
        left = time_left(agent.ends_at for agent in present)
        slots = count_slots(self.state, settings, running)
        by_hand = isinstance(settings.scheduler, AgentsSettings)
        return {
            "allocations": None if is_local(settings) else _by_state(self.allocations),
            "agents": _by_state(self.agents)
            or (f"none yet; {how_to_start(self.directory)}" if by_hand else "none yet"),
            "slots": f"{slots.total:,}: {slots.use}" + (f"; {left} left" if left else "") if present else None,
        }

    def tables(self) -> str:
        """Tables of allocations and agents, of bounded length; empty without any."""
        live = [row for row in self.allocations if row["state"] != "ENDED"]
        ended = [row for row in self.allocations if row["state"] == "ENDED"]
        allocations = [] if is_local(self.directory.settings) else [*ended, *live][-_MAX_ALLOCATIONS:]
        agents = self._agents_to_show()
        parts = [
            _table([_allocation_cells(row) for row in allocations], len(self.allocations), "allocations"),
            _table([_agent_cells(row) for row in agents], len(self.agents), "agents"),
        ]
        return "\n".join(filter(None, parts))

    def _agents_to_show(self) -> list[Mapping[str, Any]]:
        """Present agents, or of many those that need attention, and the last ones that were lost."""
        present = [row for row in self.agents if row["ended"] is None]
        unusual = [row for row in self.agents if row["state"] not in USUAL_STATES]
        if len(present) > _MAX_AGENTS:
            present = [row for row in unusual if row["ended"] is None][:_MAX_AGENTS]
        gone = sorted((row for row in unusual if row["ended"]), key=lambda row: row["ended"])[-_MAX_GONE:]
        return [*gone, *present]


def placement_of(directory: CampaignDirectory) -> PlacementSettings | None:
    """How the campaign's trials are placed on agents; None where they are jobs of their own."""
    return placement_settings(directory.settings.scheduler, directory.settings.campaign.concurrency)


def _by_state(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Number of rows by state."""
    return (
        ", ".join(f"{number:,} {state}" for state, number in Counter(row["state"] for row in rows).most_common())
        or None
    )


def _table(rows: Sequence[Mapping[str, Any]], total: int, what: str) -> str:
    if not rows:
        return ""
    more = f"{len(rows):,} of {total:,} {what}: --format json has all\n" if len(rows) < total else ""
    return render_rows(rows, "table") + more


def _allocation_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "allocation": row["allocation"],
        "state": row["state"],
        "job": row["job"],
        "nodes": row["nodes"],
        "agents": row["agents"],
        "for": _span_since(row["since"]),
        "left": _span(row["left"]),
        "why": _shortened(row["why"], _MAX_REASON),
    }


def _agent_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    trials = [each["trial"] for each in row["attempts"] if each["trial"] is not None]
    return {
        "agent": row["agent"],
        "state": row["state"],
        "work": None if row["slots"] is None else f"{row['at_work']}/{row['slots']}",
        "wait": row["waiting"],
        "trials": _shortened(ranges(trials).replace(",", " ") or None, _MAX_TRIALS),
        "for": _span_since(row["ended"] or row["began"]),
        "left": _span(row["left"]),
        "seen": _span(row["silent_for"]),
        "why": _shortened(row["why"], _MAX_REASON),
    }


def _span_since(time: datetime | None) -> str | None:
    """Time that has passed since."""
    return None if time is None else _span(max((now() - time).total_seconds(), 0.0))


def _span(seconds: float | None) -> str | None:
    return None if seconds is None else format_duration(int(seconds))


def _shortened(text: str | None, width: int) -> str | None:
    return text and textwrap.shorten(text, width, placeholder=" …")
