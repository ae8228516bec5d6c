"""What agents' files say at present, for a reader that is not their controller: nothing is written or concluded."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from aiperf_orch.campaign.agent_files import HeartbeatReader, agent_names, follow_log
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.campaign.workforce import Workforce
from aiperf_orch.records.agents import AgentBegin, AgentEnd, AgentLine, Exited, Started
from aiperf_orch.util.errors import AiperfError

_READERS: Final = 16  # threads: a network file system answers many requests at once


@dataclass
class AgentView:
    """The files of one agent.

    Attributes:
        name: Its name.
        begin: First line of its log; None before that line.
        end: Last line of its log; None while it has not ended.
        started: Attempts that it started, by name.
        exited: Attempts that are over on it, by name; also those that it never started.
        last_sign: Time of its last sign of life, by the file server's clock as far as that is known.
        fault: Why its files could not be read; empty where they were.
    """

    name: str
    begin: AgentBegin | None = None
    end: AgentEnd | None = None
    started: dict[str, Started] = field(default_factory=dict)
    exited: dict[str, Exited] = field(default_factory=dict)
    last_sign: datetime | None = None
    fault: str = ""

    @property
    def running(self) -> dict[str, Started]:
        """Attempts that run on it, by name."""
        return {name: start for name, start in self.started.items() if name not in self.exited}


def agents_of(attempt: AttemptState, workforce: Workforce) -> list[str]:
    """Names of the agents that hold an attempt, in the order of its ranks; empty where the journal does not say."""
    return [name for name in (attempt.job or "").split(",") if name in workforce.agents]


def read_agents(layout: Layout, workforce: Workforce, live: Iterable[AttemptState]) -> dict[str, AgentView]:
    """Read the files of the agents that matter at present, by name.

    These are agents that have not left, agents that the journal does not have yet, and those that hold a live attempt.

    Args:
        layout: Paths of the campaign.
        workforce: Its agents, by its journal.
        live: Its attempts that have not ended.

    Raises:
        TransientError: When the agents' folder cannot be listed for now.
    """
    holders = {name for attempt in live for name in agents_of(attempt, workforce)}
    names = [name for name in agent_names(layout) if _matters(name, workforce, holders)]
    with ThreadPoolExecutor(_READERS) as pool:
        return {view.name: view for view in pool.map(lambda name: _read_agent(layout, name), names)}


def _matters(name: str, workforce: Workforce, holders: Collection[str]) -> bool:
    agent = workforce.agents.get(name)
    return agent is None or agent.left is None or name in holders


def _read_agent(layout: Layout, name: str) -> AgentView:
    view, heartbeat = AgentView(name), HeartbeatReader(layout.agent_heartbeat(name))
    try:
        _apply(view, follow_log(layout, name).read_on())
        heartbeat.read()
    except AiperfError as error:
        view.fault = str(error)
    ahead = timedelta(seconds=view.begin.clock_skew if view.begin else 0.0)
    signs = [sign.time - ahead for sign in (view.begin, heartbeat.last, view.end) if sign]
    view.last_sign = max(signs, default=None)
    return view


def _apply(view: AgentView, lines: Iterable[AgentLine]) -> None:
    for line in lines:
        match line:
            case AgentBegin():
                view.begin = line
            case Started():
                view.started[line.name] = line
                view.exited.pop(line.name, None)  # placed again after it never started
            case Exited():
                view.exited[line.name] = line
            case AgentEnd():
                view.end = line
