"""Client of the template process: starts it, and has trials forked from it.

`aiperf_orch/trial/template.py` is the other side; it is started as a command.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiperf_orch.agent import processes
from aiperf_orch.settings.models import SiteSettings

_log: Final = logging.getLogger(__name__)
_TRIAL: Final = ("-P", "-m", "aiperf_orch.trial")
_TEMPLATE: Final = ("-P", "-m", "aiperf_orch.trial.template")
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_BINDING: Final = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
"""Bind threads when OpenMP is loaded: to the cores of the template process, on which all trials would then run."""

_MAX_FAILURES: Final = 3  # template processes in a row of which no trial was forked
_PASSING: Final = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""Errors of a start that say that the node lacks processes, memory or open files for now."""

_RETRY_SECONDS: Final = 5.0
_READY_SECONDS: Final = 900.0  # importing from a shared file system that many nodes use at once
_ANSWER_SECONDS: Final = 60.0
_GROWTH: Final = 2.0  # of the memory after the start, beyond which a new template process is started
_SPARE_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Forked:
    """A trial runs: the number of its request, and its process id."""

    request: int
    pid: int


@dataclass(frozen=True, slots=True)
class NotForked:
    """A trial does not run; with a message for good, without one because the template process died."""

    request: int
    message: str = ""


Answer = Forked | NotForked


@dataclass
class _Process:
    """A template process.

    Attributes:
        pid: Its process id.
        channel: The socket to it.
        begun: Time of its start, on the monotonic clock.
        ready: Whether it accepts requests.
        size: Its memory in bytes when it became ready.
        pending: Requests without an answer, and their times.
        reaped: Whether it has ended and its id may belong to another process.
    """

    pid: int
    channel: socket.socket
    begun: float
    ready: bool = False
    size: int = 0
    pending: dict[int, float] = field(default_factory=dict)
    reaped: bool = False


class TemplateClient:
    """Keeps one template process, as long as it can be started."""

    def __init__(self, settings: SiteSettings, environment: Mapping[str, str], python: str) -> None:
        """Start the template process.

        Args:
            settings: Settings of the campaign.
            environment: Environment variables of every process that the agent starts.
            python: Interpreter of the trials.
        """
        self._options = ["--trainer", settings.training.trainer, "--data", settings.data.name]
        self._environment = {name: value for name, value in environment.items() if name not in _BINDING}
        self._environment |= dict.fromkeys(_ONE_THREAD, "1")
        self._python = python
        self._failures = 0
        self._requests = 0
        self._retry_at = 0.0
        self._process: _Process | None = None
        self._answers: list[Answer] = []
        self._start()

    @property
    def is_usable(self) -> bool:
        """Whether trials can be forked, now or in a while; otherwise they need processes of their own."""
        return self._failures < _MAX_FAILURES

    @property
    def is_ready(self) -> bool:
        """Whether trials can be forked now."""
        return self._process is not None and self._process.ready

    def arguments_of(self, command: Sequence[str]) -> list[str] | None:
        """Arguments of the trial that a command runs; None for any other command."""
        return list(command[4:]) if tuple(command[1:4]) == _TRIAL else None

    def use(self, python: str) -> None:
        """Use the interpreter of a trial's command; with another one, a new template process is started."""
        if python != self._python:
            self._python, self._failures = python, 0
            self._end()
            self._start()

    def request(
        self, arguments: Sequence[str], environment: Mapping[str, str], cores: Sequence[int], folder: int, log: int
    ) -> int | None:
        """Have a trial forked; returns the number of the request, or None where that is not possible now.

        Args:
            arguments: Arguments of the trial.
            environment: All of its environment variables.
            cores: Numbers of its cores.
            folder: Descriptor of its working directory.
            log: Descriptor of the file of its output.
        """
        template = self._process
        if template is None or not template.ready:
            return None
        if not template.pending and _memory(template.pid) > _GROWTH * template.size + _SPARE_BYTES:
            _log.warning("the template process has grown: a new one is started")
            self._end()
            self._start()
            return None
        self._requests += 1
        request = {"id": self._requests, "arguments": list(arguments), "environment": dict(environment)}
        data = json.dumps(request | {"cores": list(cores)}).encode()
        try:
            socket.send_fds(template.channel, [data], [folder, log])
        except OSError as error:
            _log.debug("template process: %s", error)
            return None
        template.pending[self._requests] = time.monotonic()
        return self._requests

    def channels(self) -> list[socket.socket]:
        """Sockets that become readable when there is something to receive."""
        return [self._process.channel] if self._process else []

    def pids(self) -> list[int]:
        """Process id of the template process, if there is one."""
        return [self._process.pid] if self._process else []

    def receive(self) -> list[Answer]:
        """Answers that have arrived; a template process that has ended, or does not answer, is replaced."""
        template = self._process
        if template is None and self.is_usable and time.monotonic() >= self._retry_at:
            self._start()
        elif template is not None:
            if self._read_all(template):
                self._replace("has ended")
            elif _overdue(template):
                self._replace("does not answer")
        answers, self._answers = self._answers, []
        return answers

    def reaped(self, pid: int) -> bool:
        """Note that a child of this process was reaped; returns whether it was the template process."""
        if self._process is None or self._process.pid != pid:
            return False
        self._process.reaped = True
        return True

    def close(self) -> None:
        """End the template process."""
        self._end()

    def _read_all(self, template: _Process) -> bool:
        """Read all messages that have arrived; returns whether no more can arrive."""
        while True:
            try:
                data = template.channel.recv(1 << 16)
            except BlockingIOError:
                return False
            except OSError:
                return True
            if not data:
                return True
            self._read(template, json.loads(data))

    def _read(self, template: _Process, message: Mapping[str, Any]) -> None:
        if "started" in message:
            template.pending.pop(message["started"], None)
            self._failures = 0
            self._answers.append(Forked(message["started"], message["pid"]))
        elif "failed" in message:
            template.pending.pop(message["failed"], None)
            self._answers.append(NotForked(message["failed"], message["message"]))
        elif "unfit" in message:
            _log.warning("the template process cannot be used: %s", message["unfit"])
        else:
            template.ready, template.size = True, _memory(template.pid)
            _log.info("the template process is ready after %.1f s", time.monotonic() - template.begun)

    def _replace(self, what: str) -> None:
        """Start a new template process in place of one that cannot be used."""
        self._failures += 1
        self._end()
        if self.is_usable:
            _log.warning("the template process %s: a new one is started", what)
            self._start()
        else:
            _log.warning("no template process can be started: each trial imports what it needs, which takes seconds")

    def _start(self) -> None:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            self._refused(error)
            return
        with theirs:
            ours.setblocking(False)
            command = [self._python, *_TEMPLATE, "--agent", str(os.getpid()), *self._options]
            try:
                pid = os.posix_spawnp(
                    self._python, command, self._environment, file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)]
                )
            except OSError as error:
                ours.close()
                self._refused(error)
                return
        self._process = _Process(pid, ours, time.monotonic())

    def _refused(self, error: OSError) -> None:
        """Note that no template process could be started: where the node lacks something for now, it is tried again."""
        self._failures = self._failures + 1 if error.errno in _PASSING else _MAX_FAILURES
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        _log.warning("%s: cannot be run: %s", self._python, error.strerror)

    def _end(self) -> None:
        """End the template process; requests that it has not answered are answered as not forked."""
        template, self._process = self._process, None
        if template is None:
            return
        with contextlib.suppress(OSError):
            template.channel.shutdown(socket.SHUT_RD)  # from now on a fork that is just starting cannot report itself
        self._read_all(template)
        self._answers += [NotForked(request) for request in template.pending]
        template.channel.close()
        if not template.reaped:
            processes.send_signal(template.pid, signal.SIGKILL)


def _overdue(template: _Process) -> bool:
    """Whether a template process has not become ready, or has not answered, in time."""
    present = time.monotonic()
    if not template.ready:
        return present - template.begun > _READY_SECONDS
    return any(present - requested > _ANSWER_SECONDS for requested in template.pending.values())


def _memory(pid: int) -> int:
    """Resident memory of a process in bytes; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
