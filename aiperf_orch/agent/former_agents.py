"""Earlier agents of a campaign on the same host: which of them run, and what killed ones left behind."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from aiperf_orch.agent import processes
from aiperf_orch.agent.environment import AGENT_FOLDER
from aiperf_orch.campaign.agent_files import follow_log
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.agents import AgentBegin, AgentEnd, AgentLine
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.process_identity import boot_id, pid_namespace, process_start

_log: Final = logging.getLogger(__name__)
_BEGIN_SECONDS: Final = 10.0  # in which an agent that has created its folder writes its begin line
_KILL_SECONDS: Final = 60.0  # in which killed processes disappear: a driver may have much to free


@dataclass(frozen=True, slots=True)
class FormerAgent:
    """An earlier agent on this host that has written no end line.

    Attributes:
        begin: Its begin line.
        alive: Whether it runs, as far as it can be determined; an agent in another container may.
        here: Whether its processes would be visible to this process.
        succeeded: Whether a later agent has named it as its predecessor.
    """

    begin: AgentBegin
    alive: bool
    here: bool
    succeeded: bool = False


def former_agents(layout: Layout, names: Sequence[str], own: str) -> list[FormerAgent]:
    """Agents on this host that have not ended, in the order of their names.

    An agent that has created its folder just now is waited for: of two that begin at once, the later one yields.

    Args:
        layout: Paths of the campaign.
        names: The host's earlier agents.
        own: Name of the agent that begins.
    """
    found = []
    succeeded = set()
    for name in names:
        lines = _read(layout, name)
        deadline = time.monotonic() + _BEGIN_SECONDS
        while not lines and _is_new(layout, name, own) and time.monotonic() < deadline:
            time.sleep(0.1)
            lines = _read(layout, name)
        if not lines or not isinstance(lines[0], AgentBegin):
            continue
        succeeded.add(lines[0].predecessor)
        if not isinstance(lines[-1], AgentEnd):
            found.append(_judged(layout, lines[0], own))
    return [replace(agent, succeeded=agent.begin.agent in succeeded) for agent in found]


def kill_leftovers(layout: Layout, former: Sequence[FormerAgent]) -> str | None:
    """Kill what dead agents have left on this host; returns the latest of them that no agent has succeeded.

    Raises:
        UsageError: When a process does not disappear.
    """
    dead = [agent.begin for agent in former if not agent.alive and agent.here]
    if not dead:
        return None
    folders = {str(layout.agent_folder(begin.agent)) for begin in dead}
    deadline = time.monotonic() + _KILL_SECONDS
    while left := _processes_of(folders):
        for pid in left:
            processes.send_signal(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise UsageError(
                f"process {left[0]} of the killed agent {dead[-1].agent} does not end: no agent can begin on this node"
            )
        time.sleep(0.05)
    return next((agent.begin.agent for agent in reversed(former) if agent.begin in dead and not agent.succeeded), None)


def _processes_of(folders: set[str]) -> list[int]:
    """Processes that agents with these folders have started, and all descendants of them."""
    table = processes.process_table()
    own = {pid for pid in table if processes.environment_of(pid).get(AGENT_FOLDER) in folders}
    return sorted(own | processes.descendants(table, own))


def _read(layout: Layout, name: str) -> list[AgentLine]:
    try:
        return follow_log(layout, name).read_on()
    except AiperfError as error:
        _log.warning("%s", error)
        return []


def _is_new(layout: Layout, name: str, own: str) -> bool:
    """Whether an agent's folder was created shortly before that of this one, by the file server's clock."""
    try:
        ages = [layout.agent_folder(each).stat().st_mtime for each in (name, own)]
    except OSError:
        return False
    return ages[1] - ages[0] < _BEGIN_SECONDS


def _judged(layout: Layout, begin: AgentBegin, own: str) -> FormerAgent:
    if begin.boot != boot_id():
        return FormerAgent(begin, alive=False, here=False)
    if begin.namespace not in (None, pid_namespace()):
        return FormerAgent(begin, alive=_beats(layout, begin.agent, own), here=False)
    return FormerAgent(begin, alive=process_start(begin.pid) == begin.started, here=True)


def _beats(layout: Layout, name: str, own: str) -> bool:
    """Whether an agent in another container gave a sign of life in the last minute, by the file server's clock."""
    try:
        present = layout.agent_folder(own).stat().st_mtime
        return present - layout.agent_heartbeat(name).stat().st_mtime < 60.0
    except OSError:
        return False
