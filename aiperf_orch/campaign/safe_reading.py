"""Reading of regular files only, and retries after transient errors.

Opening a pipe or a device in place of a file could block for ever. Except for errors such as "no such file", an error
is no fact about a file: a network file system returns ESTALE, EIO or EACCES temporarily. It becomes a `TransientError`,
which `retry_transient` retries.
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

RETRY_SECONDS: Final = 5.0  # of retries before a command fails
LONG_RETRY_SECONDS: Final = 300.0  # where an attempt or a campaign would be lost: a file server has restarted by then
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
"""Errors that are facts about a path or a disk; all others are transient."""


class Reader(Protocol):
    """Reads a file's bytes from an offset on, as `read_file`; raises FileNotFoundError where there is no such file."""

    def __call__(self, path: Path, *, offset: int = 0) -> bytes: ...  # noqa: D102


class NotRegularError(OSError):
    """The path is a pipe, a device or a directory."""


def is_transient(error: OSError) -> bool:
    """Whether an error is no fact about a file, so that a retry may succeed."""
    return not isinstance(error, NotRegularError) and error.errno not in _CERTAIN


def retry_transient(action: Callable[[], _Result], seconds: float = RETRY_SECONDS) -> _Result:
    """Run an action on files, and repeat it after transient errors.

    Args:
        action: reads or opens files; it may run more than once.
        seconds: how long to retry, with growing pauses; 0 for a single try.

    Raises:
        TransientError: when it still fails after that time.
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
    """A regular file's bytes, without retries.

    Args:
        path: the file.
        offset: first byte to read.
        most: maximum number of bytes; -1 for all.

    Raises:
        OSError: when it cannot be read, or is a pipe, a device or a directory.
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
