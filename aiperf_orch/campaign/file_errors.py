"""Errors of the file system, as messages that say what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.safe_reading import is_transient
from aiperf_orch.util.errors import AiperfError, TransientError

UNSUPPORTED: Final = (
    errno.EPERM,
    errno.EACCES,
    errno.EINVAL,
    errno.ENOTSUP,
    errno.ENOSYS,
    errno.ENOTTY,
    errno.EBADF,
    errno.EMLINK,
    errno.EXDEV,
)
"""Errors for calls that a file system does not support: CIFS, FUSE, GPFS with ACLs, some object stores."""
_FREE_SPACE: Final = "free some space, then run the same command again; nothing recorded is lost"


@contextmanager
def translate_os_errors(
    path: Path,
    passing: type[OSError] | tuple[type[OSError], ...] = (),
    action: str = "written",
    *,
    may_pass: bool = False,
) -> Iterator[None]:
    """Turn errors of the operating system into ours, with a message; errors in `passing` are raised unchanged.

    Args:
        path: the file.
        passing: errors that the caller handles.
        action: what was done to the file, as a participle: "read".
        may_pass: whether a failed write may be repeated; reading always may.

    Raises:
        TransientError: for a transient error.
        AiperfError: for any other.
    """
    try:
        yield
    except passing:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        refused = f"{reason}: the file system refuses this call: choose a folder on another one"
        unsupported = (errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS) if action != "read" else ()
        lasts = error.errno in UNSUPPORTED and error.errno != errno.EACCES
        if is_transient(error) and (action != "written" or (may_pass and not lasts)):
            raise TransientError(f"{path}: cannot be {action} for now: {reason}") from error
        advice = {
            errno.ENOSPC: f"the disk is full: {_FREE_SPACE}",
            errno.EDQUOT: f"the disk quota is used up: {_FREE_SPACE}",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: reason.replace("Permission", "permission"),
            **dict.fromkeys(unsupported, refused),
        }.get(error.errno or 0, reason)
        raise AiperfError(f"{path}: cannot be {action}: {advice}") from error


@contextmanager
def called(name: str) -> Iterator[None]:
    """Add the name of the system call to an error's message."""
    try:
        yield
    except OSError as error:
        error.strerror = f"{error.strerror} ({name})"
        raise
