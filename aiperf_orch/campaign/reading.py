"""Reads files where only a regular one belongs: opening a pipe or a device that was put there could block for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Protocol


class Reader(Protocol):
    """Reads a file's bytes from an offset on, as `read_regular` does: FileNotFoundError where there is no such file."""

    def __call__(self, path: Path, *, offset: int = 0) -> bytes: ...  # noqa: D102


def read_regular(path: Path, *, offset: int = 0, most: int = -1) -> bytes:
    """A regular file's bytes.

    Args:
        path: the file.
        offset: in bytes, where to begin.
        most: how many bytes at most are read; by default all.

    Raises:
        OSError: when it cannot be read, or is a pipe, a device or a directory, which could block for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        file.seek(offset)
        return file.read(most)
