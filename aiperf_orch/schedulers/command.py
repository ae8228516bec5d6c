"""Runs a scheduler's commands: none without a time-out, none with the login node's own job options in its environment."""

from __future__ import annotations

import os
import subprocess
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
    try:
        done = subprocess.run(
            command,
            env=clean_environment(),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        missing = folder if folder and not folder.is_dir() else command[0]
        raise SchedulerUnreachable(f"{missing}: not found: is this a login node of the cluster?") from error
    except OSError as error:
        raise SchedulerUnreachable(f"{command[0]}: cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SchedulerUnreachable(f"{command[0]} did not answer within {format_duration(timeout)}") from error
    return Answer(done.returncode, done.stdout, done.stderr)


def ask(command: Sequence[str], *, timeout: float) -> str:
    """What a command prints whose failure means that the scheduler does not answer.

    Raises:
        SchedulerUnreachable: when it failed, is not there, or did not end in time.
    """
    answer = run_command(command, timeout=timeout)
    if answer.status:
        raise SchedulerUnreachable(f"{command[0]} failed: {answer.complaint}")
    return answer.output
