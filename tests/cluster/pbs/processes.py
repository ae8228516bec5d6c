"""The process table, read from /proc: who belongs to a session or to an instance, and whether a process is still itself."""

import contextlib
import os


def _stat(pid):
    """Fields of /proc/PID/stat from the third on (state, parent, group, session, ...), or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def birth(pid):
    """When a process began, in clock ticks since the machine started; None when it is gone or a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in b"ZX" else int(fields[19])


def is_same(pid, began):
    """Whether the process that began then still lives."""
    now = birth(pid)
    return now is not None and now == began


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def in_sessions(sessions):
    """Processes of these sessions that are not zombies."""
    found = []
    for pid in pids():
        fields = _stat(pid)
        if fields is not None and fields[0] not in b"ZX" and int(fields[3]) in sessions:
            found.append(pid)
    return found


def with_environment(start):
    """Processes, but this one, with an entry `NAME=VALUE...` in their environment that begins so."""
    wanted = b"\0" + os.fsencode(start)
    return [pid for pid in pids() if pid != os.getpid() and wanted in b"\0" + _read(pid, "environ")]


def with_argument(argument):
    """Processes, but this one, that were started with this argument."""
    wanted = b"\0" + os.fsencode(argument) + b"\0"
    return [pid for pid in pids() if pid != os.getpid() and wanted in b"\0" + _read(pid, "cmdline")]


def _read(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def send(pid, number):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
