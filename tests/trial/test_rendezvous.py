"""How the tasks of a trial find each other, among others that listen or come."""

import socket
import threading
import time
from contextlib import closing

import pytest

from aiperf_orch.records.base import EndReason
from aiperf_orch.trial.runtime import rendezvous
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.messages import Order
from aiperf_orch.trial.runtime.rendezvous import Key, Meeting
from aiperf_orch.trial.runtime.trainer import TrialFailedError

SPEC = "0" * 64


@pytest.fixture
def ports():
    """A range of ports of which the first is taken by something that says nothing we know."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def greet():
            try:
                while True:
                    with other.accept()[0] as guest:
                        guest.sendall(b"220 mail at your service\n")
            except OSError:
                return

        threading.Thread(target=greet, daemon=True).start()
        yield f"{port}-{min(port + 50, 65535)}"
        other.shutdown(socket.SHUT_RDWR)


def task(rank, ports, workers=1):
    told = {"HOSTS": "localhost,localhost", "RANK": rank, "PORTS": ports, "INTERFACE": "lo", "WORKERS": workers}
    return Allocation.from_environment({f"AIPERF_ORCH_{name}": str(value) for name, value in told.items()})


def looking(allocation, key, found):
    """A thread in which a task looks for the first one."""
    over = threading.Event()
    thread = threading.Thread(target=lambda: found.append(rendezvous.find(allocation, key, over.is_set)))
    thread.start()
    return thread, over


def test_a_task_finds_its_own_trial_on_a_node_where_others_listen(ports):
    ours, theirs = Key(SPEC, 1, "job1", 0), Key(SPEC, 1, "job2", 0)
    found, wrong = [], []
    foreign = Meeting(task(0, ports), theirs)
    meeting = Meeting(task(0, ports), ours)
    own, _ = looking(task(1, ports, workers=3), ours, found)
    stranger, over = looking(task(1, ports), Key("1" * 64, 1, "job1", 0), wrong)
    port = meeting.socket.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as scanner:
        scanner.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while own.is_alive() or meeting.missing:
            meeting.wait(0.05)
            foreign.wait(0.05)
    over.set()
    while stranger.is_alive():
        meeting.wait(0.05)
        foreign.wait(0.05)
    assert wrong == [None]
    assert foreign.missing == {1}
    (channel,) = found
    their_end, workers = meeting.found[1]
    assert workers == 3
    their_end.send(Order(do="epoch", epoch=7).to_line())
    assert Order.model_validate_json(channel.next_line(60)).epoch == 7
    their_end.close()
    assert channel.next_line(60) == b""
    assert channel.broken
    meeting.close()
    foreign.close()


def test_a_task_that_was_greeted_is_still_there_when_a_busy_first_task_lets_it_in(ports, monkeypatch):
    key, found = Key(SPEC, 1, "job1", 0), []
    monkeypatch.setattr(rendezvous, "_ANSWER", 0.2)
    meeting = Meeting(task(0, ports), key)
    thread, over = looking(task(1, ports), key, found)
    while not meeting._greeted:
        meeting.wait(0.05)
    time.sleep(0.5)  # and hears nothing meanwhile
    while meeting.missing:
        meeting.wait(0.05)
    their_end, _ = meeting.found[1]
    their_end.send(Order(do="epoch", epoch=7).to_line())
    thread.join(60)
    over.set()
    assert found
    assert Order.model_validate_json(found[0].next_line(60)).epoch == 7
    meeting.close()


def test_a_first_task_that_does_not_run_its_trial_lets_the_others_go(ports):
    key, found = Key(SPEC, 1, "job1", 0), []
    thread, _ = looking(task(1, ports), key, found)
    rendezvous.dismiss(task(0, ports), key)
    thread.join(60)
    assert Order.model_validate_json(found[0].next_line(60)).do == "end"


def on_nodes(rank, ports, name):
    """A task of an allocation of two nodes of this name, which meet on all interfaces."""
    told = {"HOSTS": f"{name},{name}", "RANK": rank, "PORTS": ports}
    return Allocation.from_environment({f"AIPERF_ORCH_{key}": str(value) for key, value in told.items()})


def resolving(addresses):
    """Stands in for `getaddrinfo`: node names are known by these addresses only."""
    real = socket.getaddrinfo

    def resolve(host, *arguments, **options):
        if host == "node1" and not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(addresses[0] if host == "node1" else host, *arguments, **options)

    return resolve


def meet(allocation, key, *others, announced=None):
    """Let one other task find the first; returns its channel."""
    found = []
    with closing(Meeting(allocation, key)) as meeting:
        rendezvous.announce(meeting, announced, allocation)
        thread = threading.Thread(
            target=lambda: found.append(rendezvous.find(others[0], key, lambda: False, announced)), daemon=True
        )
        thread.start()
        deadline = time.monotonic() + 60
        while meeting.missing and time.monotonic() < deadline:
            meeting.wait(0.05)
        thread.join(60)
        assert not meeting.missing
    return found[0]


def test_nodes_whose_names_nobody_resolves_meet_by_what_the_first_wrote(ports, monkeypatch, tmp_path):
    monkeypatch.setattr(socket, "getaddrinfo", resolving([]))
    first, second = on_nodes(0, ports, "node1"), on_nodes(1, ports, "node1")
    channel = meet(first, Key(SPEC, 1, "job1", 0), second, announced=tmp_path / "meeting.json")
    assert rendezvous.interface_at(channel.own_address)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
def test_nodes_whose_names_are_known_by_ipv6_only_meet(ports, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", resolving(["::1"]))
    channel = meet(on_nodes(0, ports, "node1"), Key(SPEC, 1, "job1", 0), on_nodes(1, ports, "node1"))
    assert channel.own_address == "::1"
    assert rendezvous.interface_at("::1") == "lo"


def test_without_a_campaign_a_name_that_nobody_resolves_is_said_at_once(ports, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", resolving([]))
    wrong = r"the node's name node1 cannot be resolved here .* /etc/hosts, .* scheduler.interface"
    key = Key(SPEC, 1, "job1", 0)
    with pytest.raises(TrialFailedError, match=wrong) as caught:
        rendezvous.find(on_nodes(1, ports, "node1"), key, lambda: False)
    assert caught.value.reason is not EndReason.NODE_FAILURE
    with closing(Meeting(on_nodes(0, ports, "node1"), key)) as meeting, pytest.raises(TrialFailedError, match=wrong):
        rendezvous.announce(meeting, None, on_nodes(0, ports, "node1"))


def test_an_interface_that_is_not_there_is_named_with_those_that_are(ports):
    with pytest.raises(TrialFailedError, match=r"scheduler.interface: ib7: .* has no such interface .*; it has .*lo"):
        rendezvous.listen("ib7", task(0, ports).ports)


def test_without_a_free_port_the_setting_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TrialFailedError, match=rf"scheduler.ports: {port} to {port}: none is free"):
            rendezvous.listen("lo", (port, port))


@pytest.mark.parametrize(
    ("variables", "workers"),
    [
        ({"AIPERF_ORCH_WORKERS": "4", "CUDA_VISIBLE_DEVICES": "0,1"}, 4),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, 2),
        ({"CUDA_VISIBLE_DEVICES": "MIG-1a,MIG-2b,GPU-3c"}, 3),
        ({"CUDA_VISIBLE_DEVICES": ""}, 1),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 1),
    ],
)
def test_a_node_has_as_many_workers_as_told_else_one_for_each_gpu(variables, workers):
    assert Allocation.from_environment(variables).workers == workers
