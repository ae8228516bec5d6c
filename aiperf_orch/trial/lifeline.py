"""Where the tasks of a trial's nodes meet: the first task listens, the others find it, and each proves what trial it is of.

Ports are tried in one order by all; several trials on a node take the next that is free. The proof is an HMAC with a key
that only those have who can read the campaign directory. A line that breaks, or stays silent, means that a node is lost.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Final

from pydantic import ValidationError

from aiperf_orch.records import EndReason
from aiperf_orch.trial.allocation import Allocation
from aiperf_orch.trial.channel import Channel
from aiperf_orch.trial.messages import Hello, Order
from aiperf_orch.trial.trainer import TrialFailure

MEETING: Final = 300.0  # seconds in which all tasks of a trial must have met
BEAT: Final = 5.0  # seconds between two signs of life
SILENCE: Final = 40.0  # seconds without one after which a node is lost
DESERTED: Final = 900.0  # seconds without one after which the first task is lost: it may wait for a file system
_ANSWER: Final = 5.0  # seconds for a greeting by who listens
_DISMISSING: Final = 60.0  # seconds for the other tasks to come and be let go
_PAUSE: Final = 0.2  # seconds between two looks for the first task
LOOPBACK: Final = "127.0.0.1"


class Key:
    """What the tasks of one attempt's run share and nobody else knows."""

    def __init__(self, spec_sha256: str, attempt: int, job: str, run: int) -> None:
        self._key = f"{spec_sha256} {attempt} {job} {run}".encode()

    def proof(self, nonce: str, *about: object) -> str:
        """Shows, to who has the key too, that it is known here."""
        return hmac.new(self._key, repr((nonce, *about)).encode(), hashlib.sha256).hexdigest()

    def proves(self, proof: str, nonce: str, *about: object) -> bool:
        """Whether a proof is right."""
        return hmac.compare_digest(proof, self.proof(nonce, *about))


def listen(interface: str | None, ports: Sequence[int]) -> socket.socket:
    """A socket that listens on the first free port, on an interface's address or on all.

    Raises:
        TrialFailure: when no port is free, or there is no such interface.
    """
    address = address_of(interface) if interface else ""
    for port in range(ports[0], ports[1] + 1):
        with suppress(OSError):
            return socket.create_server((address, port), backlog=128)
    where = f"scheduler.ports: {ports[0]} to {ports[1]}"
    raise TrialFailure(EndReason.NODE_FAILURE, f"{where}: none is free on {socket.gethostname()}")


def address_of(interface: str) -> str:
    """An interface's IPv4 address.

    Raises:
        TrialFailure: when there is none.
    """
    known = _interfaces()
    for address in known.get(interface, []):
        return address
    has = ", ".join(sorted(known))
    message = (
        f"scheduler.interface: {interface}: {socket.gethostname()} has no such interface with an address; it has {has}"
    )
    raise TrialFailure(EndReason.NODE_FAILURE, message)


def interface_at(address: str) -> str | None:
    """The interface that has an address."""
    for name, addresses in _interfaces().items():
        if address in addresses:
            return name
    return None


def _interfaces() -> dict[str, list[str]]:
    """The IPv4 addresses of each interface of this node."""
    import psutil  # not for a trial of one worker

    found = psutil.net_if_addrs()
    return {name: [each.address for each in found[name] if each.family == socket.AF_INET] for name in found}


class Meeting:
    """The first task's side: greets who comes, until every node is there."""

    def __init__(self, allocation: Allocation, key: Key) -> None:
        """Listen.

        Raises:
            TrialFailure: when no port is free.
        """
        self._key = key
        self._missing = set(range(1, len(allocation.hosts)))
        # tasks find each other by host names, which need not be those of the interface that tensors go over
        self.socket = listen(_own_machine(allocation), allocation.ports)
        self._greeted: dict[Channel, str] = {}
        self.found: dict[int, tuple[Channel, int]] = {}
        """Channel and number of workers of each node that is there, by its number."""

    @property
    def missing(self) -> set[int]:
        """Numbers of the nodes that have not come."""
        return self._missing

    def wait(self, seconds: float) -> None:
        """Let who comes within so many seconds in."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            for channel in self._greeted:
                selector.register(channel, selectors.EVENT_READ)
            for key, _ in selector.select(seconds):
                if key.fileobj is self.socket:
                    self._greet()
                elif isinstance(key.fileobj, Channel):
                    self._hear(key.fileobj)

    def close(self) -> None:
        """Let nobody in any more."""
        self.socket.close()
        for channel in self._greeted:
            channel.close()

    def _greet(self) -> None:
        with suppress(OSError):
            channel = Channel(self.socket.accept()[0])
            self._greeted[channel] = nonce = secrets.token_hex(16)
            channel.send(Hello(nonce=nonce).to_line())

    def _hear(self, channel: Channel) -> None:
        for line in channel.receive()[:1]:
            nonce = self._greeted.pop(channel)
            with suppress(ValidationError):
                hello = Hello.model_validate_json(line)
                known = self._key.proves(hello.proof, nonce, hello.node, hello.workers)
                if known and hello.node in self._missing and hello.workers > 0:
                    channel.send(Hello(nonce="", proof=self._key.proof(hello.nonce)).to_line())
                    self._missing.discard(hello.node)
                    self.found[hello.node] = channel, hello.workers
                    return
            channel.close()
        if channel.broken and channel in self._greeted:
            del self._greeted[channel]


def find(allocation: Allocation, key: Key, over: Callable[[], bool]) -> Channel | None:
    """The other tasks' side: look for the first task until it is found, or `over` says to give up."""
    where = LOOPBACK if _own_machine(allocation) else allocation.hosts[0]
    first, last = allocation.ports
    while not over():
        for port in range(first, last + 1):
            with suppress(OSError):
                channel = Channel(socket.create_connection((where, port), timeout=_ANSWER))
                if _is_ours(channel, key, allocation):
                    return channel
                channel.close()
        time.sleep(_PAUSE)
    return None


def dismiss(allocation: Allocation, key: Key) -> None:
    """For a first task that does not run its trial: let the others go, who come within a while."""
    if len(allocation.hosts) == 1:
        return
    deadline = time.monotonic() + _DISMISSING
    with suppress(TrialFailure), closing(Meeting(allocation, key)) as meeting:
        while meeting.missing and time.monotonic() < deadline:
            meeting.wait(_PAUSE)
        for channel, _ in meeting.found.values():
            channel.send(Order(do="end").to_line())
            channel.close()


def _own_machine(allocation: Allocation) -> str | None:
    """The allocation's interface where that is a loopback's: then all nodes are this machine, and nobody else is let in."""
    interface = allocation.interface
    return interface if interface and address_of(interface).startswith("127.") else None


def _is_ours(channel: Channel, key: Key, allocation: Allocation) -> bool:
    """Whether the first task of this attempt is at the other end, and takes us for one of its own."""
    nonce, node, workers = secrets.token_hex(16), allocation.rank, allocation.workers
    try:
        proof = key.proof(Hello.model_validate_json(channel.next_line(_ANSWER)).nonce, node, workers)
        channel.send(Hello(nonce=nonce, proof=proof, node=node, workers=workers).to_line())
        # whoever greets so answers, or hangs up: to leave sooner might be to leave when it has just let us in
        return key.proves(Hello.model_validate_json(channel.next_line(SILENCE)).proof, nonce)
    except ValidationError:
        return False
