"""Rendezvous of a trial's tasks: rank 0 listens, followers connect, and both prove that they belong to the same run.

In a campaign rank 0 writes its addresses and port to a file, so that host names need not be resolvable on other nodes.
Without a campaign all tasks try the same ports in the same order; several trials on a node take the next free port. The
proof is an HMAC with a key that only processes with access to the campaign directory know. A control connection that
breaks or stays silent means that the node is lost.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from aiperf_orch.campaign.durable_files import read_file, replace_file
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.interfaces import LOOPBACK, address_of, listen, reachable_addresses, resolve
from aiperf_orch.trial.runtime.json_channel import Channel
from aiperf_orch.trial.runtime.messages import Command, Handshake, ListenAddress
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util.errors import AiperfError

RENDEZVOUS_TIMEOUT: Final = 300.0  # seconds until all tasks of a trial must be connected
HEARTBEAT_INTERVAL: Final = 5.0  # seconds between two heartbeats
FOLLOWER_TIMEOUT: Final = 40.0  # seconds of silence after which rank 0 considers a follower lost
RANK_0_TIMEOUT: Final = 900.0  # seconds of silence after which followers consider rank 0 lost: it may wait for files
_HANDSHAKE_TIMEOUT: Final = 5.0  # seconds for the first message of a listening process
_RELEASE_TIMEOUT: Final = 60.0  # seconds in which followers are accepted to be released
_RETRY_INTERVAL: Final = 0.2  # seconds between two attempts to connect to rank 0


class TrialKey:
    """Shared secret of the tasks of one run of an attempt."""

    def __init__(self, spec_sha256: str, attempt: int, job: str, run: int) -> None:
        self._key = f"{spec_sha256} {attempt} {job} {run}".encode()

    def proof(self, nonce: str, *values: object) -> str:
        """Prove knowledge of the key, for a nonce of the other side and values that are sent with the proof."""
        return hmac.new(self._key, repr((nonce, *values)).encode(), hashlib.sha256).hexdigest()

    def verify(self, proof: str, nonce: str, *values: object) -> bool:
        """Return whether a proof is correct."""
        return hmac.compare_digest(proof, self.proof(nonce, *values))


class RendezvousServer:
    """Rank 0's side: accepts followers until every node is connected."""

    def __init__(self, allocation: Allocation, key: TrialKey) -> None:
        """Listen.

        Raises:
            TrialFailedError: No port is free.
        """
        self._key = key
        self._missing = set(range(1, len(allocation.hosts)))
        # tasks connect by host names, which need not belong to the interface of the collective operations
        self.socket = listen(_loopback_interface(allocation), allocation.ports)
        self._nonces: dict[Channel, str] = {}
        self.followers: dict[int, tuple[Channel, int]] = {}
        """Control connection and number of workers of each connected follower, by node rank."""

    @property
    def missing(self) -> set[int]:
        """Node ranks of the followers that are not connected."""
        return self._missing

    def wait(self, timeout: float) -> None:
        """Process connections and messages that arrive within `timeout` seconds."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            for channel in self._nonces:
                selector.register(channel, selectors.EVENT_READ)
            for key, _ in selector.select(timeout):
                if key.fileobj is self.socket:
                    self._accept()
                elif isinstance(key.fileobj, Channel):
                    self._receive(key.fileobj)

    def close(self) -> None:
        """Stop listening, and close connections without a completed handshake."""
        self.socket.close()
        for channel in self._nonces:
            channel.close()

    def _accept(self) -> None:
        with suppress(OSError):
            channel = Channel(self.socket.accept()[0])
            self._nonces[channel] = nonce = secrets.token_hex(16)
            channel.send(Handshake(nonce=nonce).to_line())

    def _receive(self, channel: Channel) -> None:
        for line in channel.receive()[:1]:
            nonce = self._nonces.pop(channel)
            if not self._complete_handshake(channel, nonce, line):
                channel.close()
        if channel.broken:
            self._nonces.pop(channel, None)

    def _complete_handshake(self, channel: Channel, nonce: str, line: bytes) -> bool:
        try:
            received = Handshake.model_validate_json(line)
        except ValidationError:
            return False
        proven = self._key.verify(received.proof, nonce, received.node, received.workers)
        if not proven or received.node not in self._missing or received.workers < 1:
            return False
        channel.send(Handshake(nonce="", proof=self._key.proof(received.nonce)).to_line())
        self._missing.discard(received.node)
        self.followers[received.node] = channel, received.workers
        return True


def publish_address(server: RendezvousServer, path: Path | None, allocation: Allocation) -> None:
    """Make it known to the followers where rank 0 listens.

    Args:
        server: Rank 0's side of the rendezvous.
        path: File for the addresses and the port; None where followers connect by the host name.
        allocation: Allocation of this task.

    Raises:
        TrialFailedError: No file could be written, and the host name cannot be resolved.
    """
    if path is not None:
        addresses = tuple(reachable_addresses(allocation.interface))
        address = ListenAddress(addresses=addresses, port=server.socket.getsockname()[1])
        try:
            replace_file(path, address.to_line())
        except AiperfError as error:
            print(f"warning: {error}; the followers connect to {allocation.hosts[0]}", file=sys.stderr, flush=True)
        else:
            return
    if not _loopback_interface(allocation):
        resolve(allocation.hosts[0])


def connect(
    allocation: Allocation, key: TrialKey, cancelled: Callable[[], bool], address_file: Path | None = None
) -> Channel | None:
    """Connect a follower to rank 0.

    Args:
        allocation: Allocation of this task.
        key: Shared secret of the trial's tasks.
        cancelled: Called between two attempts to connect; true to stop trying.
        address_file: File in which rank 0 publishes where it listens; None to connect by the host name.

    Returns:
        The control connection; None when it was cancelled.

    Raises:
        TrialFailedError: There is no such file, and the host name of rank 0 cannot be resolved.
    """
    addresses: list[str] = []
    try:
        addresses = [LOOPBACK] if _loopback_interface(allocation) else resolve(allocation.hosts[0])
    except TrialFailedError as failure:
        if address_file is None:
            raise
        print(f"warning: {failure}; using the addresses in {address_file}", file=sys.stderr, flush=True)
    while not cancelled():
        for address in _candidates(addresses, allocation.ports, address_file):
            if cancelled():
                return None
            with suppress(OSError):
                channel = Channel(socket.create_connection(address, timeout=_HANDSHAKE_TIMEOUT))
                if _authenticate(channel, key, allocation):
                    return channel
                channel.close()
        time.sleep(_RETRY_INTERVAL)
    return None


def _candidates(
    addresses: Sequence[str], ports: tuple[int, int], address_file: Path | None
) -> Iterator[tuple[str, int]]:
    """Addresses at which rank 0 may listen: first at the published port, then at all ports of the site."""
    if address_file is not None:
        with suppress(FileNotFoundError, AiperfError, ValidationError):
            published = ListenAddress.model_validate_json(read_file(address_file, retry_for=0.0))
            for address in dict.fromkeys([*addresses, *published.addresses]):
                yield address, published.port
    for port in range(ports[0], ports[1] + 1):
        for address in addresses:
            yield address, port


def _authenticate(channel: Channel, key: TrialKey, allocation: Allocation) -> bool:
    """Exchange proofs with the other end; return whether it is rank 0 of this run."""
    nonce, node, workers = secrets.token_hex(16), allocation.rank, allocation.workers
    try:
        greeting = Handshake.model_validate_json(channel.next_line(_HANDSHAKE_TIMEOUT))
        proof = key.proof(greeting.nonce, node, workers)
        channel.send(Handshake(nonce=nonce, proof=proof, node=node, workers=workers).to_line())
        # the other end answers or closes; after a shorter wait it might just have accepted this follower
        answer = Handshake.model_validate_json(channel.next_line(FOLLOWER_TIMEOUT))
    except ValidationError:
        return False
    return key.verify(answer.proof, nonce)


def release_followers(allocation: Allocation, key: TrialKey, path: Path | None = None) -> None:
    """Stop the followers of a rank 0 that did not get the attempt: accept them for up to 60 s, and tell each to exit.

    Args:
        allocation: Allocation of this task.
        key: Shared secret of the trial's tasks.
        path: File in which rank 0 publishes where it listens; None without a campaign.
    """
    if len(allocation.hosts) == 1:
        return
    deadline = time.monotonic() + _RELEASE_TIMEOUT
    with suppress(TrialFailedError, AiperfError), closing(RendezvousServer(allocation, key)) as server:
        publish_address(server, path, allocation)
        while server.missing and time.monotonic() < deadline:
            server.wait(_RETRY_INTERVAL)
        for channel, _ in server.followers.values():
            channel.send(Command(action="stop").to_line())
            channel.close()


def _loopback_interface(allocation: Allocation) -> str | None:
    """The allocation's interface if it is a loopback interface: then all nodes are this machine; otherwise None."""
    interface = allocation.interface
    return interface if interface and address_of(interface).startswith("127.") else None
