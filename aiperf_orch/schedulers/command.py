"""Runs a scheduler's commands: none without a time-out, none with the login node's own job options in its environment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiperf_orch.errors import SchedulerUnreachable
from aiperf_orch.units import format_duration

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
_KEPT: Final = frozenset({"SLURM_CONF"})  # where the cluster is


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command that ended said."""

    status: int
    output: str
    errors: str

    @property
    def complaint(self) -> str:
        """What a person should read when it failed, in one line."""
        text = self.errors.strip() or self.output.strip() or f"exit status {self.status}, without a word"
        return " ".join(line.strip() for line in text.splitlines())


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change the scheduler's commands, or the jobs that they start."""
    return {name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(_DROPPED)}


def run_command(command: Sequence[str], *, timeout: float, folder: Path | None = None) -> Answer:
    """Run a scheduler's command.

    Args:
        command: program and arguments.
        timeout: seconds after which it is ended.
        folder: where it runs.

    Raises:
        SchedulerUnreachable: when the program is not there, or did not end in time.
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
            watchdog = threading.Timer(timeout, _end, [process, late])
            watchdog.start()
            try:
                output, errors = process.communicate()
            finally:
                watchdog.cancel()
    except FileNotFoundError as error:
        missing = folder if folder and not folder.is_dir() else command[0]
        raise SchedulerUnreachable(f"{missing}: not found: is this a login node of the cluster?") from error
    except OSError as error:
        raise SchedulerUnreachable(f"{command[0]}: cannot be run: {error.strerror}") from error
    if late.is_set():
        raise SchedulerUnreachable(f"{command[0]} did not answer within {format_duration(timeout)}")
    return Answer(process.returncode, output, errors)


def _end(process: subprocess.Popen[str], late: threading.Event) -> None:
    """End a command with all that it started."""
    late.set()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def ask(command: Sequence[str], *, timeout: float) -> str:
    """What a command prints whose failure means that the scheduler does not answer.

    Raises:
        SchedulerUnreachable: when it failed, is not there, or did not end in time.
    """
    answer = run_command(command, timeout=timeout)
    if answer.status:
        raise SchedulerUnreachable(f"{command[0]} failed: {answer.complaint}")
    return answer.output
