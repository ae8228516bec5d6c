"""Processes of attempts: starting a command, reaping, finding what belongs to an attempt, and killing it.

The agent is a child subreaper: processes whose parents have ended become its children. The kernel kills the first
process of an attempt when the agent dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiperf_orch.agent import launch
from aiperf_orch.agent.environment import ATTEMPT

_PR_SET_CHILD_SUBREAPER: Final = 36


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process in the process table that has not ended."""

    pid: int
    parent: int
    session: int
    started: int


def become_subreaper() -> None:
    """Let orphaned descendants become children of this process."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    cores: Sequence[int],
    folder: int,
    log: int,
    ignored: Sequence[signal.Signals] = (),
) -> int:
    """Start a command in a session of its own; returns its process id.

    Args:
        command: Program and arguments.
        environment: All of its environment variables.
        cores: Numbers of its cores.
        folder: Descriptor of its working directory.
        log: Descriptor of the file of its output.
        ignored: Signals that it ignores until it handles them.

    Raises:
        OSError: When the system refuses another process.
    """
    request = json.dumps(
        {"parent": os.getpid(), "cores": list(cores), "command": list(command), "ignored": list(ignored)}
    )
    # above all targets, so that none overwrites a descriptor that is still needed
    copies = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 16) for descriptor in (folder, log)]
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-X", "utf8", str(Path(launch.__file__)), request],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, copies[0], launch.FOLDER_FD),
                (os.POSIX_SPAWN_DUP2, copies[1], launch.LOG_FD),
            ],
        )
    finally:
        for descriptor in copies:
            os.close(descriptor)


def reap() -> Iterator[tuple[int, int]]:
    """Reap children that have ended: process id and wait status of each."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def process_table() -> dict[int, ProcessInfo]:
    """All processes that have not ended, by process id."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  names only
        if name.isdigit():
            info = process_info(int(name))
            if info is not None:
                found[info.pid] = info
    return found


def process_info(pid: int) -> ProcessInfo | None:
    """A process; None when it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, parent, _group, session, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else ProcessInfo(pid, int(parent), int(session), int(fields[15]))


def processes_of(
    leader: int, name: str, table: Mapping[int, ProcessInfo], known: Collection[int], *, alone: bool
) -> list[int]:
    """Processes of an attempt: those of its session, orphans that are its own, and all descendants of both.

    Args:
        leader: Process id of the attempt's first process, which is the id of its session.
        name: Name of the attempt.
        table: The process table.
        known: Children of this process that are of other attempts, or of none.
        alone: Whether no other attempt has processes: orphans without the name of an attempt are then this one's.
    """
    own = {info.pid for info in table.values() if info.session == leader}
    for info in table.values():
        if info.parent == os.getpid() and info.pid not in own and info.pid not in known:
            mark = environment_of(info.pid).get(ATTEMPT)
            if mark == name or (mark is None and alone):
                own.add(info.pid)
    return sorted(own | descendants(table, own))


def descendants(table: Mapping[int, ProcessInfo], roots: Collection[int]) -> set[int]:
    """All descendants of some processes."""
    found: set[int] = set()
    grown = set(roots)
    while grown:
        grown = {info.pid for info in table.values() if info.parent in grown and info.pid not in found}
        found |= grown
    return found


def environment_of(pid: int) -> dict[str, str]:
    """Environment with which a process was started; empty when it has ended or belongs to another user."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in data.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it still exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def send_group_signal(leader: int, number: signal.Signals) -> None:
    """Send a signal to the process group of an attempt's first process, or to it alone before it has one."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        send_signal(leader, number)
