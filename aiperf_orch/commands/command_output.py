"""Output of a command: its text for standard output and its exit status."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import IntEnum

from aiperf_orch.commands.escaped_output import show


class ExitStatus(IntEnum):
    """Exit statuses of the program. Errors have their own, see `aiperf_orch.util.errors`."""

    DONE = 0
    FAILED = 1
    NOT_FINISHED = 4
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """Result of a command.

    Attributes:
        text: What goes to standard output; empty for a command that has printed its progress itself.
        exit_status: The exit status of the program.
        form: `table`, `csv`, `json` or `openmetrics`. Control characters of a table are shown as codes; other forms
            stay unchanged.
    """

    text: str = ""
    exit_status: int = ExitStatus.DONE
    form: str = "table"


def finish(output: CommandOutput) -> None:
    """Print the output of a command, and exit with its status."""
    show(output.text, output.form)
    if output.exit_status:
        sys.exit(output.exit_status)
