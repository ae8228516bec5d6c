"""An agent as the board knows it: a fold of its log, its heartbeat and its orders."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from aiperf_orch.campaign.agent_files import GrowingFile, HeartbeatReader
from aiperf_orch.records.agents import AgentBegin, AgentEnd, AgentLine, Exited, Started
from aiperf_orch.records.workforce import AgentLeave
from aiperf_orch.schedulers.base import JobEnd
from aiperf_orch.schedulers.placement.placements import Placement
from aiperf_orch.util.units import now

FILE_LAG: Final = 3.0
"""Seconds after which a line that was written before the end of its writer is certainly visible here."""


@dataclass(eq=False)
class BoardAgent:
    """An agent. Times without a zone are of the monotonic clock.

    Attributes:
        name: Its name.
        log: Its log, as far as it was read.
        heartbeat: Its sign of life.
        begin: The begin line of its log; None before it was read.
        end: The end line of its log.
        gone: Its end: by its log, by its successor, or as it is lost; None while it may run attempts.
        allocation_end: The end of its allocation, by the scheduler.
        dismissed: Whether it has the order to end.
        limit: Number of attempts that it may run at once by its latest order; 0 before the first one.
        held: Attempts that are placed on it and have neither exited nor been released, by name.
        damage: Why its log cannot be read on; empty otherwise.
        found_at: When its folder was first seen.
        changed_at: When its log or heartbeat was last seen to change; None before it is known to be alive.
        read_at: When its heartbeat was last read with success.
        due: When its files are worth the next read.
    """

    name: str
    log: GrowingFile[AgentLine]
    heartbeat: HeartbeatReader
    found_at: float
    begin: AgentBegin | None = None
    end: AgentEnd | None = None
    gone: AgentLeave | None = None
    allocation_end: JobEnd | None = None
    dismissed: bool = False
    limit: int = 0
    held: dict[str, Placement] = field(default_factory=dict)
    damage: str = ""
    changed_at: float | None = None
    read_at: float | None = None
    due: float = -math.inf
    _placements: dict[str, list[Placement]] = field(default_factory=dict)
    _leaving: tuple[str, str, float] | None = None  # reason, message, and since when it is known

    @property
    def host(self) -> str:
        """Host name of its node; that of its name before its begin was read."""
        return self.begin.host if self.begin else self.name.rpartition(".")[0]

    @property
    def clock_skew(self) -> float:
        """Seconds by which its node's clock is ahead of the file server's."""
        return self.begin.clock_skew if self.begin else 0.0

    @property
    def is_alive(self) -> bool:
        """Whether it has shown a sign of life: what an earlier controller read may be old."""
        return self.changed_at is not None

    @property
    def silent_for(self) -> float:
        """Seconds without a sign of life, by reads that succeeded."""
        since = self.found_at if self.changed_at is None else self.changed_at
        return max((self.read_at or since) - since, 0.0)

    def note_read(self, time: float, longest_gap: float) -> None:
        """Note that its heartbeat was read with success.

        Where the read before was too long ago, the time in between is not silence: the file system was away, for the
        agent perhaps as well, or this controller stood still.

        Args:
            time: The present time.
            longest_gap: Seconds between two such reads of which the agent's silence is known.
        """
        if self.read_at is not None and self.changed_at is not None and time - self.read_at > longest_gap:
            self.changed_at += time - self.read_at
        self.read_at = time

    @property
    def is_leaving(self) -> bool:
        """Whether its allocation has ended, or it has a successor: its last lines may not be visible yet."""
        return self._leaving is not None

    @property
    def is_lost(self) -> bool:
        """Whether it is gone as it fell silent, so that it may be alive after all."""
        return self.gone is not None and self.gone.reason == "lost" and self.allocation_end is None

    @property
    def placements(self) -> list[Placement]:
        """The attempts that were placed on it and are not forgotten, in the order of their names' first orders."""
        return [placement for several in self._placements.values() for placement in several]

    @property
    def may_have_free_slot(self) -> bool:
        """Whether an attempt on it is about to start, or none would follow the next one that exits."""
        running = sum(self.name in placement.started for placement in self.held.values())
        slots = self.begin.slots if self.begin else 0
        return bool(self.held) and (running < slots or running == len(self.held))

    def leave(self, reason: str, message: str, time: float) -> None:
        """Note that it is certainly gone, whether or not its last lines can be read yet."""
        if self.gone is None and self._leaving is None:
            self._leaving, self.due = (reason, message, time), -math.inf

    def hold(self, placement: Placement) -> None:
        """Note that it has the order of an attempt."""
        placement.given.add(self.name)
        self._placements.setdefault(placement.name, []).append(placement)
        self.limit = placement.at_once
        if not placement.released:
            self.held[placement.name] = placement
        if self.begin and len(self.held) <= self.begin.slots:  # it may start at once
            self.due = -math.inf

    def withdraw(self, placement: Placement) -> None:
        """Note that it does not have the order of an attempt after all, or that it may be forgotten."""
        placement.given.discard(self.name)
        several = self._placements.get(placement.name, [])
        if placement in several:
            several.remove(placement)
        if not several:
            self._placements.pop(placement.name, None)
        if self.held.get(placement.name) is placement:
            del self.held[placement.name]

    def apply(self, line: AgentLine) -> None:
        """Apply a line of its log."""
        match line:
            case AgentBegin():
                self.begin = line
            case AgentEnd():
                self.end = line
                self.gone = AgentLeave(agent=self.name, time=line.time, reason=line.reason, message=line.message)
            case Started() | Exited():
                several = self._placements.get(line.name, ())
                placement = next((each for each in several if self.name not in each.exited), None)
                if placement is None:
                    return  # an order of a controller that had lost the campaign
                if isinstance(line, Started):
                    placement.started[self.name] = line
                else:
                    placement.exited[self.name] = line
                    if self.held.get(line.name) is placement:
                        del self.held[line.name]

    def conclude(self, time: float, lost_after: float) -> bool:
        """Conclude that it is gone, after a read of all its files; returns whether it is, and was not before."""
        if self.gone is not None:
            return False
        if self._leaving is not None and time - self._leaving[2] >= FILE_LAG:
            reason, message, _ = self._leaving
        elif self.silent_for >= lost_after:
            reason, message = "lost", f"no sign of life for {self.silent_for:.0f} s"
        else:
            return False
        last = self.heartbeat.last.time if self.heartbeat.last else self.begin.time if self.begin else now()
        self.gone = AgentLeave.model_validate({"agent": self.name, "time": last, "reason": reason, "message": message})
        return True
