"""The controller's lock: who runs this campaign now, and since which generation.

It names host, boot, process and the process's start, so that a lock left behind by a crash is told from a live one on
the same host. From another host nobody can tell: it is refused, unless a person says to take over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from aiperf_orch.campaign.files import replace_file
from aiperf_orch.campaign.reading import read_regular
from aiperf_orch.errors import AiperfError, LockedError
from aiperf_orch.records import Natural, Positive, Record
from aiperf_orch.units import Timestamp, format_time, now


class Holder(Record):
    """Who holds the lock. `started` is the process's start in clock ticks since boot; `released` that it was let go."""

    host: str
    boot: str
    pid: Positive
    started: Natural
    generation: Positive
    time: Timestamp
    released: bool = False

    def alive(self) -> bool | None:
        """Whether the holder still runs; None when that cannot be told from this host."""
        if self.released:
            return False
        if self.host != socket.gethostname():
            return None
        return self.boot == _boot_id() and _process_start(self.pid) == self.started


@dataclass(frozen=True)
class Lock:
    """A lock that we took. `guard` is the open directory, locked against other controllers on this host."""

    path: Path
    holder: Holder
    guard: int

    @classmethod
    def acquire(cls, path: Path, *, take_over: bool) -> Lock:
        """Take the lock.

        Raises:
            LockedError: when a live controller holds it, or perhaps does (another host) and `take_over` is not given.
        """
        guard = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return cls._acquire(path, guard, take_over=take_over)
        except BaseException:
            os.close(guard)
            raise

    @classmethod
    def _acquire(cls, path: Path, guard: int, *, take_over: bool) -> Lock:
        guarded = True
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of two that start at once, one goes no further
        except BlockingIOError:
            guarded = False
        except OSError:
            pass  # a file system without locks
        before = read_holder(path)
        alive = before.alive() if before else False
        if before and alive:
            raise LockedError(
                f"{path}: a live controller holds this campaign (process {before.pid} on {before.host} since "
                f"{format_time(before.time)}): `aiperf-orch status` shows it, `aiperf-orch stop` ends it"
            )
        if not guarded:
            raise LockedError(f"{path}: another controller takes this campaign up at this moment")
        if before and alive is None and not take_over:
            raise LockedError(
                f"{path}: a controller on {before.host} (process {before.pid}) took this campaign at "
                f"{format_time(before.time)}; if you know that it is gone, give --take-over"
            )
        generation = before.generation + 1 if before else 1
        holder = Holder(
            host=socket.gethostname(),
            boot=_boot_id(),
            pid=os.getpid(),
            started=_process_start(os.getpid()) or 0,
            generation=generation,
            time=now(),
        )
        replace_file(path, holder.to_line().encode() + b"\n")
        lock = cls(path, holder, guard)
        lock.check_ours()
        return lock

    def check_ours(self) -> None:
        """Raise LockedError when another controller has taken the campaign over."""
        present = read_holder(self.path)
        if present != self.holder:
            who = f"process {present.pid} on {present.host}" if present else "nobody that can be read"
            raise LockedError(f"{self.path}: the campaign was taken over by {who}; this controller leaves it alone")

    def release(self) -> None:
        """Let go; the generation stays on disk. Where that cannot be written, the lock is a dead process's soon."""
        with contextlib.suppress(AiperfError):
            if read_holder(self.path) == self.holder:
                replace_file(self.path, self.holder.model_copy(update={"released": True}).to_line().encode() + b"\n")
        os.close(self.guard)


def read_holder(path: Path) -> Holder | None:
    """Who holds a lock, or None when nobody ever did.

    Raises:
        LockedError: when the file cannot be understood.
    """
    try:
        return Holder.model_validate_json(read_regular(path))
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise LockedError(
            f"{path}: cannot be read as a lock ({type(error).__name__}); when no controller runs, delete it"
        ) from None


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def _process_start(pid: int) -> int | None:
    """Start of a process in clock ticks since boot, or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])
