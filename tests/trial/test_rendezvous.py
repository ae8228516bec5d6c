"""Rendezvous: followers connect to rank 0 of their own run, also where other processes listen or connect."""

import socket
import threading
import time
from contextlib import closing

import pytest

from aiperf_orch.records.base import EndReason
from aiperf_orch.trial.runtime import interfaces, rendezvous
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.messages import Command
from aiperf_orch.trial.runtime.rendezvous import RendezvousServer, TrialKey
from aiperf_orch.trial.runtime.trainer import TrialFailedError

SPEC = "0" * 64
DEADLINE = 60  # seconds


@pytest.fixture
def ports():
    """A range of ports whose first one is used by a process with another protocol."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def greet():
            try:
                while True:
                    with other.accept()[0] as client:
                        client.sendall(b"220 mail at your service\n")
            except OSError:
                return

        threading.Thread(target=greet, daemon=True).start()
        yield f"{port}-{min(port + 50, 65535)}"
        other.shutdown(socket.SHUT_RDWR)


def allocation_of(rank, ports, *, host="localhost", interface="lo", workers=1):
    """Allocation of a task on one of two nodes with the same host name."""
    variables = {"HOSTS": f"{host},{host}", "RANK": rank, "PORTS": ports, "INTERFACE": interface, "WORKERS": workers}
    return Allocation.from_environment({f"AIPERF_ORCH_{name}": str(value) for name, value in variables.items()})


def connecting(allocation, key, channels, address_file=None):
    """Start a thread in which a follower connects; return the thread and an event that cancels it."""
    cancelled = threading.Event()

    def connect():
        channels.append(rendezvous.connect(allocation, key, cancelled.is_set, address_file))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    return thread, cancelled


def test_a_follower_connects_to_its_own_run_among_others(ports):
    own_key, other_key = TrialKey(SPEC, 1, "job1", 0), TrialKey(SPEC, 1, "job2", 0)
    channels, foreign_channels = [], []
    foreign = RendezvousServer(allocation_of(0, ports), other_key)
    server = RendezvousServer(allocation_of(0, ports), own_key)
    own, _ = connecting(allocation_of(1, ports, workers=3), own_key, channels)
    stranger, cancelled = connecting(allocation_of(1, ports), TrialKey("1" * 64, 1, "job1", 0), foreign_channels)
    port = server.socket.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as scanner:
        scanner.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while own.is_alive() or server.missing:
            server.wait(0.05)
            foreign.wait(0.05)
    cancelled.set()
    while stranger.is_alive():
        server.wait(0.05)
        foreign.wait(0.05)
    assert foreign_channels == [None]
    assert foreign.missing == {1}
    (channel,) = channels
    control, workers = server.followers[1]
    assert workers == 3
    control.send(Command(action="run_epoch", epoch=7).to_line())
    assert Command.model_validate_json(channel.next_line(DEADLINE)).epoch == 7
    control.close()
    assert channel.next_line(DEADLINE) == b""
    assert channel.broken
    server.close()
    foreign.close()


def test_a_follower_waits_for_a_busy_rank_0_to_complete_the_handshake(ports, monkeypatch):
    key, channels = TrialKey(SPEC, 1, "job1", 0), []
    monkeypatch.setattr(rendezvous, "_HANDSHAKE_TIMEOUT", 0.2)
    server = RendezvousServer(allocation_of(0, ports), key)
    thread, cancelled = connecting(allocation_of(1, ports), key, channels)
    while not server._nonces:
        server.wait(0.05)
    time.sleep(0.5)  # without an answer
    while server.missing:
        server.wait(0.05)
    control, _ = server.followers[1]
    control.send(Command(action="run_epoch", epoch=7).to_line())
    thread.join(DEADLINE)
    cancelled.set()
    assert channels
    assert Command.model_validate_json(channels[0].next_line(DEADLINE)).epoch == 7
    server.close()


def test_rank_0_without_the_attempt_releases_its_followers(ports):
    key, channels = TrialKey(SPEC, 1, "job1", 0), []
    thread, _ = connecting(allocation_of(1, ports), key, channels)
    rendezvous.release_followers(allocation_of(0, ports), key)
    thread.join(DEADLINE)
    assert Command.model_validate_json(channels[0].next_line(DEADLINE)).action == "stop"


# host names


def allocation_on(rank, ports, host="node1"):
    """Allocation of two nodes with this host name that communicate on all interfaces."""
    return allocation_of(rank, ports, host=host, interface="")


def getaddrinfo_with(addresses):
    """Replacement for `getaddrinfo` that resolves the host name node1 to these addresses."""
    real = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **options):
        if host == "node1" and not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(addresses[0] if host == "node1" else host, *arguments, **options)

    return getaddrinfo


def connect_two(ports, address_file=None):
    """Connect the follower of a trial on two nodes named node1; return its channel."""
    key, channels = TrialKey(SPEC, 1, "job1", 0), []
    first = allocation_on(0, ports)
    with closing(RendezvousServer(first, key)) as server:
        rendezvous.publish_address(server, address_file, first)
        thread, _ = connecting(allocation_on(1, ports), key, channels, address_file)
        deadline = time.monotonic() + DEADLINE
        while server.missing and time.monotonic() < deadline:
            server.wait(0.05)
        thread.join(DEADLINE)
        assert not server.missing
    return channels[0]


def test_nodes_without_resolvable_names_connect_by_the_address_file(ports, monkeypatch, tmp_path):
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo_with([]))
    channel = connect_two(ports, tmp_path / "address.json")
    assert interfaces.interface_at(channel.own_address)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_nodes_connect_by_names_that_resolve_to_ipv6_only(ports, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo_with(["::1"]))
    channel = connect_two(ports)
    assert channel.own_address == "::1"
    assert interfaces.interface_at("::1") == "lo"


def test_an_unresolvable_name_fails_at_once_without_a_campaign(ports, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo_with([]))
    message = r"the node's name node1 cannot be resolved here .* /etc/hosts, .* scheduler.interface"
    key = TrialKey(SPEC, 1, "job1", 0)
    with pytest.raises(TrialFailedError, match=message) as caught:
        rendezvous.connect(allocation_on(1, ports), key, lambda: False)
    assert caught.value.reason is not EndReason.NODE_FAILURE
    first = allocation_on(0, ports)
    with closing(RendezvousServer(first, key)) as server, pytest.raises(TrialFailedError, match=message):
        rendezvous.publish_address(server, None, first)


# interfaces and ports


def test_the_error_for_a_missing_interface_lists_the_existing_ones(ports):
    with pytest.raises(TrialFailedError, match=r"scheduler.interface: ib7: .* has no such interface .*; it has .*lo"):
        interfaces.listen("ib7", allocation_of(0, ports).ports)


def test_the_error_without_a_free_port_names_the_setting():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TrialFailedError, match=rf"scheduler.ports: {port} to {port}: no port is free"):
            interfaces.listen("lo", (port, port))
