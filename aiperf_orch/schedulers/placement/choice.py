"""Choice of the agents of an attempt: pure, on what is known of the agents at one moment."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass
class Team:
    """Agents that run attempts together: one agent, or as many as a trial has nodes.

    Attributes:
        agents: Their names, by rank.
        hosts: Their hosts.
        slots: Number of attempts that they can run at once.
        placed: Number of attempts that were placed on them and have not ended.
        limit: Number of attempts that they may run at once by their latest order; 0 before the first one.
        seconds_left: Seconds until their allocation ends; infinite where that is not known.
    """

    agents: tuple[str, ...]
    hosts: tuple[str, ...]
    slots: int
    placed: int = 0
    limit: int = 0
    seconds_left: float = math.inf

    @property
    def at_work(self) -> int:
        """Number of attempts that may be at work now."""
        return min(self.placed, self.limit)

    @property
    def waiting(self) -> int:
        """Number of attempts that wait for the end of another one."""
        return self.placed - self.at_work


@dataclass(frozen=True, slots=True)
class Chosen:
    """A team for an attempt, and the number of attempts that it may run at once from now on."""

    team: Team
    at_once: int


class Chooser:
    """Chooses teams for one attempt after another, so that no more than `concurrency` are ever at work.

    A free slot comes first: of the allocation that lasts longest, on the team with the smallest share of its slots at
    work. Without a free slot an attempt waits where the most may still wait. Excluded hosts are avoided; only where all
    teams have one is it used, and rather than on an excluded host an attempt waits beyond `lookahead` on another one.
    """

    def __init__(self, teams: Sequence[Team], *, concurrency: int, busy: int, lookahead: int | None) -> None:
        """Begin with the attempts that have been placed.

        Args:
            teams: Teams that may get attempts; their numbers follow each choice.
            concurrency: Number of attempts that may be at work at once, on all agents.
            busy: Number of attempts at work on agents that get no more.
            lookahead: Number of attempts that may wait on each team; None for a quarter of its slots, at least one,
                where slots beyond `concurrency` do not count.
        """
        self._teams, self._lookahead, self._concurrency = teams, lookahead, concurrency
        self._left = concurrency - busy - sum(team.at_work for team in teams)
        self._free = [(*_work_key(team), index) for index, team in enumerate(teams) if team.at_work < team.slots]
        self._behind = [(*self._waiting_key(team), index) for index, team in enumerate(teams) if team.at_work]
        heapq.heapify(self._free)
        heapq.heapify(self._behind)

    def choose(self, exclude: Collection[str] = ()) -> Chosen | None:
        """The team of the next attempt; None where it must wait elsewhere.

        Where more are at work than `concurrency`, which was lowered, none is placed until enough of them have ended.

        Args:
            exclude: Hosts that the attempt should not get.
        """
        if self._left < 0:
            return None
        avoided = frozenset(exclude)
        others = [index for index, team in enumerate(self._teams) if avoided.isdisjoint(team.hosts)] if avoided else []
        if not others or len(others) == len(self._teams):
            return self._choose_any()
        free = [index for index in others if self._teams[index].at_work < self._teams[index].slots]
        if self._left > 0 and free:
            return self._take(min(free, key=lambda index: _work_key(self._teams[index])), work=True)
        behind = [index for index in others if self._teams[index].at_work]
        if behind:
            return self._take(min(behind, key=lambda index: self._waiting_key(self._teams[index])), work=False)
        return None

    def _choose_any(self) -> Chosen | None:
        while self._left > 0 and self._free:
            *key, index = heapq.heappop(self._free)
            if tuple(key) == _work_key(self._teams[index]):  # else an entry from before another choice
                return self._take(index, work=True)
        while self._behind:
            *key, index = self._behind[0]
            if tuple(key) == self._waiting_key(self._teams[index]):
                return self._take(index, work=False) if self._room(self._teams[index]) > 0 else None
            heapq.heappop(self._behind)
        return None

    def _take(self, index: int, *, work: bool) -> Chosen:
        team = self._teams[index]
        team.limit = team.at_work + work
        team.placed += 1
        self._left -= work
        if team.at_work < team.slots:
            heapq.heappush(self._free, (*_work_key(team), index))
        heapq.heappush(self._behind, (*self._waiting_key(team), index))
        return Chosen(team, team.limit)

    def _room(self, team: Team) -> int:
        """Number of attempts that may wait on a team beyond those that do."""
        at_work = min(team.slots, self._concurrency)
        allowed = max(at_work // 4, 1) if self._lookahead is None else self._lookahead
        return allowed - team.waiting

    def _waiting_key(self, team: Team) -> tuple[int, int, float]:
        return (-self._room(team), -team.slots, -team.seconds_left)


def count_places(teams: Iterable[Team], *, concurrency: int, busy: int, lookahead: int | None, most: int) -> int:
    """Number of attempts that can be placed now, at most `most`; other arguments as of `Chooser`."""
    chooser = Chooser([replace(team) for team in teams], concurrency=concurrency, busy=busy, lookahead=lookahead)
    places = 0
    while places < most and chooser.choose() is not None:
        places += 1
    return places


def form_teams(idle: Iterable[Team], nodes: int) -> list[Team]:
    """Teams of several agents of one allocation, each on a host of its own, in the order of their hosts' names.

    Args:
        idle: The single agents of one allocation on which nothing is placed.
        nodes: Number of agents of a team.
    """
    by_host = {team.hosts: team for team in idle}
    ordered = sorted(by_host.values(), key=lambda team: natural_order(team.hosts[0]))
    groups = [ordered[start : start + nodes] for start in range(0, len(ordered) - nodes + 1, nodes)]
    return [
        Team(
            agents=tuple(team.agents[0] for team in group),
            hosts=tuple(team.hosts[0] for team in group),
            slots=1,
            seconds_left=min(team.seconds_left for team in group),
        )
        for group in groups
    ]


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key by which n2 comes before n10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name) if part]


def _work_key(team: Team) -> tuple[float, float]:
    return (-team.seconds_left, team.at_work / team.slots)
