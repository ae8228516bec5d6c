"""Connected socket that carries lines of JSON both ways: between a task and its workers, and between tasks."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Final

_MAX_LINE_BYTES: Final = 1 << 20  # no message is longer
_SEND_TIMEOUT: Final = 10.0  # seconds that a peer may leave its buffer full


class Channel:
    """One end of a connection.

    It never raises when the peer is gone: `broken` is then set, after all that the peer sent has been read.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.settimeout(_SEND_TIMEOUT)
        self._received = b""
        self.broken = False

    def fileno(self) -> int:
        """Return the file descriptor, for selectors."""
        return self._socket.fileno()

    @property
    def own_address(self) -> str:
        """Network address of this end."""
        return str(self._socket.getsockname()[0]).removeprefix("::ffff:")

    def send(self, line: bytes) -> None:
        """Send a line. A failure is ignored here: reading detects a peer that is gone."""
        with suppress(OSError):
            self._socket.sendall(line)

    def receive(self) -> list[bytes]:
        """Return the complete lines that have arrived, without waiting."""
        if not self.broken:
            self._read(0.0)
        *lines, self._received = self._received.split(b"\n")
        return lines

    def next_line(self, timeout: float | None = None) -> bytes:
        """Return the next line as soon as it arrives.

        Args:
            timeout: Maximum time to wait, in seconds; None to wait without limit.

        Returns:
            The line without its newline; empty when the connection broke or the time is over.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._received:
            remaining = None if deadline is None else deadline - time.monotonic()
            if self.broken or (remaining is not None and remaining <= 0):
                return b""
            self._read(remaining)
        line, _, self._received = self._received.partition(b"\n")
        return line

    def close(self) -> None:
        """Close this end."""
        self.broken = True
        self._socket.close()

    def _read(self, timeout: float | None) -> None:
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(1 << 16)
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            data = b""
        finally:
            self._socket.settimeout(_SEND_TIMEOUT)
        self._received += data
        self.broken = not data or len(self._received) > _MAX_LINE_BYTES
