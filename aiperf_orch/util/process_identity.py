"""Identity of a process: boot of its machine, PID namespace and start, by which a reused process id is noticed."""

from __future__ import annotations

from pathlib import Path


def pid_namespace() -> str | None:
    """PID namespace of this process; None where it cannot be read."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def boot_id() -> str:
    """Id of this machine's present boot; "unknown" where it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"


def process_start(pid: int) -> int | None:
    """Start of a process in clock ticks since boot; None when there is no such process, or it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])
