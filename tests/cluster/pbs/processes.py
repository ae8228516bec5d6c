"""Process table from /proc: processes of a session or an instance, and the identity of a process."""

import contextlib
import os


def _stat(pid):
    """Fields of /proc/PID/stat from the third on (state, parent, group, session, ...); None if there is no process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def birth(pid):
    """Start time of a process in clock ticks since the boot; None if it has ended or is a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in b"ZX" else int(fields[19])


def is_same(pid, began):
    """Whether a process with this id and start time is alive."""
    now = birth(pid)
    return now is not None and now == began


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def in_sessions(sessions):
    """Processes of the sessions, except zombies."""
    found = []
    for pid in pids():
        fields = _stat(pid)
        if fields is not None and fields[0] not in b"ZX" and int(fields[3]) in sessions:
            found.append(pid)
    return found


def with_environment(start):
    """Processes, except this one, with an entry in their environment that begins with `start`."""
    wanted = b"\0" + os.fsencode(start)
    return [pid for pid in pids() if pid != os.getpid() and wanted in b"\0" + _read(pid, "environ")]


def with_argument(argument):
    """Processes, except this one, that have this argument."""
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
