"""Classification of errors in reading data: a fault of the data, or of this node.

A fault of the data is the same on every node and pauses the campaign; after a fault of the node the trial is retried on
another one. The module has few imports, because the processes that load images import it.
"""

from __future__ import annotations

import errno
from typing import Final

from PIL import UnidentifiedImageError

from aiperf_orch.util.text import one_line

_DATA_ERRNOS: Final = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)
"""Errors that are properties of a path: it does not exist, has another type, or is not readable."""

ADVICE: Final = {
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the node has too many open files",
    errno.ENOMEM: "the memory of the node does not suffice",
    errno.ENOSPC: "a disk of the node is full (TMPDIR, /dev/shm, data.stage)",
    errno.EDQUOT: "a quota on the disks of the node is exceeded",
    errno.EAGAIN: "raise the limit of processes (ulimit -u)",
}


def is_node_failure(error: BaseException) -> bool:
    """Return whether an error is a fault of this node or its file systems, independent of the content of a file."""
    return isinstance(error, OSError) and error.errno is not None and error.errno not in _DATA_ERRNOS


def describe(error: Exception) -> str:
    """Describe an error in reading an image in one line, without the path of the image."""
    text = "it is empty, or not an image" if isinstance(error, UnidentifiedImageError) else str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return f"{type(error).__name__}: {one_line(text)}"
