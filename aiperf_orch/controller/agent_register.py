"""Register of the campaign's agents: which joined and which left, read beside the controller's loop, and journalled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import monotonic

from aiperf_orch.campaign.agent_files import HeartbeatWriter
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.controller.background_call import BackgroundCall
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.records.agents import AgentBegin
from aiperf_orch.records.journal import Joined, Left
from aiperf_orch.records.workforce import AgentRecord
from aiperf_orch.schedulers.placement.scheduler import PlacementScheduler
from aiperf_orch.util.errors import AiperfError


class AgentRegister:
    """Reads the files of the agents, and tells them that the controller is alive, or that they may go.

    Attributes:
        has_read: Whether the agents' files were read since the beginning, and the agents that they name are journalled.
    """

    def __init__(
        self, campaign: HeldCampaign, scheduler: PlacementScheduler, warn: Callable[[str], None], wake: Event
    ) -> None:
        """Begin without having read any file.

        Args:
            campaign: The campaign.
            scheduler: Scheduler that places its trials on the agents.
            warn: Receives messages for the user.
            wake: Set when a read has ended.
        """
        self._campaign, self._scheduler, self._warn = campaign, scheduler, warn
        self._interval = campaign.directory.settings.scheduler.poll_interval
        self._call: BackgroundCall[str] = BackgroundCall(wake, nonblocking=False)
        self._heartbeat = HeartbeatWriter(campaign.directory.controller_heartbeat)
        self.has_read = False
        self._next = self._next_beat = 0.0
        agents = campaign.state.workforce.agents.values()
        scheduler.board.left_before(agent.left for agent in agents if agent.left is not None)

    @property
    def running(self) -> bool:
        """Whether a read runs, or what it found has not been taken."""
        return self._call.running

    def step(self, dismiss: str | None) -> None:
        """Journal what the last read found, and begin the next one when it is due.

        Args:
            dismiss: Why the campaign needs its agents no more; None where it needs them.
        """
        if self._call.ended:
            problem = self._call.take()
            if problem:
                self._warn(problem)
            self._next = monotonic() + self._interval
            self.record()
            self.has_read |= not problem
        if not self._call.running and monotonic() >= self._next:
            self._call.start(lambda: self._read(dismiss))

    def _read(self, dismiss: str | None) -> str:
        """Read the agents' files, dismiss agents, and give a sign of life; returns what did not work."""
        problems = []
        try:
            if dismiss is None:
                self._scheduler.board.refresh()
            else:
                self._scheduler.dismiss(dismiss)
        except AiperfError as error:
            problems.append(str(error))
        try:
            self._beat()
        except AiperfError as error:
            problems.append(f"the agents get no sign of life of the controller: {error}")
        return "; ".join(problems)

    def _beat(self) -> None:
        if monotonic() >= self._next_beat:
            _make_folder(self._campaign.directory.agents_folder)
            self._heartbeat.beat(self._campaign.generation)
            self._next_beat = monotonic() + self._scheduler.controller_interval

    def record(self) -> None:
        """Journal agents that began or ended since the last call."""
        workforce, agents = self._campaign.state.workforce, self._scheduler.board.agents
        joined = [
            _record_of(agent.begin)
            for name, agent in agents.items()
            if agent.begin is not None and name not in workforce.agents
        ]
        if joined:
            self._campaign.append(Joined, agents=joined)
        known = workforce.agents
        left = [
            agent.gone
            for name, agent in agents.items()
            if agent.gone is not None and name in known and known[name].left is None
        ]
        if left:
            self._campaign.append(Left, agents=left)


def _make_folder(path: Path) -> None:
    with translate_os_errors(path):
        path.mkdir(mode=0o700, exist_ok=True)


def _record_of(begin: AgentBegin) -> AgentRecord:
    return AgentRecord.model_validate({name: getattr(begin, name) for name in AgentRecord.model_fields})
