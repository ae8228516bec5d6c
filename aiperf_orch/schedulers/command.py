"""Scheduler commands as subprocesses: each with a time-out, a clean environment, and a line in the log.

Every command is logged at DEBUG by the logger `aiperf_orch.schedulers.command`: its arguments, duration, exit status
and output. Long arguments and outputs are shortened. The environment is not logged, since it may contain secrets.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_duration

logger = logging.getLogger(__name__)

LOGGED_CHARACTERS: Final = 2000
"""Maximum length of a command line, and of each output stream, in the log."""

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
"""Prefixes of variables that would change the commands or the jobs. PBS_SERVER, PBS_CONF_FILE, ... are kept."""

_KEPT: Final = frozenset(
    {
        # the cluster: its configuration, its configless server, and its name. All commands get the same ones, so that
        # jobs are queried where they were submitted
        "SLURM_CONF",
        "SLURM_CONF_SERVER",
        "SLURM_CLUSTERS",
        # authentication: a token in place of munge, and the socket of auth/slurm
        "SLURM_JWT",
        "SLURM_SACK_SOCKET",
    }
)
"""Variables that are kept in spite of their prefix: they identify the cluster and the user."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Exit status, standard output and standard error of a command that ended."""

    status: int
    output: str
    errors: str

    @property
    def error_text(self) -> str:
        """Message of a failed command, in its own lines: standard error, or else standard output; may be empty."""
        return self.errors.strip() or self.output.strip()

    @property
    def error_line(self) -> str:
        """Message of a failed command in one line, for the user; never empty."""
        return _in_one_line(self.error_text or f"exit status {self.status}, without a message")


def clean_environment() -> dict[str, str]:
    """Return this process's environment without variables that would change the commands, or the jobs they start."""
    return {name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(_DROPPED)}


def run_command(
    command: Sequence[str],
    *,
    timeout: float,
    folder: Path | None = None,
    enough: Callable[[str], bool] = lambda _line: False,
) -> CommandResult:
    """Run a scheduler's command, and log it at DEBUG.

    Args:
        command: program and arguments, also after `env` and its settings.
        timeout: in seconds; the command and its children are then killed.
        folder: working directory; None is the current one.
        enough: returns whether the rest is not worth waiting for after this line on standard error; the command is then
            killed, and the result holds what it had printed.

    Raises:
        SchedulerUnreachableError: when the program does not exist, or did not end in time. The message contains what it
            had printed on standard error.
    """
    started = monotonic()
    try:
        result = _run(command, timeout, folder, enough)
    except SchedulerUnreachableError as error:
        logger.debug("%s: %s, after %.2f s", _logged(shlex.join(command)), visible(str(error)), monotonic() - started)
        raise
    if logger.isEnabledFor(logging.DEBUG):  # outputs may have megabytes
        logger.debug(
            "%s: exit status %d after %.2f s; stdout: %s; stderr: %s",
            _logged(shlex.join(command)),
            result.status,
            monotonic() - started,
            _logged(result.output) or "empty",
            _logged(result.errors) or "empty",
        )
    return result


def checked_output(command: Sequence[str], *, timeout: float) -> str:
    """Run a command whose failure means that the scheduler is unreachable, and return its standard output.

    Raises:
        SchedulerUnreachableError: when it failed, does not exist, or did not end in time.
    """
    result = run_command(command, timeout=timeout)
    if result.status:
        raise SchedulerUnreachableError(f"{_program(command)} failed: {result.error_line}")
    return result.output


def _run(command: Sequence[str], timeout: float, folder: Path | None, enough: Callable[[str], bool]) -> CommandResult:
    timed_out = threading.Event()
    try:
        # in its own session: Ctrl-C is not for the command, and the time-out kills it with its children
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
            # a watchdog, since Popen.wait with a time-out polls a thousand times a second
            watchdog = threading.Timer(timeout, _kill_late, [process, timed_out])
            watchdog.start()
            try:
                output, errors = _read(process, enough)
            finally:
                watchdog.cancel()
    except FileNotFoundError as error:
        missing = folder if folder and not folder.is_dir() else command[0]
        raise SchedulerUnreachableError(f"{missing}: not found: is this a login node of the cluster?") from error
    except OSError as error:
        raise SchedulerUnreachableError(f"{command[0]}: cannot be run: {error.strerror}") from error
    if timed_out.is_set():
        printed = f"; it had printed: {_in_one_line(errors)}" if errors.strip() else ""
        raise SchedulerUnreachableError(
            f"{_program(command)} did not answer within {format_duration(timeout)}{printed}"
        )
    return CommandResult(process.returncode, output, errors)


def _read(process: subprocess.Popen[str], enough: Callable[[str], bool]) -> tuple[str, str]:
    """Read standard output and standard error until the command ends, or until `enough` of a line."""
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
                _kill(process)
        process.wait()
    except BaseException:
        _kill(process)  # so that the reader ends
        raise
    finally:
        reader.join()
    return "".join(output), "".join(errors)


def _kill_late(process: subprocess.Popen[str], timed_out: threading.Event) -> None:
    timed_out.set()
    _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a command with its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _in_one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.strip().splitlines())


def _logged(text: str) -> str:
    """Return the text in one line for the log: control characters as escapes, a long text shortened."""
    text = text.strip()
    shortened = visible(text[:LOGGED_CHARACTERS])
    return f"{shortened}... ({len(text):,} characters)" if len(text) > LOGGED_CHARACTERS else shortened


def _program(command: Sequence[str]) -> str:
    """Return the program of a command, also after `env` and its settings."""
    return next(word for word in command if word != "env" and "=" not in word)
