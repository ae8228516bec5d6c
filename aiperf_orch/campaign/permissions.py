"""Check that a directory can be trusted: owned by this user, and writable by no other."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.safe_reading import retry_transient
from aiperf_orch.util import users
from aiperf_orch.util.errors import UsageError


def check_trusted(directory: Path) -> None:
    """Refuse a directory that others own or can write, or that any user could replace through a parent.

    Raises:
        UsageError: naming the directory, its mode or owner, and the command that corrects it.
        TransientError: when it cannot be read for now.
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
            f"{directory}: can be written by others (mode {stat.S_IMODE(status.st_mode):04o}), and its files "
            f"are run as you: chmod go-w {directory}"
        )
    for parent, status in parents:
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise UsageError(
                f"{parent}: any user could replace {directory} through this parent directory "
                f"(mode {stat.S_IMODE(status.st_mode):04o}): chmod o-w {parent}, or put the campaign elsewhere"
            )


def parent_warnings(directory: Path) -> list[str]:
    """Warnings about parents of a directory through which a user other than root could replace it."""
    found = []
    for parent, status in _parents(directory):
        if status.st_uid not in (0, os.geteuid(), _OVERFLOW_UID):
            found.append(f"{parent}: belongs to {_user(status.st_uid)}, who could replace the campaign through it")
        elif status.st_mode & stat.S_IWGRP and not status.st_mode & stat.S_ISVTX and not _is_private(status.st_gid):
            found.append(f"{parent}: members of {_group(status.st_gid)} can write it, and could replace the campaign")
    return found


def _parents(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every parent directory, also of the target of symbolic links."""
    for parent in dict.fromkeys([*directory.absolute().parents, *directory.resolve().parents]):
        yield parent, parent.stat()


_OVERFLOW_UID = 65534  # the owner of root's directories in a container's user namespace


def _user(uid: int) -> str:
    return users.user_name(uid) or f"user id {uid}"


def _group(gid: int) -> str:
    try:
        return f"group {grp.getgrgid(gid).gr_name}"
    except KeyError:
        return f"group {gid}"


def _is_private(gid: int) -> bool:
    """Whether the group is the user's private group, which many systems create for each user."""
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == _user(os.geteuid()) and not group.gr_mem
