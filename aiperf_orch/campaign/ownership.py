"""Whether a directory can be trusted: owned by us, and writable by nobody else."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from aiperf_orch.campaign.durable_files import translate_os_errors
from aiperf_orch.campaign.safe_reading import retry_transient
from aiperf_orch.util import users
from aiperf_orch.util.errors import UsageError


def check_trusted(directory: Path) -> None:
    """Refuse a directory that others own or can write, or that everybody could replace through a parent.

    Raises:
        UsageError: naming the directory, its mode or owner, and the command that mends it.
        TransientError: when it cannot be looked at for now.
    """
    retry_transient(lambda: _check_trusted(directory))


def _check_trusted(directory: Path) -> None:
    with translate_os_errors(directory, action="read"):
        status, parents = directory.stat(), list(_parents(directory))
    if status.st_uid != os.geteuid():
        raise UsageError(
            f"{directory}: belongs to {_user(status.st_uid)}, not to you: use a campaign directory of your own"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"{directory}: can be written by others (mode {stat.S_IMODE(status.st_mode):04o}), and what stands in it "
            f"is run as you: chmod go-w {directory}"
        )
    for parent, status in parents:
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise UsageError(
                f"{parent}: everybody could replace {directory} through this parent directory "
                f"(mode {stat.S_IMODE(status.st_mode):04o}): chmod o-w {parent}, or put the campaign elsewhere"
            )


def parent_warnings(directory: Path) -> list[str]:
    """What a person should know of a directory's parents: who else could replace it through them, if that is not root."""
    found = []
    for parent, status in _parents(directory):
        if status.st_uid not in (0, os.geteuid(), _NOBODY):
            found.append(f"{parent}: belongs to {_user(status.st_uid)}, who could replace the campaign through it")
        elif status.st_mode & stat.S_IWGRP and not status.st_mode & stat.S_ISVTX and not _is_private(status.st_gid):
            found.append(f"{parent}: members of {_group(status.st_gid)} can write it, and could replace the campaign")
    return found


def _parents(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every directory above, also above what a symbolic link leads to."""
    for parent in dict.fromkeys([*directory.absolute().parents, *directory.resolve().parents]):
        yield parent, parent.stat()


_NOBODY = 65534  # root's directories, seen from inside a container's user namespace


def _user(uid: int) -> str:
    return users.user_name(uid) or f"user id {uid}"


def _group(gid: int) -> str:
    try:
        return f"group {grp.getgrgid(gid).gr_name}"
    except KeyError:
        return f"group {gid}"


def _is_private(gid: int) -> bool:
    """Whether it is the group of the same name that many systems give to each user alone."""
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == _user(os.geteuid()) and not group.gr_mem
