"""Where the tasks of a trial's nodes meet: the first task listens, the others find it, and each proves what trial it is of.

The first task writes its addresses and its port into the campaign, where there is one: a node's name need not be known on
the others. Without a campaign ports are tried in one order by all; several trials on a node take the next that is free. The
proof is an HMAC with a key that only those have who can read the campaign directory. A line that breaks, or stays silent,
means that a node is lost.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
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
from aiperf_orch.records.base import EndReason
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.channel import Channel
from aiperf_orch.trial.runtime.messages import Hello, Order, Place
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util.errors import AiperfError

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
        TrialFailedError: when no port is free, or there is no such interface.
    """
    address = address_of(interface) if interface else ""
    for port in range(ports[0], ports[1] + 1):
        with suppress(OSError):
            return _server(address, port)
    where = f"scheduler.ports: {ports[0]} to {ports[1]}"
    raise TrialFailedError(EndReason.NODE_FAILURE, f"{where}: none is free on {socket.gethostname()}")


def _server(address: str, port: int) -> socket.socket:
    """A socket that listens on an address, or on all of the node, those of IPv6 too where it has it."""
    if not address and socket.has_dualstack_ipv6():
        with suppress(OSError):  # the kernel may have it switched off
            return socket.create_server(("", port), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=128)


def address_of(interface: str) -> str:
    """An interface's address, its IPv4 one where it has one.

    Raises:
        TrialFailedError: when there is none.
    """
    known = _interfaces()
    for address in known.get(interface, []):
        return address
    has = ", ".join(sorted(known))
    message = (
        f"scheduler.interface: {interface}: {socket.gethostname()} has no such interface with an address; it has {has}"
    )
    raise TrialFailedError(EndReason.NODE_FAILURE, message)


def interface_at(address: str) -> str | None:
    """The interface that has an address."""
    for name, addresses in _interfaces().items():
        if address in addresses:
            return name
    return None


def _interfaces() -> dict[str, list[str]]:
    """The addresses of each interface of this node, those of IPv4 first, without those that only the link knows."""
    import psutil  # not for a trial of one worker

    found = psutil.net_if_addrs()
    return {
        name: [
            each.address
            for family in (socket.AF_INET, socket.AF_INET6)
            for each in found[name]
            if each.family == family and "%" not in each.address
        ]
        for name in found
    }


def announce(meeting: Meeting, path: Path | None, allocation: Allocation) -> None:
    """Tell the other tasks where the first one listens: in a file, or without one by the name of its node.

    Raises:
        TrialFailedError: when there is no file, and the name cannot be resolved.
    """
    if path is not None:
        place = Place(addresses=tuple(_reachable(allocation)), port=meeting.socket.getsockname()[1])
        try:
            replace_file(path, place.to_line())
        except AiperfError as error:
            print(f"warning: {error}; the other nodes look for {allocation.hosts[0]}", file=sys.stderr, flush=True)
        else:
            return
    if not _own_machine(allocation):
        _resolved(allocation.hosts[0])


def _reachable(allocation: Allocation) -> list[str]:
    """The addresses of this node that others may reach: those of the allocation's interface, or of all."""
    known = _interfaces()
    if allocation.interface:
        return known.get(allocation.interface, [])
    every = [address for addresses in known.values() for address in addresses]
    return [address for address in every if not ipaddress.ip_address(address).is_loopback]


def _resolved(host: str) -> list[str]:
    """The addresses of a node's name.

    Raises:
        TrialFailedError: when it has none here.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        message = (
            f"{socket.gethostname()}: the node's name {host} cannot be resolved here ({error.strerror or error}): add it "
            "to the nodes' DNS or /etc/hosts, or let the trial run in a campaign, which needs no names; "
            "scheduler.interface chooses the network then"
        )
        raise TrialFailedError(EndReason.TRIAL_ERROR, message) from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Meeting:
    """The first task's side: greets who comes, until every node is there."""

    def __init__(self, allocation: Allocation, key: Key) -> None:
        """Listen.

        Raises:
            TrialFailedError: when no port is free.
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


def find(allocation: Allocation, key: Key, over: Callable[[], bool], announced: Path | None = None) -> Channel | None:
    """The other tasks' side: look for the first task until it is found, or `over` says to give up.

    Args:
        allocation: this task's.
        key: what proves that both are of one trial.
        over: asked between two tries.
        announced: the file in which the first task says where it listens.

    Raises:
        TrialFailedError: when there is no such file, and the first task's node has a name that cannot be resolved.
    """
    own_machine = _own_machine(allocation)
    named: list[str] = []
    try:
        named = [LOOPBACK] if own_machine else _resolved(allocation.hosts[0])
    except TrialFailedError as failure:
        if announced is None:
            raise
        print(f"warning: {failure}; looking at what its first task wrote to {announced}", file=sys.stderr, flush=True)
    while not over():
        for address in _candidates(named, allocation.ports, announced):
            if over():
                return None
            with suppress(OSError):
                channel = Channel(socket.create_connection(address, timeout=_ANSWER))
                if _is_ours(channel, key, allocation):
                    return channel
                channel.close()
        time.sleep(_PAUSE)
    return None


def _candidates(named: Sequence[str], ports: tuple[int, int], announced: Path | None) -> Iterator[tuple[str, int]]:
    """Where the first task may listen: by the name of its node, over the network that the site chose for names, or else."""
    if announced is not None:
        with suppress(FileNotFoundError, AiperfError, ValidationError):
            place = Place.model_validate_json(read_file(announced, retry_for=0.0))
            for address in dict.fromkeys([*named, *place.addresses]):
                yield address, place.port
    for port in range(ports[0], ports[1] + 1):
        for address in named:
            yield address, port


def dismiss(allocation: Allocation, key: Key, path: Path | None = None) -> None:
    """For a first task that does not run its trial: let the others go, who come within a while.

    Args:
        allocation: this task's.
        key: what proves that all are of one trial.
        path: the file in which the others look for where it listens.
    """
    if len(allocation.hosts) == 1:
        return
    deadline = time.monotonic() + _DISMISSING
    with suppress(TrialFailedError, AiperfError), closing(Meeting(allocation, key)) as meeting:
        announce(meeting, path, allocation)
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
