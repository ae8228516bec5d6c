"""Whether the data or this node is to blame when data cannot be read. Its import is kept small: image loaders have it, too.

A fault of the data is the same on every node and pauses the campaign; one of the node is tried again on another.
"""

from __future__ import annotations

import errno
from typing import Final

_OF_DATA: Final = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)
"""What says something of a path: that it is not there, is something else, or may not be read."""

ADVICE: Final = {
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the node has too many open files",
    errno.ENOMEM: "the node's memory does not suffice",
    errno.ENOSPC: "a disk of the node is full (TMPDIR, /dev/shm, data.stage)",
    errno.EDQUOT: "a quota of the node's disks is used up",
    errno.EAGAIN: "raise the limit of processes (ulimit -u)",
}


def is_nodes(error: BaseException) -> bool:
    """Whether an error is one of this node, or of its view of a file system, and says nothing of what a file holds."""
    return isinstance(error, OSError) and error.errno is not None and error.errno not in _OF_DATA
