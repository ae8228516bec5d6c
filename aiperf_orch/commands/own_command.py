"""This program as a command to run later: from a crontab or another shell, whose PATH need not hold it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

_CRONS_PATH: Final = ("/usr/bin", "/bin")
_SITE_FILES: Final = (".yaml", ".yml")


def command_line(arguments: Sequence[str]) -> str:
    """A command of this program for a shell, by the program's absolute path, with quotes where they are needed."""
    return shlex.join([*_program(), *map(_absolute, arguments)])


def cron_line(arguments: Sequence[str], needed: Iterable[str] = ()) -> str:
    """A line for a crontab that runs a command of this program every two minutes.

    Args:
        arguments: of the command.
        needed: programs that the command runs, whose folders cron's short PATH may lack.
    """
    found = [os.path.dirname(path) for path in map(shutil.which, needed) if path]  # noqa: PTH120  a path as PATH has it
    folders = [folder for folder in dict.fromkeys(found) if folder not in _CRONS_PATH]
    path = f"PATH={shlex.quote(':'.join(folders))}:$PATH " if folders else ""
    return f"*/2 * * * * {path}{command_line(arguments)}".replace("%", r"\%")  # cron ends the command at a %


def _program() -> list[str]:
    """This program by its absolute path: its script, or the interpreter and the module where it was started so."""
    started = Path(sys.argv[0])
    found = shutil.which(str(started)) if started.suffix != ".py" else None
    return [str(Path(found).absolute())] if found else [sys.executable, "-P", "-m", "aiperf_orch.cli"]


def _absolute(word: str) -> str:
    """A word that names a file or folder that is there, so that it does from another folder, too."""
    names_a_path = not word.startswith("-") and ("/" in word or word.endswith(_SITE_FILES))
    return str(Path(word).absolute()) if names_a_path and Path(word).exists() else word
