"""A connected socket that carries lines of JSON both ways: between a task and its workers, and between tasks."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Final

_LONGEST: Final = 1 << 20  # bytes of a line: what is longer is no message of ours
_PATIENCE: Final = 10.0  # seconds that a peer may leave its buffer full


class Channel:
    """One end. It never raises for a peer that is gone: `broken` tells, once everything that it said has been read."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.settimeout(_PATIENCE)
        self._received = b""
        self.broken = False

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    @property
    def own_address(self) -> str:
        """The address that this end has on the network."""
        return str(self._socket.getsockname()[0]).removeprefix("::ffff:")

    def send(self, line: bytes) -> None:
        """Send a line. What a peer that is gone does not get is no loss: reading tells that it is."""
        with suppress(OSError):
            self._socket.sendall(line)

    def receive(self) -> list[bytes]:
        """The whole lines that have come by now."""
        if not self.broken:
            self._read(0.0)
        *lines, self._received = self._received.split(b"\n")
        return lines

    def next_line(self, seconds: float | None = None) -> bytes:
        """The next line, as soon as it comes; empty when the channel breaks, or the line does not come in time."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._received:
            left = None if deadline is None else deadline - time.monotonic()
            if self.broken or (left is not None and left <= 0):
                return b""
            self._read(left)
        line, _, self._received = self._received.partition(b"\n")
        return line

    def close(self) -> None:
        """Close this end."""
        self.broken = True
        self._socket.close()

    def _read(self, seconds: float | None) -> None:
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(1 << 16)
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            data = b""
        finally:
            self._socket.settimeout(_PATIENCE)
        self._received += data
        self.broken = not data or len(self._received) > _LONGEST
