"""Whether a directory can be trusted: owned by us, and writable by nobody else."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from aiperf_orch.errors import UsageError


def check_trusted(directory: Path) -> None:
    """Refuse a directory that others own or can write, or that others could replace through a parent.

    Raises:
        UsageError: naming the directory, its mode or owner, and the command that mends it.
    """
    status = directory.stat()
    if status.st_uid != os.geteuid():
        raise UsageError(
            f"{directory}: belongs to {_user(status.st_uid)}, not to you: use a campaign directory of your own"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"{directory}: can be written by others (mode {stat.S_IMODE(status.st_mode):04o}), and what stands in it "
            f"is run as you: chmod go-w {directory}"
        )
    for parent in dict.fromkeys([*directory.absolute().parents, *directory.resolve().parents]):
        status = parent.stat()
        others_write = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if others_write or status.st_uid not in (0, os.geteuid(), _NOBODY):
            owner = f"belongs to {_user(status.st_uid)}, mode {stat.S_IMODE(status.st_mode):04o}"
            raise UsageError(
                f"{parent}: others could replace {directory} through this parent directory ({owner}): "
                "put the campaign under a directory that only you or root can write"
            )


_NOBODY = 65534  # root's directories, seen from inside a container's user namespace


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
