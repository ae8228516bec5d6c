"""Meeting of nodes that are checked at the same time: each listens on a port of trials, and connects to the others."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pydantic import ValidationError

from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.records.probe import PeerReport, address_name
from aiperf_orch.trial.runtime.interfaces import listen, reachable_addresses
from aiperf_orch.trial.runtime.messages import ListenAddress
from aiperf_orch.trial.runtime.trainer import TrialFailedError

_MAX_PEERS: Final = 3
_CONNECT_SECONDS: Final = 5.0
_INTERVAL: Final = 0.2
_PREFIX: Final = "address-"


class NodeMeeting:
    """One node's side: it answers connections while it exists, and `connect` connects to other nodes."""

    def __init__(self, folder: Path, host: str, interface: str | None, ports: Sequence[int]) -> None:
        """Store the arguments; it listens as a context manager.

        Args:
            folder: Folder that all nodes share.
            host: Name of this node.
            interface: Network interface on which the nodes communicate; None for all.
            ports: First and last port on which a trial may listen.
        """
        self._folder, self._host, self._interface, self._ports = folder, host, interface, ports
        self._fault = ""
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Listen, and write where."""
        try:
            self._socket = listen(self._interface, self._ports)
        except TrialFailedError as failure:
            self._fault = str(failure)
            return self
        threading.Thread(target=self._answer, args=[self._socket], daemon=True).start()
        address = ListenAddress(
            addresses=tuple(reachable_addresses(self._interface)), port=self._socket.getsockname()[1]
        )
        replace_file(self._folder / address_name(self._host), address.to_line())
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Withdraw the address, and then stop listening."""
        (self._folder / address_name(self._host)).unlink(missing_ok=True)
        if self._socket is not None:
            self._socket.close()

    def connect(self, seconds: float) -> list[PeerReport]:
        """Connect to other nodes that are there within this time, at most to a few; waits in any case, to be found."""
        if self._fault:
            return [PeerReport(host=self._host, seconds=0.0, fault=self._fault)]
        found: dict[str, PeerReport] = {}
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for path in sorted(self._folder.glob(f"{_PREFIX}*.json")):
                host = path.stem.removeprefix(_PREFIX)
                if host != self._host and host not in found and len(found) < _MAX_PEERS:
                    report = self._reach(path, host)
                    if report is not None:
                        found[host] = report
            time.sleep(_INTERVAL)
        return list(found.values())

    def _reach(self, path: Path, host: str) -> PeerReport | None:
        """Connect to a node; None where it has left."""
        try:
            address = ListenAddress.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None
        start, fault = time.monotonic(), "it states no address"
        for each in address.addresses:
            try:
                with socket.create_connection((each, address.port), timeout=_CONNECT_SECONDS) as connection:
                    connection.settimeout(_CONNECT_SECONDS)
                    if connection.recv(300).decode(errors="replace") == self._token(host):
                        return PeerReport(host=host, seconds=round(time.monotonic() - start, 3))
                    fault = f"{each}:{address.port}: another program answers"
            except OSError as error:
                fault = f"{each}:{address.port}: {error.strerror or error}"
        return PeerReport(host=host, seconds=round(time.monotonic() - start, 3), fault=fault) if path.exists() else None

    def _token(self, host: str) -> str:
        """What a node answers: the check and its name."""
        return f"aiperf-orch {self._folder.parent.name} {host}"

    def _answer(self, listening: socket.socket) -> None:
        with suppress(OSError):  # the socket is closed
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    connection.sendall(self._token(self._host).encode())
