"""Lock of a campaign: which controller holds it, and the generation.

The lock names host, boot, PID namespace, process and the process's start, which distinguishes a live holder from one
that crashed on the same host. From another host, or from outside the holder's container, its state is unknown: then the
lock is refused unless the user requests a takeover.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from aiperf_orch.campaign.durable_files import file_exists, read_file, replace_file
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS, retry_transient
from aiperf_orch.records.base import Natural, Positive, Record
from aiperf_orch.util.errors import AiperfError, LockedError, TransientError
from aiperf_orch.util.process_identity import boot_id, pid_namespace, process_start
from aiperf_orch.util.units import Timestamp, format_time, now


class Holder(Record):
    """Holder of the lock.

    `started` is the process's start in clock ticks since boot. `released` is set when the holder released the lock.
    `namespace` is the PID namespace of `pid`; None where it was not recorded.
    """

    host: str
    boot: str
    pid: Positive
    started: Natural
    generation: Positive
    time: Timestamp
    released: bool = False
    namespace: str | None = None

    def alive(self) -> bool | None:
        """Whether the holder still runs; None when that cannot be determined from this host or this container."""
        if self.released:
            return False
        if self.host != socket.gethostname():
            return None
        if self.boot != boot_id():
            return False
        if self.namespace not in (None, pid_namespace()):
            return None
        return process_start(self.pid) == self.started

    @property
    def location(self) -> str:
        """Location of a holder whose state cannot be determined, for messages."""
        return "in another container" if self.host == socket.gethostname() else "on another host"


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds.

    `guard` is the descriptor of an open file, locked against other controllers: of the directory where that is
    supported.
    """

    path: Path
    holder: Holder
    guard: int

    @classmethod
    def acquire(cls, path: Path, *, take_over: bool) -> Lock:
        """Take the lock.

        Raises:
            LockedError: when a live controller holds it, or may hold it (on another host) and `take_over` is not set.
            TransientError: when it cannot be read for now.
        """
        guard, guarded = _guard(path)
        try:
            return cls._acquire(path, guard, guarded=guarded, take_over=take_over)
        except BaseException:
            _close_guard(guard)
            raise

    @classmethod
    def _acquire(cls, path: Path, guard: int, *, guarded: bool, take_over: bool) -> Lock:
        before = read_holder(path)
        alive = before.alive() if before else False
        if before and alive:
            raise LockedError(
                f"{path}: a live controller holds this campaign (process {before.pid} on {before.host} since "
                f"{format_time(before.time)}): `aiperf-orch status` shows it, `aiperf-orch stop` ends it"
            )
        if not guarded and alive is not None:
            raise LockedError(f"{path}: another controller is starting this campaign at this moment")
        if before and alive is None and not take_over:
            raise LockedError(
                f"{path}: a controller on {before.host} (process {before.pid}, {before.location}) took this campaign "
                f"at {format_time(before.time)}; if you know that it has ended, give --take-over"
            )
        generation = before.generation + 1 if before else 1
        holder = Holder(
            host=socket.gethostname(),
            boot=boot_id(),
            pid=os.getpid(),
            started=process_start(os.getpid()) or 0,
            generation=generation,
            time=now(),
            namespace=pid_namespace(),
        )
        replace_file(path, holder.to_line().encode() + b"\n")
        lock = cls(path, holder, guard)
        lock.check_held()
        return lock

    def check_held(self) -> None:
        """Raise LockedError when another controller has taken the campaign over.

        Transient errors of the file system are retried, since they must not end the campaign; so is the absence of the
        whole campaign, as an automounter or a file server that fails over may show it for a while.
        """
        present = retry_transient(self._read_present, LONG_RETRY_SECONDS)
        if present != self.holder:
            who = f"process {present.pid} on {present.host}" if present else "a holder that cannot be read"
            raise LockedError(f"{self.path}: the campaign was taken over by {who}; this controller stops")

    def _read_present(self) -> Holder | None:
        """The present holder of the lock; None where the campaign is there, and its lock is not."""
        found = read_holder(self.path)
        if found is not None:
            return found
        if not file_exists(Layout(self.path.parent).config_file):
            raise TransientError(f"{self.path.parent}: cannot be read for now: no campaign is there")
        return read_holder(self.path)  # it may have come back since

    def release(self) -> None:
        """Release the lock; the generation stays on disk.

        Where that cannot be written, the lock becomes free when this process ends.
        """
        with contextlib.suppress(AiperfError):
            if read_holder(self.path) == self.holder:
                replace_file(self.path, self.holder.model_copy(update={"released": True}).to_line().encode() + b"\n")
        _close_guard(self.guard)


def read_holder(path: Path) -> Holder | None:
    """Holder of a lock; None when no controller ever held it.

    Raises:
        LockedError: when the file is not a lock.
        TransientError: when it cannot be read for now.
    """
    try:
        return Holder.model_validate_json(read_file(path))
    except FileNotFoundError:
        return None
    except TransientError:
        raise
    except (ValidationError, AiperfError) as error:
        raise LockedError(
            f"{path}: cannot be read as a lock ({type(error).__name__}); when no controller runs, delete it"
        ) from None


def _close_guard(guard: int) -> None:
    """Unlock and close the guard; a command that is being started may still have a copy of the descriptor."""
    with contextlib.suppress(OSError):
        fcntl.flock(guard, fcntl.LOCK_UN)
    os.close(guard)


def _guard(path: Path) -> tuple[int, bool]:
    """Descriptor of an open file that only one of several starting controllers can lock, and whether this one did."""
    guard = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            os.close(guard)  # NFS needs a file that is open for writing
            guard = os.open(path.with_name(f".{path.name}.guard"), os.O_RDWR | os.O_CREAT, 0o640)
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return guard, False
    except OSError:
        pass  # a file system without locks
    return guard, True
