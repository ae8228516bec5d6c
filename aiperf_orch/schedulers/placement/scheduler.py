"""Scheduler that places attempts on agents: an order in an agent's file is the job, and the agent's log its state.

An order is on disk before an attempt counts as submitted, so that another controller finds it by its name.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from threading import Lock
from typing import Any, Final

from aiperf_orch.campaign.agent_files import OrderWriter
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.agents import Dismiss, Order, Place, Stop
from aiperf_orch.schedulers.base import CancelResult, JobEnd, JobRequest, JobStatus, Scheduler, SubmitResult
from aiperf_orch.schedulers.placement.board import AgentBoard
from aiperf_orch.schedulers.placement.board_agent import BoardAgent
from aiperf_orch.schedulers.placement.choice import Chooser, count_places
from aiperf_orch.schedulers.placement.placements import Placement, Stage, job_end, job_status, order_fields, preferred
from aiperf_orch.schedulers.placement.teams import usable_teams
from aiperf_orch.settings.placement import PlacementSettings
from aiperf_orch.util.errors import AiperfError, SchedulerUnreachableError
from aiperf_orch.util.units import now

_OPEN_FILES: Final = 200
"""Number of agents whose orders stay open: there may be more agents than this process may open files."""
_REFUSALS: Final = 4
"""Number of times that living agents returned an attempt unstarted, after which it is not placed again for now."""
_MOST_PLACES: Final = 200
"""Number of attempts that are proposed and placed together: the first ones work while the next ones are proposed."""
_NO_PLACE: Final = "no agent has a free slot for it"

Draft = tuple[type[Order], Mapping[str, Any]]


class PlacementScheduler(Scheduler):
    """Places attempts on the agents of a campaign.

    Attributes:
        batch: Scheduler of the allocations' own jobs; None where agents are started by hand only.
        board: What is known of the agents.
        controller_interval: Seconds between two signs of life that the controller gives the agents.
    """

    lookahead = 0
    announces_jobs = True

    def __init__(
        self, layout: Layout, settings: PlacementSettings, concurrency: int, batch: Scheduler | None = None
    ) -> None:
        """Begin without any agent; nothing is read before the first call that blocks.

        Args:
            layout: Paths of the campaign.
            settings: How trials are placed.
            concurrency: Number of trials at work at once.
            batch: Scheduler of the allocations' own jobs; None where agents are started by hand only.
        """
        self._layout, self._settings, self._concurrency, self.batch = layout, settings, concurrency, batch
        self.query_interval = settings.heartbeat_interval
        self.controller_interval = settings.controller_interval
        self.board = AgentBoard(layout, interval=settings.heartbeat_interval, lost_after=settings.lost_after)
        self._generation: int | None = None
        self._writing = Lock()
        self._writers: dict[str, OrderWriter] = {}  # the last used ones last

    @property
    def avoids_nodes(self) -> bool:  # type: ignore[override]  # it changes with the agents
        """Whether agents of more than one host are present."""
        usable = (agent.host for agent in self.board.agents.values() if self.board.is_usable(agent))
        first = next(usable, None)
        return any(host != first for host in usable)

    def succeed(self, former: Scheduler) -> None:
        """Take over what the scheduler of the allocations' jobs knows of them."""
        if isinstance(former, PlacementScheduler) and self.batch and former.batch:
            self.batch.succeed(former.batch)

    def hold(self, generation: int) -> None:
        """Permit to write orders, which state the generation of the controller's lock."""
        self._generation = generation

    def set_drained(self, nodes: Collection[str]) -> None:
        """Place nothing more on agents of these nodes."""
        self.board.drained = frozenset(nodes)

    def node_names(self) -> Collection[str] | None:
        """Return the names of the nodes that allocations may get."""
        return self.batch.node_names() if self.batch else None

    def free_places(self) -> int | None:
        """Return how many more attempts may be placed now, those that would wait on an agent included, at most 200."""
        with self.board.lock:
            teams, busy = usable_teams(self.board, self._settings)
        return count_places(
            teams,
            concurrency=self._concurrency,
            busy=busy,
            lookahead=self._settings.lookahead,
            most=_MOST_PLACES,
        )

    def check(self, concurrency: int) -> list[str]:
        """Check the scheduler of the allocations' jobs."""
        return self.batch.check(concurrency) if self.batch else []

    def render(self, request: JobRequest) -> str:
        """Return the command that an agent would run."""
        return f"# {request.name}: an agent runs this in {request.folder}\n{shlex.join(request.command)}\n"

    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        """Place attempts on agents; those for which no agent has a place are returned as waiting."""
        done = SubmitResult()
        try:
            self.board.load()
        except SchedulerUnreachableError as error:
            done.waiting.update({request.name: str(error) for request in requests})
            return done
        with self.board.lock:
            placed = self._place(requests, done)
        drafts: dict[str, list[Draft]] = {}
        for request, placement, hosts in placed:
            for agent in placement.agents:
                drafts.setdefault(agent, []).append((Place, order_fields(request, placement, hosts)))
        failed = self._write(drafts)
        for _, placement, _ in placed:
            message = next((failed[agent] for agent in placement.agents if agent in failed), None)
            if message is None:
                done.jobs[placement.name] = placement.job
            else:
                done.postponed[placement.name] = message
                self._take_back(placement, failed)
        return done

    def take_news(self) -> Collection[str]:
        """Return the attempts that started or exited, by the lines of the agents' logs that were read since."""
        with self.board.lock:
            return self.board.take_news()

    def gone_jobs(self) -> Collection[str]:
        """Return the attempts that exited on all agents, and those that agents still held when they were gone.

        Those that were placed again since are not among them.
        """
        with self.board.lock:
            held = [
                each for agent in self.board.agents.values() if agent.gone is not None for each in agent.held.values()
            ]
            lost = {each.name for each in held if self.board.placements_of(each.name)[-1:] == [each]}
            return lost | self.board.exited

    def release_resources(self, names: Collection[str]) -> None:
        """Consider these attempts' slots free; their agents start the next ones when their processes have exited."""
        with self.board.lock:
            self.board.release(names)

    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        """Read the logs of the agents that hold these attempts, and return the attempts that are placed."""
        self.board.load()
        with self.board.lock:
            placements = [placement for name in names for placement in self.board.placements_of(name)]
            agents = self.board.agents
            holding = {agent for each in placements for agent in each.open_agents(agents)}
        self.board.read(holding)
        if self._generation is not None:
            self._settle()
            self._renew()
        time, found = now(), {}
        with self.board.lock:
            agents = self.board.agents
            for name in names:
                placement = preferred(self.board.placements_of(name), agents)
                status = job_status(placement, agents, time) if placement else None
                if status is not None:
                    found[name] = status
        return found

    def query_unlisted(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:
        """Return the ends of attempts by the logs of their agents, or by the ends of these agents."""
        ends: dict[str, JobStatus | JobEnd] = {}
        self.board.load()
        with self.board.lock:
            agents = self.board.agents
            for name in jobs:
                placement = preferred(self.board.placements_of(name), agents)
                if placement is not None and placement.stage(agents) in (Stage.ENDED, Stage.GONE):
                    ends[name] = job_end(placement, agents)
        return ends

    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> CancelResult:
        """Order the agents to send SIGTERM to attempts, or to kill them with `force`; those that wait never start."""
        done = CancelResult()
        self.board.load()
        stops: list[Placement] = []
        with self.board.lock:
            agents = self.board.agents
            for name in jobs:
                placements = self.board.placements_of(name)
                if placements and all(each.stage(agents) is Stage.RETURNED for each in placements):
                    done.never_started.append(name)
                stops += [each for each in placements if not (force and each.killed)]
        done.refused.update(self._stop(stops, force=force))
        return done

    def dismiss(self, reason: str) -> None:
        """Order all agents to end when no attempt is left on them.

        Args:
            reason: Why the campaign needs them no more.

        Raises:
            AiperfError: When an order cannot be written; dismiss again later.
        """
        self.board.refresh()
        with self.board.lock:
            present = [agent for agent in self.board.agents.values() if agent.gone is None and not agent.dismissed]
        for error in self._dismiss(present, reason):
            raise AiperfError(error)

    def replace_smaller_agents(self, slots: int) -> None:
        """Order agents with fewer slots to end when no attempt is left on them; until then they get no more.

        Args:
            slots: Number of slots that each agent of a new allocation has.
        """
        with self.board.lock:
            agents = self.board.agents.values()
            small = [
                agent
                for agent in agents
                if agent.gone is None and not agent.dismissed and agent.begin is not None and agent.begin.slots < slots
            ]
        self._dismiss(small, f"an agent with {slots} slots takes its place")

    def _place(
        self, requests: Sequence[JobRequest], done: SubmitResult
    ) -> list[tuple[JobRequest, Placement, tuple[str, ...]]]:
        """Choose agents for attempts, which hold their slots from now on; returns those whose orders are to be written.

        Those that are placed already, or cannot be placed now, are in `done`.
        """
        agents, placed = self.board.agents, []
        teams, busy = usable_teams(self.board, self._settings)
        chooser = Chooser(teams, concurrency=self._concurrency, busy=busy, lookahead=self._settings.lookahead)
        for request in requests:
            earlier = self.board.placements_of(request.name)
            present = preferred(earlier, agents)
            if present is not None and present.stage(agents) is not Stage.RETURNED:
                done.jobs[request.name] = present.job
                continue
            refusals = [message for each in earlier if (message := each.refusal(agents))]
            if len(refusals) >= _REFUSALS:
                done.postponed[request.name] = refusals[-1]
                continue
            chosen = chooser.choose(request.exclude)
            if chosen is None:
                done.waiting[request.name] = _NO_PLACE
                continue
            placement = Placement(request.name, chosen.team.agents, chosen.at_once)
            self.board.place(placement, placement.agents)
            placed.append((request, placement, chosen.team.hosts))
        return placed

    def _take_back(self, placement: Placement, failed: Collection[str]) -> None:
        """Forget a placement whose orders could not be written to all of its agents, and stop it on the others."""
        with self.board.lock:
            self.board.withdraw(placement)
        self._write(
            {
                agent: [(Stop, {"name": placement.name, "force": True})]
                for agent in placement.agents
                if agent not in failed
            }
        )

    def _settle(self) -> None:
        """End by force what is no use any more: attempts that some of their agents will never run, and lost agents."""
        with self.board.lock:
            agents = self.board.agents
            held = {each for agent in agents.values() if agent.gone is None for each in agent.held.values()}
            lost = [agent for agent in agents.values() if agent.is_lost and not agent.dismissed]
            stops = [each for each in held if len(each.agents) > 1 and not each.killed and each.is_hopeless(agents)]
            stops += [each for agent in lost for each in agent.held.values() if not each.killed]
        self._stop(dict.fromkeys(stops), force=True)
        for agent in lost:
            self._dismiss([agent], "it was silent, and its trials were given to others", again=True)

    def _renew(self) -> None:
        """Confirm the orders of earlier controllers: an agent starts only what the present one has placed."""
        drafts: dict[str, list[Draft]] = {}
        with self.board.lock:
            agents = [agent for agent in self.board.agents.values() if agent.gone is None and not agent.dismissed]
            earlier = [(agent, each, each.order) for agent in agents for each in agent.held.values() if each.order]
        for agent, placement, order in earlier:
            if agent.name not in placement.started and not placement.killed:
                fields = order.model_dump(exclude={"type", "seq", "generation", "time"})
                renewal: Draft = (Place, fields | {"renews": True, "at_once": max(agent.limit, 1)})
                drafts.setdefault(agent.name, []).append(renewal)
        failed = self._write(drafts)
        for agent, placement, _ in earlier:
            if agent.name not in failed:
                placement.order = None

    def _stop(self, placements: Iterable[Placement], *, force: bool) -> dict[str, str]:
        """Order agents to end attempts; returns errors by name of the attempt."""
        chosen = list(placements)
        drafts: dict[str, list[Draft]] = {}
        with self.board.lock:
            agents = self.board.agents
            for placement in chosen:
                for name in placement.given:
                    agent = agents.get(name)
                    reachable = agent is not None and (agent.gone is None or agent.is_lost)
                    if reachable and name not in placement.exited:
                        stop: Draft = (Stop, {"name": placement.name, "force": force})
                        drafts.setdefault(name, []).append(stop)
        failed = self._write(drafts)
        refused = {}
        for placement in chosen:
            error = next((failed[agent] for agent in placement.agents if agent in failed), None)
            if error is None:
                placement.killed |= force
            else:
                refused[placement.name] = error
        return refused

    def _dismiss(self, agents: Sequence[BoardAgent], reason: str, *, again: bool = False) -> list[str]:
        """Order agents to end, or with `again` to join under other names; returns errors."""
        order: Draft = (Dismiss, {"reason": reason, "again": again})
        failed = self._write({agent.name: [order] for agent in agents})
        for agent in agents:
            agent.dismissed |= agent.name not in failed
        return list(failed.values())

    def _write(self, drafts: Mapping[str, Sequence[Draft]]) -> dict[str, str]:
        """Append orders, by agent; returns errors by agent, whose orders were not given."""
        failed = {}
        with self._writing:
            for agent, orders in drafts.items():
                try:
                    self._writer(agent).append_all(orders)
                except AiperfError as error:
                    failed[agent] = str(error)
        return failed

    def _writer(self, agent: str) -> OrderWriter:
        """The writer of an agent's orders; the one that was used longest ago is closed where too many are open."""
        writer = self._writers.pop(agent, None) or OrderWriter(self._layout, agent, self._held_generation)
        self._writers[agent] = writer
        if len(self._writers) > _OPEN_FILES:
            self._writers[next(islice(self._writers, len(self._writers) - _OPEN_FILES - 1, None))].close()
        return writer

    def _held_generation(self) -> int:
        if self._generation is None:
            raise AssertionError("orders are written only by the controller that holds the campaign")
        return self._generation
