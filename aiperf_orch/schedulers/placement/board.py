"""Board of a campaign's agents: what their logs, heartbeats and orders say, read from files in bounded numbers.

Reading blocks, and is done in background threads, one at a time. What has been read is changed under a lock that is
never held while a file is read, so that the controller's loop never waits for a file here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from threading import Lock, RLock
from time import monotonic
from typing import Final

from aiperf_orch.campaign.agent_files import HeartbeatReader, agent_names, follow_log, follow_orders
from aiperf_orch.campaign.drained_nodes import is_same_node
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.agents import AgentLine, Dismiss, Exited, Order, Place, Started, Stop
from aiperf_orch.records.workforce import AgentLeave
from aiperf_orch.schedulers.base import JobEnd
from aiperf_orch.schedulers.placement.board_agent import FILE_LAG, BoardAgent
from aiperf_orch.schedulers.placement.placements import Placement
from aiperf_orch.util.errors import AiperfError, SchedulerUnreachableError, TransientError
from aiperf_orch.util.units import now

_SILENT_HEARTBEATS: Final = 3
"""Number of missing signs of life after which an agent gets no attempts."""


_LONGEST_GAP: Final = 2
"""Number of missing signs of life between two reads that succeeded, from which on nothing is known of that time."""

_READS_A_SECOND: Final = 50
"""Number of agents whose files are read a second, where none of them is to be read sooner."""

_SOONER: Final = 4
"""Factor by which an agent is read more often on which a slot may be free without being known to be."""


class AgentBoard:
    """The agents of a campaign, by what their files said when they were last read.

    Attributes:
        lock: Held while what is known is read or changed, never while a file is.
        opened: Number of files that were opened, and folders that were listed.
        interval: Seconds between two reads of an agent's files that nothing asks for.
        drained: Nodes whose agents get no attempts.
    """

    def __init__(
        self, layout: Layout, *, interval: float, lost_after: float, clock: Callable[[], float] = monotonic
    ) -> None:
        """Begin without any agent.

        Args:
            layout: Paths of the campaign.
            interval: Seconds between two signs of life of an agent.
            lost_after: Seconds without a sign of life after which an agent is lost.
            clock: Monotonic clock.
        """
        self._layout, self.interval, self._lost_after, self._clock = layout, interval, lost_after, clock
        self.lock = RLock()
        self.drained: frozenset[str] = frozenset()
        self.opened = 0
        self._reading = Lock()
        self._pace = 0.0  # seconds between two reads of an agent, at most
        self._agents: dict[str, BoardAgent] = {}
        self._unread: set[str] = set()  # agents whose orders of earlier controllers could not be read for now
        self._listed = False
        self._by_name: dict[str, list[Placement]] = {}
        self._allocation_ends: dict[str, JobEnd] = {}
        self._left_before: dict[str, AgentLeave] = {}
        self._news: set[str] = set()
        self._exited: set[str] = set()

    @property
    def agents(self) -> Mapping[str, BoardAgent]:
        """All agents that have a folder, by name."""
        with self.lock:
            return dict(self._agents)

    @property
    def is_loaded(self) -> bool:
        """Whether the orders of all agents that have a folder are known."""
        return self._listed and not self._unread

    def load(self) -> None:
        """Read the orders and logs of all agents, unless that has been done.

        Raises:
            SchedulerUnreachableError: When any of them cannot be read for now.
        """
        if not self.is_loaded:
            self.refresh()
        if not self.is_loaded:
            raise SchedulerUnreachableError(
                f"{self._layout.agents_folder}: the orders of {len(self._unread)} agent(s) cannot be read for now"
            )

    def refresh(self) -> None:
        """Find new agents, and read what is due, the more seldom the more agents there are.

        Raises:
            SchedulerUnreachableError: When the agents cannot be listed for now.
        """
        with self._reading:
            self._find_agents()
            time, present = self._clock(), [agent for agent in self._agents.values() if agent.gone is None]
            self._pace = min(len(present) / _READS_A_SECOND, self._lost_after / 4)
            self._read_on([agent for agent in present if agent.due <= time])

    def read(self, names: Collection[str]) -> None:
        """Read on at once in the logs and heartbeats of these agents, unless they are gone."""
        with self._reading:
            agents = [self._agents[name] for name in names if name in self._agents]
            self._read_on([agent for agent in agents if agent.gone is None], at_once=True)

    def allocation_ended(self, name: str, end: JobEnd) -> None:
        """Note that the job of an allocation has ended: its agents are gone, as soon as their last lines were read."""
        with self.lock:
            self._allocation_ends[name] = end
            for agent in self._agents.values():
                self._end_with_allocation(agent)

    def left_before(self, leaves: Iterable[AgentLeave]) -> None:
        """Note agents that are gone by the journal of earlier controllers: their files are read once, and no more."""
        with self.lock:
            self._left_before |= {leave.agent: leave for leave in leaves}

    # what is placed; the caller holds `lock`

    def take_news(self) -> set[str]:
        """Names of attempts that started or exited, by lines that were read since the last call."""
        news, self._news = self._news, set()
        return news

    @property
    def exited(self) -> frozenset[str]:
        """Names of attempts that no agent holds any more, and that were not released."""
        return frozenset(self._exited)

    def placements_of(self, name: str) -> list[Placement]:
        """All placements of an attempt, in the order of their orders."""
        return self._by_name.get(name, [])

    def place(self, placement: Placement, agents: Iterable[str]) -> None:
        """Note that these agents have the order of an attempt, or get it now."""
        several = self._by_name.setdefault(placement.name, [])
        self._exited.discard(placement.name)
        if placement not in several:
            several.append(placement)
        for agent in agents:
            self._agents[agent].hold(placement)

    def withdraw(self, placement: Placement) -> None:
        """Forget a placement."""
        several = self._by_name.get(placement.name, [])
        if placement in several:
            several.remove(placement)
        if not several:
            self._by_name.pop(placement.name, None)
            self._exited.discard(placement.name)
        for agent in placement.agents:
            if agent in self._agents:
                self._agents[agent].withdraw(placement)

    def release(self, names: Iterable[str]) -> None:
        """Note that the trials of these attempts have ended; what is over on all agents, too, is forgotten."""
        for name in names:
            self._exited.discard(name)
            for placement in list(self._by_name.get(name, ())):
                placement.released = True
                for agent in placement.agents:
                    if agent in self._agents:
                        self._agents[agent].held.pop(name, None)
                self._forget_if_over(placement)

    def is_usable(self, agent: BoardAgent) -> bool:
        """Whether an agent may get attempts, as far as its state is concerned."""
        return (
            agent.begin is not None
            and agent.gone is None
            and not agent.is_leaving
            and not agent.dismissed
            and not agent.damage
            and agent.is_alive
            and agent.silent_for <= _SILENT_HEARTBEATS * self.interval
            and not any(is_same_node(node, agent.host) for node in self.drained)
        )

    # reading; the caller holds `_reading`

    def _find_agents(self) -> None:
        try:
            self.opened += 1
            names = agent_names(self._layout)
        except TransientError as error:
            raise SchedulerUnreachableError(str(error)) from error
        fresh = [name for name in names if name not in self._agents]
        if not self._listed:
            self._unread.update(fresh)
        for name in [*fresh, *(self._unread - set(fresh))]:
            self._add(name)
        self._listed = True

    def _add(self, name: str) -> None:
        """Add an agent with its orders; one whose orders cannot be read for now is added later."""
        try:
            self.opened += 1
            orders = follow_orders(self._layout, name).read_on()
        except TransientError:
            self._unread.add(name)
            return
        except AiperfError as error:
            orders, damage = [], str(error)
        else:
            damage = ""
        agent = BoardAgent(
            name,
            follow_log(self._layout, name),
            HeartbeatReader(self._layout.agent_heartbeat(name)),
            self._clock(),
            damage=damage,
        )
        with self.lock:
            self._agents[name] = agent
            self._unread.discard(name)
            self._apply_orders(agent, orders)

    def _apply_orders(self, agent: BoardAgent, orders: Iterable[Order]) -> None:
        """Apply the orders of earlier controllers, as the agent obeys them."""
        newest = 0
        for order in orders:
            if order.generation < newest:
                continue
            newest = order.generation
            match order:
                case Place() if order.renews and order.name in agent.held:
                    agent.held[order.name].order, agent.limit = order, order.at_once
                case Place():
                    known = (each for each in self.placements_of(order.name) if _lacks(each, order, agent))
                    placement = next(known, None) or Placement(order.name, tuple(order.agents), order.at_once, order)
                    self.place(placement, [agent.name])
                case Stop() if order.name in agent.held:
                    agent.held[order.name].killed |= order.force
                case Dismiss():
                    agent.dismissed = True

    def _read_on(self, agents: Iterable[BoardAgent], *, at_once: bool = False) -> None:
        """Read on in the files of agents, and in those of the predecessors that they name."""
        killed: dict[str, str] = {}
        for agent in agents:
            had_begun = agent.begin is not None
            self._read_agent(agent, at_once=at_once)
            if not had_begun and agent.begin is not None:
                if agent.begin.predecessor is not None:
                    killed[agent.begin.predecessor] = agent.name
                with self.lock:
                    self._end_with_allocation(agent)
        for name, successor in killed.items():
            if name in self._agents:
                with self.lock:
                    self._agents[name].leave("killed", f"agent {successor} took its place", self._clock())

    def _read_agent(self, agent: BoardAgent, *, at_once: bool) -> None:
        """Read on in the log and the heartbeat of an agent, and conclude what follows.

        The heartbeat is read once an interval, unless the log has grown, which is a sign of life, too.
        """
        time, first = self._clock(), agent.heartbeat.last is None
        lines = self._read_log(agent)
        had_begun = agent.begin is not None
        beats = at_once or agent.is_leaving or agent.read_at is None or time - agent.read_at >= self.interval
        if lines and had_begun:
            changed: bool | None = False
        else:
            changed = self._read_heartbeat(agent) if beats else None
        with self.lock:
            for line in lines or ():
                agent.apply(line)
            if changed is not None:
                agent.note_read(time, _LONGEST_GAP * (self.interval + self._pace))
            grew = bool(lines)
            if (grew and had_begun) or (changed and not first) or ((grew or changed) and self._is_fresh(agent)):
                agent.changed_at = time
            if lines is not None and agent.gone is None:
                agent.gone = self._left_before.get(agent.name)
            if lines is not None and changed is not None:
                agent.conclude(time, self._lost_after)
            agent.due = self._next_read(agent, time)
            for line in lines or ():
                if isinstance(line, Started | Exited):
                    self._note_news(line)

    def _note_news(self, line: Started | Exited) -> None:
        self._news.add(line.name)
        if isinstance(line, Exited):
            for placement in list(self.placements_of(line.name)):
                self._forget_if_over(placement)
            left = self.placements_of(line.name)
            if left and not any(placement.open_agents(self._agents) for placement in left):
                self._exited.add(line.name)

    def _read_log(self, agent: BoardAgent) -> list[AgentLine] | None:
        """Lines that were added to its log; None where it cannot be read for now."""
        if agent.damage:
            return []
        self.opened += 1
        try:
            return agent.log.read_on()
        except TransientError:
            return None
        except AiperfError as error:
            agent.damage = str(error)
            return []

    def _read_heartbeat(self, agent: BoardAgent) -> bool | None:
        """Whether its heartbeat has changed; None where it cannot be read for now."""
        self.opened += 1
        try:
            return agent.heartbeat.read()
        except AiperfError:
            return None

    def _is_fresh(self, agent: BoardAgent) -> bool:
        """Whether the latest time that an agent wrote is of the last heartbeats, by clocks that differ little.

        An older one need not be wrong: then the agent is known to be alive when its heartbeat changes.
        """
        times = [agent.heartbeat.last.time] if agent.heartbeat.last else []
        times += [agent.begin.time] if agent.begin else []
        age = (now() - max(times)).total_seconds() + agent.clock_skew if times else math.inf
        return abs(age) <= _SILENT_HEARTBEATS * self.interval

    def _next_read(self, agent: BoardAgent, time: float) -> float:
        """When an agent's files are worth the next read."""
        if agent.begin is None and time - agent.found_at < self._lost_after:
            return time  # it is about to begin
        if agent.is_leaving:
            return time + FILE_LAG
        pace = self._pace
        if agent.silent_for > 0.0:
            pace = min(pace, self.interval)
        elif agent.may_have_free_slot:
            pace /= _SOONER
        return time + pace * random.uniform(0.8, 1.0)  # not all agents at the same time

    def _end_with_allocation(self, agent: BoardAgent) -> None:
        end = self._allocation_ends.get(agent.begin.allocation) if agent.begin and agent.begin.allocation else None
        if end is not None and agent.gone is None:
            agent.allocation_end = end
            agent.leave("lost", ": ".join(filter(None, ["its allocation has ended", end.detail])), self._clock())

    def _forget_if_over(self, placement: Placement) -> None:
        """Forget a placement whose trial has ended, by the journal, and which no agent holds any more."""
        if placement.released and not placement.open_agents(self._agents):
            self.withdraw(placement)


def _lacks(placement: Placement, order: Place, agent: BoardAgent) -> bool:
    """Whether an order is one of a placement that this agent is not known to have."""
    return placement.agents == tuple(order.agents) and agent.name not in placement.given
