"""The user of this process, also where the user database has no entry for the id, as in a container."""

from __future__ import annotations

import os
import pwd
from typing import Final

_VARIABLES: Final = ("LOGNAME", "USER", "LNAME", "USERNAME")


def user_name(uid: int) -> str | None:
    """A user's name; None where the user database has no entry for the id, or is not available."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return None


def current_user() -> str:
    """Name of this process's user: from the user database, else from the environment, else the id in digits."""
    given = (os.environ.get(variable) for variable in _VARIABLES)
    return user_name(os.getuid()) or next(filter(None, given), None) or str(os.getuid())


def current_group() -> int:
    """Id of the primary group of this process's user."""
    try:
        return pwd.getpwuid(os.getuid()).pw_gid
    except (KeyError, OSError):
        return os.getgid()


def user_identifiers() -> list[str]:
    """Every name that identifies this process's user, including the name of the home directory."""
    home = os.path.basename(os.path.expanduser("~"))  # noqa: PTH111, PTH119  Path.home() raises where there is none
    given = (os.environ.get(variable, "") for variable in _VARIABLES)
    found = dict.fromkeys([home, user_name(os.getuid()) or "", *given])
    return [name for name in found if name.strip("~0123456789")]  # numbers are too common to be redacted
