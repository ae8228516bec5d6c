"""Daemons of a test and their ports. The daemons end with the test, also when the test is killed.

The clusters that use this module decide what runs, and its configuration.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

DEADLINE = 180.0  # seconds for what takes few seconds on an idle machine
_PORTS = range(15000, 32000)  # below the system's ephemeral ports


class ClusterError(Exception):
    """A cluster failed; the message contains the end of its logs."""


def find_program(name: str) -> str | None:
    """Find a system program, also outside an ordinary user's PATH; None where it is not installed."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def wait_until(condition: Callable[[], Any], event: str, seconds: float = DEADLINE, every: float = 0.05) -> None:
    """Poll until the condition is true; raises ClusterError with the event at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"not within {seconds:g} s: {event}")
        time.sleep(every)


class Ports:
    """TCP ports on loopback, reserved against other clusters on this machine until `release`.

    A port is claimed by a name in Linux's abstract socket namespace, which has the scope of the ports and drops the
    name when this process ends; so a daemon can be stopped and started again on its port.
    """

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []

    def claim(self) -> int:
        for port in random.sample(_PORTS, len(_PORTS)):
            claim = socket.socket(socket.AF_UNIX)
            try:
                claim.bind(f"\0aiperf-orch-test-port-{port}")
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
            self._claims.append(claim)
            return port
        raise ClusterError(f"no free port from {_PORTS.start} to {_PORTS.stop}")

    def release(self) -> None:
        while self._claims:
            self._claims.pop().close()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Daemons:
    """Processes by name, with their descendants. The kernel kills them when this process ends, also by SIGKILL."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = environment
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        # the kernel sends the signal when the starting thread ends, so that one long-lived thread starts them all
        self._starter = ThreadPoolExecutor(1)

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process that stays in the foreground; its output goes to `name`.out."""
        if self.is_running(name):
            raise ClusterError(f"{name} is already running")
        self._starter.submit(self._start, name, command).result()

    def _start(self, name: str, command: Sequence[str]) -> None:
        with (self._logs / f"{name}.out").open("ab") as output:
            self._running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                env=self._environment,
                cwd=self._logs,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the test, which ends them
            )

    def is_running(self, name: str) -> bool:
        return name in self._running and self._running[name].poll() is None

    def pid(self, name: str) -> int:
        """Process id of a running process."""
        return self._running[name].pid

    def finish(self, name: str, seconds: float = DEADLINE) -> int:
        """Wait for the end of a process; returns its exit code."""
        try:
            code = self._running[name].wait(seconds)
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{name} did not end within {seconds:g} s") from None
        del self._running[name]
        return code

    def terminate(self, name: str) -> None:
        """Terminate a process and wait for its end."""
        self._running[name].terminate()
        self.finish(name)

    def kill(self, *names: str) -> None:
        """Kill processes with all their descendants, as a power cut would."""
        # the id of one that has ended may be reused
        processes = [self._running.pop(name) for name in names if self.is_running(name)]
        victims = _freeze([process.pid for process in processes])
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        for process in processes:
            process.wait(DEADLINE)
        wait_until(lambda: not any(map(_is_alive, victims)), f"{', '.join(names)} killed")

    def close(self) -> None:
        """Kill all remaining processes."""
        self.kill(*self._running)
        self._starter.shutdown()


def _freeze(pids: Sequence[int]) -> list[psutil.Process]:
    """Stop the processes with all their descendants, so that none starts another before it is killed."""
    found: dict[int, psutil.Process] = {}
    grew = True
    while grew:
        grew = False
        for pid in [*pids, *found]:
            with contextlib.suppress(psutil.NoSuchProcess):
                top = psutil.Process(pid)
                for process in [top, *top.children(recursive=True)]:
                    if process.pid not in found:
                        found[process.pid] = process
                        grew = True
                        process.suspend()
    return list(found.values())


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
