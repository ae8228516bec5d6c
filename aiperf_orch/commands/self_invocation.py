"""Command lines of this program for a crontab or another shell, whose PATH may lack it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

_CRON_PATH: Final = ("/usr/bin", "/bin")
_SITE_FILES: Final = (".yaml", ".yml")


def command_line(arguments: Sequence[str]) -> str:
    """A command of this program for a shell: with the program's absolute path, quoted where necessary."""
    return shlex.join([*_program(), *map(_absolute, arguments)])


def cron_line(arguments: Sequence[str], needed: Iterable[str] = ()) -> str:
    """A line for a crontab that runs a command of this program every two minutes.

    Args:
        arguments: The arguments of the command.
        needed: Programs that the command runs; their folders are added to cron's short PATH.
    """
    found = [os.path.dirname(path) for path in map(shutil.which, needed) if path]  # noqa: PTH120  a path as PATH has it
    folders = [folder for folder in dict.fromkeys(found) if folder not in _CRON_PATH]
    path = f"PATH={shlex.quote(':'.join(folders))}:$PATH " if folders else ""
    return f"*/2 * * * * {path}{command_line(arguments)}".replace("%", r"\%")  # cron ends the command at a %


def _program() -> list[str]:
    """This program by its absolute path: its script, or the interpreter and the module if it was started that way."""
    started = Path(sys.argv[0])
    found = shutil.which(str(started)) if started.suffix != ".py" else None
    return [str(Path(found).absolute())] if found else [sys.executable, "-P", "-m", "aiperf_orch.cli"]


def _absolute(word: str) -> str:
    """Absolute form of a word that names an existing file or folder; other words unchanged."""
    names_a_path = not word.startswith("-") and ("/" in word or word.endswith(_SITE_FILES))
    return str(Path(word).absolute()) if names_a_path and Path(word).exists() else word
