"""The agent's log: its lines wait while the file system does not take them, and keep their order."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.durable_files import AppendFile
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.safe_reading import read_regular
from aiperf_orch.records.agents import AgentLine
from aiperf_orch.util.errors import AiperfError

_log: Final = logging.getLogger(__name__)


class LogFile:
    """The agent's log: lines wait while they cannot be written."""

    def __init__(self, path: Path) -> None:
        """Create the file.

        Raises:
            AiperfError: When the file system refuses.
        """
        with translate_os_errors(path, may_pass=True):
            self._file: AppendFile | None = AppendFile(path, exclusive=True)
        self.modified = os.fstat(self._file.descriptor).st_mtime
        self._path, self._size = path, 0
        self._first = b""
        self._discards = False
        self._waiting: list[str] = []
        self._lock = threading.Lock()

    def add(self, line: AgentLine) -> None:
        """Add a line, which `write` writes."""
        with self._lock:
            if not self._discards:
                self._waiting.append(line.to_line() + "\n")

    def discard(self) -> None:
        """Write nothing any more: the path may be that of another file."""
        with self._lock:
            self._discards = True
            self._waiting.clear()

    def is_in_place(self) -> bool:
        """Whether its path still leads to this file, by its first line; False also where there is no such file.

        Raises:
            AiperfError: When it cannot be read for now.
        """
        with translate_os_errors(self._path, passing=FileNotFoundError, action="read"):
            try:
                return read_regular(self._path, most=len(self._first)) == self._first
            except FileNotFoundError:
                return False

    @property
    def is_written(self) -> bool:
        """Whether no line waits."""
        return not self._waiting

    def write(self) -> None:
        """Write the waiting lines.

        Raises:
            AiperfError: When they cannot be written for now; they go on waiting.
        """
        with self._lock:
            lines = list(self._waiting)
        if not lines:
            return
        text = "".join(lines)
        try:
            file = self._open()
            file.append(text, retry_for=0.0)
        except AiperfError:
            self._close()
            raise
        self._first = self._first or lines[0].encode()
        self._size += len(text.encode())
        with self._lock:
            del self._waiting[: len(lines)]

    def _open(self) -> AppendFile:
        """The open file, without the remainder of a write that failed."""
        if self._file is None:
            with translate_os_errors(self._path):
                file = AppendFile(self._path, exclusive=False)
            self._file = file
            if file.size > self._size:
                file.truncate(self._size)
        return self._file

    def _close(self) -> None:
        """Close the file: after an error a network file system may require to open it again."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                _log.debug("%s: %s", self._path, error)
            self._file = None
