"""Agents of which only the files exist: a test writes their logs and heartbeats, and reads their orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiperf_orch.campaign.agent_files import HeartbeatWriter, follow_orders
from aiperf_orch.campaign.durable_files import AppendFile
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.agents import AgentBegin, AgentEnd, AgentLine, Exited, Order, Place, Started
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobEnd, JobRequest, JobState
from aiperf_orch.schedulers.placement.scheduler import PlacementScheduler
from aiperf_orch.settings.placement import PlacementSettings
from aiperf_orch.util.units import now

INTERVAL, LOST_AFTER = 15.0, 60.0
"""Seconds between two heartbeats, and without any until an agent is lost, of `placement`."""


def placement(**changes: Any) -> PlacementSettings:
    fields = {
        "nodes": 1,
        "cores": 1,
        "gpus": None,
        "workers": None,
        "slots": None,
        "share_cores": False,
        "lookahead": 1,
        "interface": None,
        "ports": (29400, 29499),
        "warn_before": 120.0,
        "stop_grace": 60.0,
        "wait_for_controller": 900.0,
        "lost_after": LOST_AFTER,
    }
    return PlacementSettings(**fields | changes)


class FakeAgent:
    """The files of one agent."""

    def __init__(self, layout: Layout, name: str, *, ends_in: float | None = None, begins: bool = True, **begin: Any):
        self.layout, self.name, self.host = layout, name, name.rpartition(".")[0]
        layout.agent_folder(name).mkdir(parents=True)
        self._log = AppendFile(layout.agent_log(name), exclusive=True)
        self._heartbeat = HeartbeatWriter(layout.agent_heartbeat(name))
        self._slots: dict[str, int] = {}
        if begins:
            ends_at = None if ends_in is None else now() + timedelta(seconds=ends_in)
            self.begin(ends_at=ends_at, **begin)

    def begin(self, **changes: Any) -> None:
        fields = {
            "time": now(),
            "agent": self.name,
            "job": "77",
            "host": self.host,
            "boot": "b",
            "pid": 1,
            "started": 1,
            "slots": 1,
            "cores": 1,
            "gpus": 0,
            "version": "1.0",
        }
        self.write(AgentBegin.model_validate(fields | changes))
        self.beat()

    def write(self, line: AgentLine) -> None:
        self._log.append(line.to_line() + "\n")

    def beat(self) -> None:
        self._heartbeat.beat()

    def starts(self, *names: str) -> None:
        for name in names:
            self.write(Started(time=now(), name=name, slot=0, pid=7))

    def exits(self, name: str, status: int | None = 0, **fields: Any) -> None:
        self.write(Exited(time=now(), name=name, status=status, **fields))

    def returns(self, name: str, message: str = "not here", **fields: Any) -> None:
        self.exits(name, None, started=False, message=message, **fields)

    def ends(self, reason: Any = "time limit", message: str = "") -> None:
        self.write(AgentEnd(time=now(), reason=reason, message=message))

    @property
    def orders(self) -> list[Order]:
        return follow_orders(self.layout, self.name).read_on()

    @property
    def placed(self) -> list[str]:
        return [order.name for order in self.orders if isinstance(order, Place) and not order.renews]

    @property
    def at_once(self) -> list[int]:
        return [order.at_once for order in self.orders if isinstance(order, Place)]


class Clock:
    """A monotonic clock that only the test moves."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


class Placed:
    """A campaign whose controller is the test."""

    def __init__(self, folder: Path) -> None:
        self.layout, self.clock = Layout(folder), Clock()
        self.agents: dict[str, FakeAgent] = {}
        self.generation = 0
        self.scheduler: PlacementScheduler

    def agent(self, name: str, **begin: Any) -> FakeAgent:
        self.agents[name] = FakeAgent(self.layout, name, **begin)
        return self.agents[name]

    def control(
        self, concurrency: int = 8, *, hold: bool = True, refresh: bool = True, **changes: Any
    ) -> PlacementScheduler:
        """A new controller's scheduler, which has read the agents' files."""
        self.scheduler = PlacementScheduler(self.layout, placement(**changes), concurrency)
        self.scheduler.board._clock = self.clock  # the test moves its time
        if hold:
            self.generation += 1
            self.scheduler.hold(self.generation)
        if refresh:
            self.scheduler.board.refresh()
        return self.scheduler

    def request(self, name: str, exclude: Sequence[str] = ()) -> JobRequest:
        folder = self.layout.jobs_folder / name
        return JobRequest(name, folder, folder, self.layout.path, ("true",), exclude=tuple(exclude))

    def submit(self, *names: str, exclude: Sequence[str] = ()) -> dict[str, str]:
        """The job ids of attempts that are placed now."""
        return self.scheduler.submit([self.request(name, exclude) for name in names]).jobs

    def state(self, name: str) -> JobState | str | tuple[EndReason | None, tuple[str, ...]] | None:
        """State of an attempt: of the queue, or reason and hosts of the end of one that the queue does not list."""
        status = self.scheduler.query([name]).get(name)
        if status is not None and status.state is not JobState.ENDED:
            return status.state
        if status is not None and status.never_started:
            return "never started"
        end = self.scheduler.query_unlisted({name: "a job"}).get(name)
        return (end.reason, end.hosts) if isinstance(end, JobEnd) else None

    def pass_time(self, seconds: float, *alive: str) -> None:
        """Let time pass in which these agents show signs of life, each of which is read."""
        left = seconds
        while left > 0:
            self.clock.time += min(left, INTERVAL)
            left -= INTERVAL
            for name in alive:
                self.agents[name].beat()
            self.scheduler.board.refresh()
