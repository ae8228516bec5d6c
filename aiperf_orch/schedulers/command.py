"""Runs a scheduler's commands: none without a time-out, none with the login node's own job options in its environment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.units import format_duration

_DROPPED: Final = (
    "SLURM_",
    "SBATCH_",
    "SALLOC_",
    "SRUN_",
    "SQUEUE_",
    "SACCT_",
    "SCANCEL_",
    "SINFO_",
    "SUBMITIT_",
    "PBS_DPREFIX",
)
_KEPT: Final = frozenset(
    {
        # where the cluster is: its configuration, who serves it (configless), and which of several is meant. Every
        # command gets the same, so that jobs are looked for where they were submitted
        "SLURM_CONF",
        "SLURM_CONF_SERVER",
        "SLURM_CLUSTERS",
        # who asks: a token in place of munge, and the socket of auth/slurm
        "SLURM_JWT",
        "SLURM_SACK_SOCKET",
    }
)
"""Variables that say which cluster is asked and by whom. PBS's (PBS_SERVER, PBS_CONF_FILE, ...) are none of `_DROPPED`."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command that ended said."""

    status: int
    output: str
    errors: str

    @property
    def error_text(self) -> str:
        """What it said when it failed, line by line; empty when it said nothing."""
        return self.errors.strip() or self.output.strip()

    @property
    def error_line(self) -> str:
        """What a person should read when it failed, in one line."""
        return _in_one_line(self.error_text or f"exit status {self.status}, without a word")


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change the scheduler's commands, or the jobs that they start."""
    return {name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(_DROPPED)}


def run_command(
    command: Sequence[str],
    *,
    timeout: float,
    folder: Path | None = None,
    enough: Callable[[str], bool] = lambda _line: False,
) -> CommandResult:
    """Run a scheduler's command.

    Args:
        command: program and arguments, also behind `env` and its settings.
        timeout: seconds after which it is ended.
        folder: where it runs.
        enough: whether the rest is not worth waiting for after this line on its stderr; the command is then ended,
            and the answer is what it had said.

    Raises:
        SchedulerUnreachableError: when the program is not there, or did not end in time. Its message has what the command
            had said on stderr.
    """
    late = threading.Event()
    try:
        # in a session of its own: the person's Ctrl-C is not the command's, and at the time-out all of it is ended
        with subprocess.Popen(
            command,
            env=clean_environment(),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process:
            # a watchdog, since a wait with a time-out would look for the end a thousand times a second
            watchdog = threading.Timer(timeout, _end_late, [process, late])
            watchdog.start()
            try:
                output, errors = _listen(process, enough)
            finally:
                watchdog.cancel()
    except FileNotFoundError as error:
        missing = folder if folder and not folder.is_dir() else command[0]
        raise SchedulerUnreachableError(f"{missing}: not found: is this a login node of the cluster?") from error
    except OSError as error:
        raise SchedulerUnreachableError(f"{command[0]}: cannot be run: {error.strerror}") from error
    if late.is_set():
        said = f"; it had said: {_in_one_line(errors)}" if errors.strip() else ""
        raise SchedulerUnreachableError(f"{_program(command)} did not answer within {format_duration(timeout)}{said}")
    return CommandResult(process.returncode, output, errors)


def _listen(process: subprocess.Popen[str], enough: Callable[[str], bool]) -> tuple[str, str]:
    """Everything on a command's stdout and stderr until it ends, or until there is enough on stderr."""
    if process.stdout is None or process.stderr is None:
        raise AssertionError("both are pipes")
    output: list[str] = []
    reader = threading.Thread(target=lambda pipe: output.append(pipe.read()), args=[process.stdout])
    reader.start()
    errors = []
    try:
        for line in process.stderr:
            errors.append(line)
            if enough(line):
                _end(process)
        process.wait()
    except BaseException:
        _end(process)  # so that the reader ends, too
        raise
    finally:
        reader.join()
    return "".join(output), "".join(errors)


def _end_late(process: subprocess.Popen[str], late: threading.Event) -> None:
    late.set()
    _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a command with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _in_one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.strip().splitlines())


def _program(command: Sequence[str]) -> str:
    """The program that a command runs, also behind `env` and its settings."""
    return next(word for word in command if word != "env" and "=" not in word)


def ask(command: Sequence[str], *, timeout: float) -> str:
    """What a command prints whose failure means that the scheduler does not answer.

    Raises:
        SchedulerUnreachableError: when it failed, is not there, or did not end in time.
    """
    answer = run_command(command, timeout=timeout)
    if answer.status:
        raise SchedulerUnreachableError(f"{_program(command)} failed: {answer.error_line}")
    return answer.output
