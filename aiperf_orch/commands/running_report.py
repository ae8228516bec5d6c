"""Report of a campaign while it runs: started by its controller as a process of its own, at the lowest priority.

It runs at most once a minute, one at a time, and at most a twentieth of the time. Nothing that happens to it concerns
the campaign: the first error is logged, and the next report is tried as if there had been none.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

_log: Final = logging.getLogger(__name__)

REPORT_INTERVAL: Final = 60
"""Seconds between the starts of two reports, at least, and after which a browser reads the page again."""

_LEAST_PAUSES: Final = 20
"""Durations of a report between the starts of two, at least."""

_END_TIMEOUT: Final = 5.0
"""Seconds for which the end of a killed process is awaited."""


def report_command(path: Path) -> list[str]:
    """The command that writes the report of the campaign that this process runs."""
    program = [sys.executable, "-P", "-m", "aiperf_orch.cli"]
    return [*program, "report", str(path), "--controller", str(os.getpid())]


class RunningReport:
    """Starts the report again and again, until it is closed."""

    def __init__(self, command: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without a report; the first one is due after a minute.

        Args:
            command: Writes the report.
            clock: The time in seconds.
        """
        self._command, self._clock = command, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._started, self._due = 0.0, clock() + REPORT_INTERVAL
        self._has_failed = False

    def step(self) -> None:
        """Start a report if one is due, and note the end of the one that runs; never waits."""
        if self._process is not None and self._process.poll() is not None:
            self._take_end(self._process.returncode)
        if self._process is None and self._clock() >= self._due:
            self._start()

    def close(self) -> None:
        """Kill the report that runs."""
        if self._process is not None:
            self._process.kill()
            try:
                self._process.wait(_END_TIMEOUT)
            except subprocess.TimeoutExpired:
                _log.warning("process %d, which writes the report, does not end", self._process.pid)
            self._forget()

    def _start(self) -> None:
        self._started = self._clock()
        self._due = self._started + REPORT_INTERVAL
        try:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115  a pipe that nobody reads could block the process
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,  # Ctrl-C is for the controller
            )
        except OSError as error:
            self._forget()
            self._warn(str(error))

    def _take_end(self, status: int) -> None:
        duration = self._clock() - self._started
        self._due = self._started + max(REPORT_INTERVAL, _LEAST_PAUSES * duration)
        if status and self._errors is not None:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
            self._warn(lines[-1] if lines else f"exit status {status}")
        self._forget()

    def _warn(self, why: str) -> None:
        if not self._has_failed:
            _log.warning("the report could not be written while the campaign runs, which goes on: %s", why)
        self._has_failed = True

    def _forget(self) -> None:
        if self._errors is not None:
            self._errors.close()
        self._process = self._errors = None
