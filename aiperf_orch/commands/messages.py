"""Messages on standard error and the log file: handlers of the logger `aiperf_orch`.

Every module logs to `logging.getLogger(__name__)`. Standard error shows INFO and above as plain messages; `--verbose`
adds DEBUG, and gives each message its time, level and module. `--log-file` holds all of it in any case. Times are in
UTC.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import visible, visible_lines

_LOGGER: Final = logging.getLogger("aiperf_orch")
_PREFIXES: Final = {logging.WARNING: "warning: ", logging.ERROR: "error: "}


def _write(_level: int, text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class _PlainFormatter(logging.Formatter):
    """Message with a prefix from WARNING on; with the time where `is_timed`."""

    is_timed = False

    def format(self, record: logging.LogRecord) -> str:
        text = _PREFIXES.get(record.levelno, "") + record.getMessage()
        return f"{_time(record, 'seconds')} {visible(text)}" if self.is_timed else text


class _FullFormatter(logging.Formatter):
    """Time, level, module and message, in one line."""

    def format(self, record: logging.LogRecord) -> str:
        text = visible(record.getMessage())
        if record.exc_info:
            text += "\n" + visible_lines(self.formatException(record.exc_info))
        return f"{_time(record, 'milliseconds')} {record.levelname} {record.name}: {text}"


class _MessageHandler(logging.Handler):
    """Writes to what is standard error at the time; a full disk or a closed terminal does not end a campaign."""

    def __init__(self) -> None:
        super().__init__()
        self.write: Callable[[int, str], None] = _write

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):
            self.write(record.levelno, self.format(record))


class _LogFileHandler(logging.FileHandler):
    """Appends to the log file; a full disk does not end a campaign."""

    has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's signature
        """Drop the line that could not be written, with one warning."""
        if not self.has_failed:
            self.has_failed = True
            why = f"--log-file: {self.baseFilename}: cannot be written: {sys.exc_info()[1]}: lines are lost"
            _handler.emit(logging.LogRecord(record.name, logging.WARNING, record.pathname, 0, why, None, None))

    def close(self) -> None:
        """Close the file; what could not be written is dropped."""
        with suppress(OSError):
            super().close()


_handler = _MessageHandler()


def configure(*, verbose: bool = False, log_file: Path | None = None) -> None:
    """Install the handlers, in place of those of an earlier call.

    Args:
        verbose: Show DEBUG on standard error too, each message with time, level and module.
        log_file: Append every message to this file.

    Raises:
        UsageError: when the log file cannot be opened.
    """
    for installed in _LOGGER.handlers[:]:
        if isinstance(installed, _MessageHandler | _LogFileHandler):
            _LOGGER.removeHandler(installed)
            installed.close()
    _handler.setLevel(logging.DEBUG if verbose else logging.INFO)
    _handler.setFormatter(_FullFormatter() if verbose else _PlainFormatter())
    _LOGGER.addHandler(_handler)
    _LOGGER.setLevel(logging.DEBUG if verbose or log_file else logging.INFO)
    if log_file is None:
        return
    try:
        file = _LogFileHandler(log_file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"--log-file: {log_file}: cannot be opened: {error.strerror}") from None
    file.setFormatter(_FullFormatter())
    _LOGGER.addHandler(file)


@contextmanager
def timed_messages() -> Iterator[None]:
    """Within the context each message on standard error is one line that begins with date, time and zone."""
    formatter = _handler.formatter
    if isinstance(formatter, _PlainFormatter):
        formatter.is_timed = True
    try:
        yield
    finally:
        if isinstance(formatter, _PlainFormatter):
            formatter.is_timed = False


@contextmanager
def messages_through(write: Callable[[int, str], None]) -> Iterator[None]:
    """Within the context messages go to `write`, with their level, in place of standard error."""
    before, _handler.write = _handler.write, write
    try:
        yield
    finally:
        _handler.write = before


def _time(record: logging.LogRecord, precision: str) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
