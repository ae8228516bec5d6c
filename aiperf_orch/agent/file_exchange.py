"""Reading and writing of the agent's files, in a thread: a file system that hangs or fails does not stop the agent.

The thread reads orders and the controller's heartbeat, writes the lines of the agent's log and its heartbeat, and
prepares attempts: it checks generation and specification, and opens the attempt's folder and log. What cannot be read
or written for now is repeated; lines keep their order.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final

from aiperf_orch.agent.log_file import LogFile
from aiperf_orch.agent.reading_intervals import reading_intervals
from aiperf_orch.campaign.agent_files import GrowingFile, HeartbeatReader, HeartbeatWriter, follow_orders
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import read_file
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.records.agents import AgentLine, Order, Place
from aiperf_orch.settings.placement import PlacementSettings
from aiperf_orch.util.errors import AiperfError, LockedError, RecordError, TransientError, UsageError
from aiperf_orch.util.job_files import LOG

_log: Final = logging.getLogger(__name__)
_LOOP_SECONDS: Final = 1.0  # at most, between two looks at what is due
_RETRY_SECONDS: Final = 1.0  # after a failure of the file system
_LATE_SECONDS: Final = 60.0  # for which a network file system may show an old lock, or not yet show a new file


@dataclass(frozen=True, slots=True)
class Prepared:
    """An attempt that may start: descriptors of its folder and of its log, which the receiver closes."""

    order: Place
    folder: int
    log: int


@dataclass(frozen=True, slots=True)
class Unfit:
    """An attempt that must not start here, and why."""

    order: Place
    message: str


@dataclass(frozen=True, slots=True)
class BadOrders:
    """Orders that this version does not understand: no more can be read."""

    message: str


@dataclass(frozen=True, slots=True)
class ControllerSeen:
    """The controller's heartbeat has changed."""


@dataclass(frozen=True, slots=True)
class Displaced:
    """Another campaign has the directory: nothing more is read or written there."""


Message = Order | Prepared | Unfit | BadOrders | ControllerSeen | Displaced


class _NotYetError(AiperfError):
    """An attempt cannot be prepared for now; on a network file system its files may be late."""


@dataclass
class _Preparation:
    """An attempt to prepare, and the time of the first try."""

    order: Place
    begun: float = field(default_factory=time.monotonic)


class FileExchange:
    """The thread, and what passes between it and the agent's loop."""

    def __init__(
        self,
        directory: CampaignDirectory,
        agent: str,
        log: LogFile,
        settings: PlacementSettings,
        notify: Callable[[], None],
    ) -> None:
        """Start the thread.

        Args:
            directory: The campaign directory.
            agent: Name of the agent.
            log: The agent's log.
            settings: How trials are placed.
            notify: Called when a message has arrived.
        """
        self._directory, self._log, self._notify = directory, log, notify
        self._orders: GrowingFile[Order] | None = follow_orders(directory, agent)
        self._unchecked: list[Order] = []  # they may be those of another campaign's agent
        self._controller = HeartbeatReader(directory.controller_heartbeat)
        self._heartbeat = HeartbeatWriter(directory.agent_heartbeat(agent))
        self._settings = settings
        self._poll_interval = directory.settings.scheduler.poll_interval
        self._has_room = self._is_idle = True
        self._preparing: dict[str, _Preparation] = {}
        self._messages: deque[Message] = deque()
        self._wanted: deque[Place] = deque()
        self._wake = threading.Event()
        self._failing = self._displaced = self._finished = False
        self._last: dict[str, float] = {}
        """Times at which tasks last succeeded."""
        self._retry_at: dict[str, float] = {}
        threading.Thread(target=self._run, name="aiperf-orch agent files", daemon=True).start()

    def take(self) -> list[Message]:
        """Messages that have arrived since the last call."""
        found = []
        while self._messages:
            found.append(self._messages.popleft())
        return found

    def write(self, line: AgentLine) -> None:
        """Write a line of the log as soon as that is possible."""
        self._log.add(line)
        self._wake.set()

    def note_load(self, *, has_room: bool, is_idle: bool) -> None:
        """Note how urgent the next orders are, and the controller's signs of life.

        Args:
            has_room: Whether one more attempt could start at once.
            is_idle: Whether there is no attempt.
        """
        urgent = has_room and not self._has_room
        self._has_room, self._is_idle = has_room, is_idle
        if urgent:
            self._wake.set()

    def prepare(self, order: Place) -> None:
        """Prepare an attempt; the answer is `Prepared` or `Unfit`."""
        self._wanted.append(order)
        self._wake.set()

    def finish(self, seconds: float) -> bool:
        """Wait until all lines are written, at most for this time, and end the thread; returns whether they are."""
        deadline = time.monotonic() + seconds
        while not self._log.is_written and time.monotonic() < deadline:
            self._wake.set()
            time.sleep(0.02)
        self._finished = True
        self._wake.set()
        return self._log.is_written

    def _run(self) -> None:
        while not self._displaced and not self._finished:
            intervals = reading_intervals(
                self._settings, self._poll_interval, has_room=self._has_room, is_idle=self._is_idle
            )
            pause = min(self._poll_interval, _LOOP_SECONDS)
            for name, task, interval in (
                ("log", self._log.write, 0.0),
                ("place", self._check_place, intervals.directory),
                ("heartbeat", self._heartbeat.beat, intervals.heartbeat),
                ("preparations", self._prepare_all, 0.0),
                ("orders", self._read_orders, intervals.orders),
                ("controller", self._read_controller, intervals.controller),
            ):
                if not self._run_due(name, task, interval):
                    pause = max(pause, _RETRY_SECONDS)
            self._wake.wait(pause)
            self._wake.clear()

    def _run_due(self, name: str, task: Callable[[], None], interval: float) -> bool:
        """Run a task when it is due; returns False when the file system failed, after which it is due later."""
        time_now = time.monotonic()
        waits = time_now < self._retry_at.get(name, 0.0) or time_now - self._last.get(name, -inf) < interval
        if self._displaced or waits:
            return True
        try:
            task()
        except AiperfError as error:
            if not self._failing:
                _log.warning("%s; trials go on, and this is repeated", error)
            self._failing = True
            self._retry_at[name] = time_now + _RETRY_SECONDS
            return False
        except Exception:
            _log.exception("the agent's files")
            self._retry_at[name] = time_now + _RETRY_SECONDS
            return False
        if self._failing and name == "heartbeat":
            self._failing = False
            _log.warning("%s: can be written again", self._heartbeat.path)
        self._last[name] = time_now
        return True

    def _tell(self, message: Message) -> None:
        self._messages.append(message)
        self._notify()

    def _read_orders(self) -> None:
        if self._orders is None:
            return
        try:
            self._unchecked += self._orders.read_on()
        except RecordError as error:
            self._check_place()
            if not self._displaced:
                self._orders = None
                self._tell(BadOrders(str(error)))
            return
        if self._unchecked:
            self._check_place()
        if not self._displaced:
            for order in self._unchecked:
                self._tell(order)
            self._unchecked.clear()

    def _check_place(self) -> None:
        """Notice that another campaign was made in the place of this one.

        A directory that is not there says nothing: its file system may be away.

        Raises:
            AiperfError: When that cannot be determined for now.
        """
        if self._displaced or self._log.is_in_place():
            return
        try:
            tag = CampaignDirectory.open(self._directory.path).config.tag
        except UsageError:
            return
        if tag != self._directory.config.tag:
            self._displaced = True
            self._log.discard()
            self._tell(Displaced())

    def _read_controller(self) -> None:
        if self._controller.read():
            self._tell(ControllerSeen())

    def _prepare_all(self) -> None:
        if self._wanted:
            self._read_orders()  # another controller may have confirmed them, or ended the attempts
            self._last["orders"] = time.monotonic()
        while self._wanted:
            order = self._wanted.popleft()
            self._preparing[order.name] = _Preparation(order)
        failure: AiperfError | None = None
        for name, preparation in list(self._preparing.items()):
            try:
                answer = self._prepare(preparation.order)
            except _NotYetError as error:
                if time.monotonic() - preparation.begun < _LATE_SECONDS:
                    continue
                answer = Unfit(preparation.order, str(error))
            except AiperfError as error:
                failure = error
                continue
            del self._preparing[name]
            self._tell(answer)
        if failure is not None:
            raise failure

    def _prepare(self, order: Place) -> Prepared | Unfit:
        """Check an attempt, and open its folder and its log.

        Raises:
            _NotYetError: When a file is not there, or the lock is older than the order.
            AiperfError: When a file cannot be read or opened for now.
        """
        try:
            holder = read_holder(self._directory.lock)
        except LockedError as error:
            raise TransientError(str(error)) from None
        if holder is None:  # there is one: a controller has placed the attempt
            raise TransientError(f"{self._directory.lock}: cannot be read for now: it was there before")
        generation = holder.generation
        if generation > order.generation:
            return Unfit(order, f"another controller has taken the campaign over: generation {generation}")
        if generation < order.generation:
            raise _NotYetError(f"the controller's lock has generation {generation}, the order {order.generation}")
        if order.spec is not None:
            try:
                found = hashlib.sha256(read_file(Path(order.spec), retry_for=0.0)).hexdigest()
            except FileNotFoundError:
                raise _NotYetError(f"{order.spec}: does not exist") from None
            if found != order.spec_sha256:
                return Unfit(order, f"{order.spec}: its SHA-256 is not the one that the controller journalled")
        return Prepared(order, *_open_folder(Path(order.folder)))


def _open_folder(path: Path) -> tuple[int, int]:
    """Descriptors of an attempt's folder and of its log."""
    try:
        with translate_os_errors(path, passing=FileNotFoundError, action="opened"):
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _NotYetError(f"{path}: does not exist") from None
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with translate_os_errors(path / LOG, action="opened"):
            log = os.open(LOG, flags, 0o600, dir_fd=folder)
            os.set_blocking(log, True)
    except AiperfError:
        os.close(folder)
        raise
    return folder, log
