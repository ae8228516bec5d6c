"""Attempts of an agent and what its orders mean for them. Decides only: starts and signals nothing, reads no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from aiperf_orch.agent.slots import Slot
from aiperf_orch.records.agents import Dismiss, Order, Place, Stop


class Stage(Enum):
    """How far an attempt is."""

    QUEUED = "queued"
    PREPARING = "preparing"
    """It has a slot, and its files are being checked."""
    STARTING = "starting"
    """Its start was requested, and its first process is not yet known."""
    RUNNING = "running"
    CLEARING = "clearing"
    """Its first process has ended; others of it may still exist."""


_NOT_STARTED: Final = (Stage.QUEUED, Stage.PREPARING)


class StopLevel(Enum):
    """How an attempt is to end."""

    TERMINATE = "terminate"
    KILL = "kill"


@dataclass
class Attempt:
    """One attempt on this agent.

    Attributes:
        order: The order that placed it.
        stage: How far it is.
        slot: Its slot; None while it is queued.
        pid: Its first process, which leads its session; None before it has one.
        stop: How it was requested to end; None while it was not.
        status: Wait status of its first process; None while that runs.
        note: Why the agent ended it; empty otherwise.
    """

    order: Place
    stage: Stage = Stage.QUEUED
    slot: Slot | None = None
    pid: int | None = None
    stop: StopLevel | None = None
    status: int | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """Name of the attempt."""
        return self.order.name


@dataclass(frozen=True, slots=True)
class Dropped:
    """An attempt that will never start here, and why; `agent_ends` when that is because the agent itself ends."""

    name: str
    message: str
    agent_ends: bool = False


@dataclass(frozen=True, slots=True)
class Signalled:
    """A running attempt that must be signalled."""

    attempt: Attempt
    level: StopLevel


Action = Dropped | Signalled


@dataclass
class Workload:
    """Attempts that are placed on an agent, in the order of their placement.

    Attributes:
        slots: The agent's slots.
        attempts: Attempts that are not over, by name.
        generation: Latest generation of the controller's lock that an order had.
        at_once: Number of attempts that may run at once, according to the latest order.
        closed: Why no further attempt starts; None while attempts may start.
        dismissed: The order by which the controller has dismissed the agent; None without one.
    """

    slots: Sequence[Slot]
    attempts: dict[str, Attempt] = field(default_factory=dict)
    generation: int = 0
    at_once: int | None = None
    closed: str | None = None
    dismissed: Dismiss | None = None

    def obey(self, order: Order) -> list[Action]:
        """Apply an order; one of an older generation than an order before it changes nothing."""
        if order.generation < self.generation:
            return []
        self.generation = order.generation
        match order:
            case Place():
                return self._place(order)
            case Stop():
                level = StopLevel.KILL if order.force else StopLevel.TERMINATE
                attempt = self.attempts.get(order.name)
                return self._stop([attempt] if attempt else [], level, "stopped before it started")
            case Dismiss():
                self.dismissed = order
                return self.close("the agent was dismissed")

    def close(self, reason: str) -> list[Action]:
        """Start nothing any more, and drop what has not started."""
        self.closed = self.closed or reason
        waiting = [attempt for attempt in self.attempts.values() if attempt.stage in _NOT_STARTED]
        return [self.drop(attempt, self.closed) for attempt in waiting]

    def stop_all(self, level: StopLevel, reason: str) -> list[Action]:
        """End every attempt, for a reason of the agent's own."""
        for attempt in self.attempts.values():
            attempt.note = attempt.note or reason
        return [*self.close(reason), *self._stop(list(self.attempts.values()), level, reason)]

    @property
    def has_room(self) -> bool:
        """Whether one more attempt could start at once."""
        return self.closed is None and len(self.attempts) < self._allowed

    @property
    def _allowed(self) -> int:
        """Number of attempts that may run at once."""
        return min(len(self.slots), self.at_once or len(self.slots))

    def startable(self) -> list[Attempt]:
        """Assign free slots to queued attempts, first come, first served; returns those that can start now."""
        if self.closed is not None:
            return []
        busy = {attempt.slot.number for attempt in self.attempts.values() if attempt.slot}
        free = [slot for slot in self.slots if slot.number not in busy]
        allowed = self._allowed - len(busy)
        queued = [attempt for attempt in self.attempts.values() if attempt.stage is Stage.QUEUED]
        starting = list(zip(queued, free[: max(allowed, 0)], strict=False))
        for attempt, slot in starting:
            attempt.stage, attempt.slot = Stage.PREPARING, slot
        return [attempt for attempt, _ in starting]

    def preparing(self, order: Place) -> Attempt | None:
        """The attempt whose files are being checked for this order; None where that is no longer wanted."""
        attempt = self.attempts.get(order.name)
        return attempt if attempt and attempt.stage is Stage.PREPARING and attempt.order is order else None

    def put_back(self, attempt: Attempt) -> list[Action]:
        """Let an attempt that could not be started wait again, in its old place."""
        attempt.stage, attempt.slot = Stage.QUEUED, None
        if attempt.stop is not None or self.closed is not None:
            return [self.drop(attempt, self.closed or "stopped before it started")]
        return []

    def drop(self, attempt: Attempt, message: str) -> Dropped:
        """Forget an attempt that never starts here."""
        del self.attempts[attempt.name]
        return Dropped(attempt.name, message, agent_ends=self.closed is not None)

    def running(self) -> Iterable[Attempt]:
        """Attempts whose first process was started and has not been reaped."""
        return [attempt for attempt in self.attempts.values() if attempt.stage is Stage.RUNNING]

    def _place(self, order: Place) -> list[Action]:
        self.at_once = order.at_once
        known = self.attempts.get(order.name)
        if known is not None:
            if known.stage in _NOT_STARTED:  # a new controller confirms what an earlier one placed
                known.order, known.stage, known.slot = order, Stage.QUEUED, None
            return []
        if order.renews:  # what it confirms is over
            return []
        attempt = self.attempts[order.name] = Attempt(order)
        return [self.drop(attempt, self.closed)] if self.closed is not None else []

    def _stop(self, attempts: Iterable[Attempt], level: StopLevel, message: str) -> list[Action]:
        actions: list[Action] = []
        for attempt in attempts:
            if attempt.stage in _NOT_STARTED:
                actions.append(self.drop(attempt, message))
                continue
            if attempt.stop is not StopLevel.KILL:
                attempt.stop = level
            if attempt.stage is Stage.RUNNING:
                actions.append(Signalled(attempt, level))
        return actions
