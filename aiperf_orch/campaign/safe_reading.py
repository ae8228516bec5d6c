"""Reads files where only a regular one belongs: opening a pipe or a device that was put there could block for ever.

An error that says anything but "there is no such file" says nothing of the file: a network file system gives ESTALE, EIO or
EACCES for a moment. Such an error is a `TransientError`; who can wait lets `retry_transient` try again.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from aiperf_orch.util.errors import TransientError

RETRY_SECONDS: Final = 5.0  # seconds of trying again before a command ends with the error
LONG_RETRY_SECONDS: Final = (
    300.0  # the same where an attempt or a campaign would be lost: a file server has restarted by then
)
_FIRST_PAUSE: Final = 0.05  # seconds between two tries, doubled each time
_LONGEST_PAUSE: Final = 2.0
_Result = TypeVar("_Result")

_CERTAIN: Final = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENXIO,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EFBIG,
)
"""What is a fact about a path or a disk; all other errors pass."""


class Reader(Protocol):
    """Reads a file's bytes from an offset on, as `files.read_file` does: FileNotFoundError where there is no such file."""

    def __call__(self, path: Path, *, offset: int = 0) -> bytes: ...  # noqa: D102


class NotRegularError(OSError):
    """The path leads to a pipe, a device or a directory."""


def is_transient(error: OSError) -> bool:
    """Whether an error tells nothing of a file, so that trying again may succeed."""
    return not isinstance(error, NotRegularError) and error.errno not in _CERTAIN


def retry_transient(action: Callable[[], _Result], seconds: float = RETRY_SECONDS) -> _Result:
    """Do something that reads or opens files, and do it again while a passing error prevents it.

    Args:
        action: what to do; it may be done more than once.
        seconds: how long to try again, with growing pauses. 0 is a single try.

    Raises:
        TransientError: when it still cannot be done after that time.
    """
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        try:
            return action()
        except TransientError:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def read_regular(path: Path, *, offset: int = 0, most: int = -1) -> bytes:
    """A regular file's bytes, in a single try.

    Args:
        path: the file.
        offset: in bytes, where to begin.
        most: how many bytes at most are read; by default all.

    Raises:
        OSError: when it cannot be read, or is a pipe, a device or a directory, which could block for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    if not regular:
        os.close(descriptor)
        raise NotRegularError(errno.EINVAL, "not a regular file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        file.seek(offset)
        return file.read(most)
