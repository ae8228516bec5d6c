"""The agent's loop: obeys orders, starts attempts on slots, ends them, and records what happened.

One thread starts and reaps processes and never touches the campaign's files; `file_exchange` does that in another one.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from aiperf_orch.agent import announcements, processes
from aiperf_orch.agent.environment import TrialEnvironment, base_environment
from aiperf_orch.agent.file_exchange import BadOrders, ControllerSeen, Displaced, FileExchange, Message, Prepared, Unfit
from aiperf_orch.agent.joining import Membership
from aiperf_orch.agent.template_client import Answer, Forked, NotForked, TemplateClient
from aiperf_orch.agent.time_limit import TimeLimit, TimeStage
from aiperf_orch.agent.workload import Action, Attempt, Dropped, Signalled, Stage, StopLevel, Workload
from aiperf_orch.records.agents import AgentEnd, AgentEndReason, Exited, Started
from aiperf_orch.util.signals import handle_signals
from aiperf_orch.util.units import now

_log: Final = logging.getLogger(__name__)
_WAIT_SECONDS: Final = 0.5  # of the loop, at most: deadlines are checked then
_CLEARING_SECONDS: Final = 0.05  # between two looks at processes that are being killed
_LAST_LINES_SECONDS: Final = 60.0  # at the end, for lines that cannot be written
_END_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_DISPLACED: Final = "another campaign was made in the directory of this one"
_TIME_LIMIT: Final = "the allocation's time is nearly over"


class Agent:
    """An agent that has joined its campaign.

    Attributes:
        may_join_again: Whether its process may join again under another name, as it has ended only because it was
            considered lost.
    """

    def __init__(self, membership: Membership, environment: dict[str, str]) -> None:
        """Prepare to run; nothing is started yet.

        Args:
            membership: The campaign and the slots.
            environment: Environment variables of the agent.
        """
        begin, settings = membership.begin, membership.settings
        self._membership, self._settings = membership, settings
        self.may_join_again = False
        self._workload = Workload(membership.slots)
        base = base_environment(environment, str(membership.directory.agent_folder(begin.agent)))
        self._environment = TrialEnvironment(
            base, begin.agent, begin.allocation, begin.job, settings, len(membership.slots) > 1, membership.ends_at
        )
        own_clock = None if membership.ends_at is None else membership.ends_at - time.time() + time.monotonic()
        self._limit = TimeLimit(own_clock, settings.warn_before, settings.stop_grace)
        self._stage = TimeStage.OPEN
        self._trials = 0  # that were started
        self._end: AgentEndReason | None = None
        self._end_message = ""
        self._signals: list[int] = []
        self._kill_at: float | None = None
        self._sign_of_controller = self._last_busy = time.monotonic()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._requested: dict[int, Started] = {}
        """Start lines of the trials that the template process was asked for, without their process ids."""
        self._unclaimed: dict[int, int] = {}
        """Children that have ended before their process ids were known, and their wait statuses."""
        self._exchange: FileExchange
        self._template: TemplateClient

    def run(self) -> int:
        """Run until the agent ends; returns its exit status."""
        _log.info("%s", announcements.joined(self._membership))
        processes.become_subreaper()
        os.umask(0o077)  # as batch scripts do: what trials write is the user's own
        membership = self._membership
        settings = membership.directory.settings
        with self._handled_signals():
            self._template = TemplateClient(
                settings, self._environment.base, settings.scheduler.python or sys.executable
            )
            self._exchange = FileExchange(
                membership.directory,
                membership.begin.agent,
                membership.log,
                self._settings,
                self._notify,
            )
            try:
                while not self._is_over():
                    self._wait()
                    self._step()
            except Exception as error:
                _log.exception("the agent fails")
                self._end, self._end_message = "failed", f"{type(error).__name__}: {error}"
                self._abandon()
            self._template.close()
            end = AgentEnd(time=now(), reason=self._end or "failed", message=self._end_message[:2000])
            self._exchange.write(end)
            if not self._exchange.finish(_LAST_LINES_SECONDS):
                _log.error("the last lines of the log of agent %s cannot be written", membership.begin.agent)
            elif end.reason == "dismissed" and self._workload.dismissed:
                self.may_join_again = self._workload.dismissed.again
        _log.info("%s", announcements.ended(membership.begin.agent, end, self._trials))
        return 1 if self._end == "failed" else 0

    def _is_over(self) -> bool:
        return self._end is not None and not self._workload.attempts

    @contextmanager
    def _handled_signals(self) -> Iterator[None]:
        """Wake the loop by signals, SIGCHLD included, and keep those that request something."""
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # of nohup
        numbers = [number for number in _END_SIGNALS if number != signal.SIGHUP or not ignored]
        before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            with (
                handle_signals([*numbers, signal.SIGUSR1], lambda number, _: self._signals.append(number)),
                handle_signals([signal.SIGCHLD], lambda _number, _frame: None),
            ):
                yield
        finally:
            signal.set_wakeup_fd(before)

    def _notify(self) -> None:
        with suppress(BlockingIOError):  # full: the loop wakes anyway
            os.write(self._wake_write, b"\0")

    def _wait(self) -> None:
        clearing = any(attempt.stage is Stage.CLEARING for attempt in self._workload.attempts.values())
        channels = [self._wake_read, *(channel.fileno() for channel in self._template.channels())]
        select.select(channels, [], [], _CLEARING_SECONDS if clearing else _WAIT_SECONDS)
        with suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass

    def _step(self) -> None:
        for message in self._exchange.take():
            self._receive(message)
        for answer in self._template.receive():
            self._receive_answer(answer)
        self._reap()
        self._obey_signals()
        self._watch_time()
        self._watch_controller()
        self._clear()
        if self._template.is_ready or not self._template.is_usable:
            for attempt in self._workload.startable():
                self._exchange.prepare(attempt.order)
        workload = self._workload
        self._exchange.note_load(has_room=workload.has_room, is_idle=not workload.attempts)

    def _receive(self, message: Message) -> None:
        match message:
            case Prepared():
                self._start(message)
            case Unfit():
                attempt = self._workload.preparing(message.order)
                if attempt is not None:
                    self._act([self._workload.drop(attempt, message.message)])
            case ControllerSeen():
                self._sign_of_controller = time.monotonic()
            case Displaced():
                self._begin_end("failed", _DISPLACED)
                self._kill_at = time.monotonic()
                self._act(self._workload.stop_all(StopLevel.KILL, _DISPLACED))
            case BadOrders():
                _log.error("%s", message.message)
                self._begin_end("failed", message.message)
                self._act(self._workload.close("the agent cannot read its orders"))
            case _:
                self._sign_of_controller = time.monotonic()
                self._act(self._workload.obey(message))
                if self._workload.dismissed:
                    self._begin_end("dismissed", self._workload.dismissed.reason)

    def _begin_end(self, reason: AgentEndReason, message: str = "") -> None:
        """End as soon as no attempt is left; the first reason counts."""
        if self._end is None:
            self._end, self._end_message = reason, message
            if reason != "terminated" and self._workload.attempts:
                why = ": ".join(filter(None, [reason, message]))
                _log.info("no further trial starts here, and the agent ends with those that run: %s", why)

    def _start(self, prepared: Prepared) -> None:
        """Start an attempt whose folder and log are open."""
        attempt = self._workload.preparing(prepared.order)
        try:
            if attempt is None or attempt.slot is None:
                return
            started = Started(time=now(), name=attempt.name, slot=attempt.slot.number, pid=os.getpid())
            environment = self._environment.of(attempt.order, attempt.slot, started.time)
            arguments = self._template.arguments_of(attempt.order.command)
            if arguments is not None and self._template.is_usable:
                self._template.use(attempt.order.command[0])
                request = self._template.request(
                    arguments, environment, attempt.slot.cores, prepared.folder, prepared.log
                )
                if request is None:
                    self._act(self._workload.put_back(attempt))
                    return
                attempt.stage, self._requested[request] = Stage.STARTING, started
                return
            try:
                pid = processes.start(
                    attempt.order.command,
                    environment,
                    attempt.slot.cores,
                    prepared.folder,
                    prepared.log,
                    ignored=[] if arguments is None else [signal.SIGUSR1],  # until the trial handles the warning
                )
            except OSError as error:
                self._act([self._workload.drop(attempt, f"cannot be started: {error.strerror}")])
                return
            self._has_started(attempt, started, pid)
        finally:
            os.close(prepared.folder)
            os.close(prepared.log)

    def _receive_answer(self, answer: Answer) -> None:
        """Note the outcome of a request to the template process."""
        started = self._requested.pop(answer.request)
        attempt = self._workload.attempts[started.name]
        match answer:
            case Forked():
                self._has_started(attempt, started, answer.pid)
            case NotForked() if answer.message:
                self._act([self._workload.drop(attempt, answer.message)])
            case NotForked():
                self._act(self._workload.put_back(attempt))

    def _has_started(self, attempt: Attempt, started: Started, pid: int) -> None:
        attempt.stage, attempt.pid = Stage.RUNNING, pid
        self._trials += 1
        self._exchange.write(started.model_copy(update={"pid": pid}))
        if pid in self._unclaimed:
            attempt.stage, attempt.status = Stage.CLEARING, self._unclaimed.pop(pid)
        elif attempt.stop is not None:
            self._signal(attempt, attempt.stop)

    def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Dropped():
                    self._exchange.write(
                        Exited(
                            time=now(),
                            name=action.name,
                            started=False,
                            message=action.message,
                            agent_ends=action.agent_ends,
                        )
                    )
                case Signalled():
                    self._signal(action.attempt, action.level)

    def _signal(self, attempt: Attempt, level: StopLevel) -> None:
        if attempt.pid is None:
            return
        if level is StopLevel.TERMINATE:
            processes.send_group_signal(attempt.pid, signal.SIGTERM)
            return
        try:
            self._kill(attempt)
        except OSError as error:  # too many open files: what is left is killed when its first process has ended
            _log.warning("/proc cannot be read: %s", error.strerror)
            processes.send_group_signal(attempt.pid, signal.SIGKILL)

    def _kill(self, attempt: Attempt, table: Mapping[int, processes.ProcessInfo] | None = None) -> bool:
        """Kill all processes of an attempt; returns whether there were any.

        Args:
            attempt: The attempt.
            table: The process table; None to read it.
        """
        others = {other.pid for other in self._workload.attempts.values() if other is not attempt and other.pid}
        found = processes.processes_of(
            attempt.pid or 0,
            attempt.name,
            processes.process_table() if table is None else table,
            others | set(self._template.pids()),
            alone=not others and not self._requested,
        )
        for pid in found:
            processes.send_signal(pid, signal.SIGKILL)
        return bool(found)

    def _reap(self) -> None:
        by_pid = {attempt.pid: attempt for attempt in self._workload.running()}
        for pid, status in processes.reap():
            attempt = by_pid.get(pid)
            if attempt is not None:
                attempt.stage, attempt.status = Stage.CLEARING, status
            elif not self._template.reaped(pid) and self._requested:
                self._unclaimed[pid] = status
        if not self._requested:
            self._unclaimed.clear()

    def _clear(self) -> None:
        """Record the exits of attempts of which no process is left; kill the processes that are."""
        clearing = [attempt for attempt in self._workload.attempts.values() if attempt.stage is Stage.CLEARING]
        try:
            table = processes.process_table() if clearing else {}
        except OSError as error:
            _log.warning("/proc cannot be read: %s", error.strerror)
            return
        for attempt in clearing:
            if self._kill(attempt, table):
                continue
            code = os.waitstatus_to_exitcode(attempt.status or 0)
            del self._workload.attempts[attempt.name]
            self._last_busy = time.monotonic()
            self._exchange.write(
                Exited(
                    time=now(),
                    name=attempt.name,
                    status=code if code >= 0 else None,
                    signal=-code if code < 0 else None,
                    message=attempt.note,
                )
            )

    def _obey_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGUSR1:
                self._warn()
                continue
            name = signal.Signals(number).name
            again, running = self._kill_at is not None, len(list(self._workload.running()))
            grace = self._settings.stop_grace
            _log.info(
                "%s", f"{name}: trials are killed" if again else announcements.terminating(number, running, grace)
            )
            self._begin_end("terminated", f"by {name}")
            self._kill_at = 0.0 if again else time.monotonic() + grace
            self._act(self._workload.stop_all(StopLevel.TERMINATE, f"the agent was terminated by {name}"))

    def _watch_time(self) -> None:
        """Do what the end of the allocation requires, once a stage."""
        monotonic = time.monotonic()
        if self._kill_at is not None and monotonic > self._kill_at:
            self._kill_at = monotonic + 1.0
            self._act(self._workload.stop_all(StopLevel.KILL, "the agent was terminated"))
        stage = self._limit.stage(monotonic)
        if stage is self._stage:
            return
        before, self._stage = self._stage, stage
        self._begin_end("time limit")
        self._act(self._workload.close(_TIME_LIMIT))
        if before < TimeStage.WARNED <= stage:
            self._warn()
        if stage >= TimeStage.TERMINATED:
            level = StopLevel.KILL if stage is TimeStage.KILLED else StopLevel.TERMINATE
            self._act(self._workload.stop_all(level, _TIME_LIMIT))

    def _warn(self) -> None:
        """Let trials save their state, and start no others."""
        self._begin_end("time limit")
        self._act(self._workload.close(_TIME_LIMIT))
        for attempt in self._workload.running():
            if attempt.pid is not None:
                processes.send_signal(attempt.pid, signal.SIGUSR1)

    def _watch_controller(self) -> None:
        """End an agent that has nothing to do and sees no controller."""
        if self._workload.attempts or self._end is not None:
            return
        silent = time.monotonic() - max(self._sign_of_controller, self._last_busy)
        if silent > self._settings.wait_for_controller:
            self._begin_end("no controller", f"no sign of a controller for {silent:.0f} s")

    def _abandon(self) -> None:
        """Kill all attempts after an error of the agent's own."""
        self._act(self._workload.close("the agent failed"))
        for attempt in list(self._workload.attempts.values()):
            attempt.note = attempt.note or "the agent failed"
            if attempt.pid is None:
                self._act([self._workload.drop(attempt, attempt.note)])
        deadline = time.monotonic() + self._settings.stop_grace
        while self._workload.attempts and time.monotonic() < deadline:
            for attempt in self._workload.running():
                self._kill(attempt)
            self._reap()
            self._clear()
            time.sleep(_CLEARING_SECONDS)
