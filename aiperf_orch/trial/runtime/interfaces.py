"""Network interfaces and sockets of this node: addresses by interface, listening on the first free port, host names."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from aiperf_orch.records.base import EndReason
from aiperf_orch.trial.runtime.trainer import TrialFailedError

LOOPBACK: Final = "127.0.0.1"
_BACKLOG: Final = 128


def listen(interface: str | None, ports: Sequence[int]) -> socket.socket:
    """Return a socket that listens on the first free port.

    Args:
        interface: Network interface whose address is used; None to listen on all.
        ports: First and last port.

    Raises:
        TrialFailedError: No port is free, or the interface does not exist.
    """
    address = address_of(interface) if interface else ""
    for port in range(ports[0], ports[1] + 1):
        with suppress(OSError):
            return _listen_on(address, port)
    setting = f"scheduler.ports: {ports[0]} to {ports[1]}"
    raise TrialFailedError(EndReason.NODE_FAILURE, f"{setting}: no port is free on {socket.gethostname()}")


def _listen_on(address: str, port: int) -> socket.socket:
    if not address and socket.has_dualstack_ipv6():
        with suppress(OSError):  # the kernel may have IPv6 switched off
            return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=_BACKLOG)


def address_of(interface: str) -> str:
    """Return the address of an interface, the IPv4 address if it has one.

    Raises:
        TrialFailedError: The interface does not exist, or has no address.
    """
    known = _addresses()
    if known.get(interface):
        return known[interface][0]
    raise TrialFailedError(
        EndReason.NODE_FAILURE,
        f"scheduler.interface: {interface}: {socket.gethostname()} has no such interface with an address; "
        f"it has {', '.join(sorted(known))}",
    )


def interface_at(address: str) -> str | None:
    """Return the interface that has an address; None if no interface has."""
    return next((name for name, addresses in _addresses().items() if address in addresses), None)


def reachable_addresses(interface: str | None) -> list[str]:
    """Return the addresses under which other nodes may reach this one.

    Args:
        interface: Network interface whose addresses are returned; None for those of all but loopback interfaces.
    """
    known = _addresses()
    if interface:
        return known.get(interface, [])
    return [
        address
        for addresses in known.values()
        for address in addresses
        if not ipaddress.ip_address(address).is_loopback
    ]


def resolve(host: str) -> list[str]:
    """Return the addresses of a host name.

    Raises:
        TrialFailedError: The name cannot be resolved on this node.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        message = (
            f"{socket.gethostname()}: the node's name {host} cannot be resolved here ({error.strerror or error}): add "
            "it to the nodes' DNS or /etc/hosts, or run the trial in a campaign, which needs no names; "
            "scheduler.interface then chooses the network"
        )
        raise TrialFailedError(EndReason.TRIAL_ERROR, message) from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _addresses() -> dict[str, list[str]]:
    """Addresses of each interface, IPv4 first, without link-local addresses that need a scope."""
    import psutil  # not loaded for a trial with one worker

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
