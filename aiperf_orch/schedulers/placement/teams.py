"""Teams of agents that may get attempts: what is on the board, as the choice of agents wants it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from aiperf_orch.schedulers.placement.board import AgentBoard
from aiperf_orch.schedulers.placement.board_agent import BoardAgent
from aiperf_orch.schedulers.placement.choice import Team, form_teams
from aiperf_orch.settings.placement import PlacementSettings
from aiperf_orch.util.units import now

_SAME_END: Final = 60.0
"""Seconds by which the ends of two allocations may differ that count as the same."""


def usable_teams(board: AgentBoard, settings: PlacementSettings) -> tuple[list[Team], int]:
    """Teams that may get attempts, and the number of attempts at work on other agents.

    Args:
        board: What is known of the agents; its lock is held.
        settings: How trials are placed.
    """
    agents = [agent for agent in board.agents.values() if agent.gone is None]
    singles = {agent.name: _single(agent) for agent in agents}
    usable = {
        agent.name for agent in agents if board.is_usable(agent) and _seconds_left(agent) > 2 * settings.warn_before
    }
    if settings.nodes == 1:
        busy = sum(team.at_work for name, team in singles.items() if name not in usable)
        return [team for name, team in singles.items() if name in usable], busy
    return _wide_teams(agents, singles, usable, settings.nodes)


def _wide_teams(
    agents: Sequence[BoardAgent], singles: Mapping[str, Team], usable: Collection[str], nodes: int
) -> tuple[list[Team], int]:
    """As `usable_teams`, for trials of several nodes.

    An attempt that waits gets the agents of one that runs, so that all of them are free at the same time.
    """
    teams: list[Team] = []
    idle: dict[tuple[str | None, str], list[Team]] = {}
    busy, known = 0, {agent.name: agent for agent in agents}
    for held in dict.fromkeys(each.agents for agent in agents for each in agent.held.values()):
        members = [known.get(name) for name in held]
        attempts = [set(member.held) if member and member.name in usable else None for member in members]
        if None in attempts or any(each != attempts[0] for each in attempts):
            busy += 1
            continue
        hosts = tuple(singles[name].hosts[0] for name in held)
        left = min(singles[name].seconds_left for name in held)
        teams.append(Team(held, hosts, 1, placed=len(attempts[0] or ()), limit=1, seconds_left=left))
    for agent in agents:
        if agent.begin and agent.name in usable and not agent.held:
            idle.setdefault((agent.begin.allocation, agent.begin.job), []).append(singles[agent.name])
    return [*teams, *(team for each in idle.values() for team in form_teams(each, nodes))], busy


def _single(agent: BoardAgent) -> Team:
    """An agent as a team of its own."""
    left = _seconds_left(agent)
    return Team(
        (agent.name,),
        (agent.host,),
        agent.begin.slots if agent.begin else 1,
        placed=len(agent.held),
        limit=agent.limit,
        seconds_left=left if math.isinf(left) else left - left % _SAME_END,
    )


def _seconds_left(agent: BoardAgent) -> float:
    """Seconds until its allocation ends; infinite where that is not known."""
    ends_at = agent.begin.ends_at if agent.begin else None
    return (ends_at - now()).total_seconds() if ends_at else math.inf
