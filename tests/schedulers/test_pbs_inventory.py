"""Inventory of a PBS complex, on recorded and on invented output of qstat and pbsnodes."""

import pytest

from aiperf_orch.schedulers.pbs.inventory import (
    PbsNode,
    QueueOrServer,
    memory_of,
    nodes_command,
    parse_amount,
    parse_memory,
    parse_nodes,
    parse_queues,
    parse_server,
    parse_walltime,
    queues_command,
    requested_resources,
    shortfalls,
    trials_per_node,
    unit_of,
)
from aiperf_orch.settings.models import PbsSettings
from schedulers.pbs_inventory import make_complex, node_text, queue_text, recorded

pytestmark = pytest.mark.unit


def settings(**fields):
    return PbsSettings.model_validate(fields)


def test_commands():
    assert queues_command() == ["qstat", "-Q", "-f"]
    assert nodes_command() == ["pbsnodes", "-av"]


def test_the_vnodes_of_a_host_are_added_up():
    first, second = parse_nodes(recorded("pbsnodes_av"))
    assert (first.name, first.cpus, first.gpus, first.memory) == ("pbsn1", 8, 2, 24684084)
    assert (second.name, second.cpus, second.gpus, second.memory) == ("pbsn2", 8, 2, 24684084 + (16 << 20))
    assert first.is_usable
    assert (first.queue, second.resources["arch"]) == (None, "linux")


def test_vnodes_of_one_host_with_different_states():
    vnodes = "v0\n     state = free\n     resources_available.host = n1\n     resources_available.model = a\n\n"
    vnodes += "v1\n     state = offline\n     resources_available.host = n1\n     resources_available.model = b\n"
    vnodes += "     queue = gpu\n     queue = other\n"
    (found,) = parse_nodes(vnodes)
    assert (found.name, found.states, found.queue) == ("n1", {"free", "offline"}, "gpu")
    assert (found.cpus, found.gpus, found.memory, found.resources) == (0, 0, 0, {"host": "n1", "model": "a"})
    assert not found.is_usable


def test_text_before_the_first_node_is_skipped():
    assert list(parse_nodes("     state = free\n")) == []
    (found,) = parse_nodes("     state = offline\nn1\n     state = free\n")
    assert (found.name, found.states) == ("n1", {"free"})


def test_the_server_and_its_queue():
    found = make_complex()
    assert (found.name, found.version, found.default_queue) == ("vm", "23.06.06", "workq")
    (workq,) = found.queues.values()
    assert workq.is_true("enabled")
    assert workq.walltime("max") is None
    assert not found.server.is_true("job_history_enable")
    assert [each.name for each in found.nodes_of(found.execution_queues("workq"))] == ["pbsn1", "pbsn2"]


def test_output_without_a_server():
    assert parse_server("no server") == QueueOrServer("unknown", {})


@pytest.mark.parametrize("name", ["workq", "q.1@vm", "a-b", "q" * 101])
def test_names_of_queues(name):
    assert list(parse_queues(queue_text(name))) == [name]


@pytest.mark.parametrize("name", ["", "a b", "-q", "q" * 102, "q;"])
def test_headings_that_are_no_names_of_queues_are_skipped(name):
    assert parse_queues(queue_text(name)) == {}


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        ("free", True),
        ("job-busy", True),
        ("job-exclusive", True),
        ("job-busy,resv-exclusive", True),
        ("offline", False),
        ("down,offline", False),
        ("state-unknown, down", False),
        ("provisioning", False),
        ("something new", False),
    ],
)
def test_nodes_in_service(state, usable):
    (found,) = parse_nodes(node_text("n1", state))
    assert found.is_usable is usable


@pytest.mark.parametrize(
    ("text", "kibibytes"),
    [
        ("24684084kb", 24684084),
        ("8gb", 8 << 20),
        ("3mb", 3 << 10),
        ("1TB", 1 << 30),
        ("1pb", 1 << 40),
        ("2048", 2),
        ("2048b", 2),
        (" 1kb ", 1),
        ("much", None),
        ("1xb", None),
        ("", None),
        ("1" * 19, None),
    ],
)
def test_amounts_of_memory(text, kibibytes):
    assert parse_memory(text) == kibibytes
    assert parse_amount("mem", text) == kibibytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("01:02:03", 3723), ("02:03", 123), ("90", 90), (" 90 ", 90), ("1:2:3:4", None), ("1.5", None), ("", None)],
)
def test_walltimes(text, seconds):
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize(("text", "count"), [("8", 8), (" 8 ", 8), ("8gb", None), ("-1", None), ("", None)])
def test_amounts_of_other_resources(text, count):
    assert parse_amount("ncpus", text) == count


def test_units_of_amounts():
    assert (unit_of("mem"), unit_of("ncpus")) == ("kb", "")


def test_limits_of_a_queue():
    queue = QueueOrServer(
        "q",
        {
            "resources_max.walltime": "02:00:00",
            "resources_min.walltime": "00:01:00",
            "resources_max.mem": "4gb",
            "resources_max.ncpus": "16",
        },
    )
    assert (queue.walltime("max"), queue.walltime("min")) == (7200, 60)
    assert (queue.maximum("mem"), queue.maximum("ncpus"), queue.maximum("ngpus")) == (4 << 20, 16, None)


def test_limits_of_the_server_apply_to_a_queue_without_its_own():
    found = make_complex(
        queue_text("q", resources_max__ncpus="4"),
        "",
        **{"resources_max.ncpus": "8", "resources_max.mem": "1gb", "max_run": "3"},
    )
    queue = found.with_server_limits(found.queues["q"])
    assert (queue.name, queue.maximum("ncpus"), queue.maximum("mem")) == ("q", 4, 1 << 20)
    assert "max_run" not in queue.attributes


def test_destinations_of_a_routing_queue():
    queues = queue_text("route", queue_type="Route", route_destinations="small@vm, big,,gone") + queue_text("small")
    found = make_complex(queues + queue_text("big"), "")
    assert found.queues["route"].destinations == ["small", "big", "gone"]
    assert [each.name for each in found.execution_queues("route")] == ["small", "big"]
    assert [each.name for each in found.execution_queues("big")] == ["big"]
    assert found.execution_queues("gone") == []


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"cpus": 8, "gpus": 4, "memory": "100gb", "chunk": "model=milan"}, []),
        ({"cpus": 8, "chunk": "model=milan:unknown=1:flag"}, []),
        ({"cpus": 9}, ["cpus 9, and it has 8"]),
        ({"cpus": 1, "gpus": 5}, ["gpus 5, and it has 4 (ngpus)"]),
        ({"cpus": 1, "memory": "200gb"}, ["memory 200gb, and it has 102400mb"]),
        ({"cpus": 1, "chunk": "model=rome"}, ["chunk model=rome, and it has milan,zen3"]),
        ({"cpus": 1, "chunk": "model=zen3"}, []),
        ({"cpus": 1, "chunk": "model"}, []),
    ],
)
def test_shortfalls_of_a_node(fields, found):
    (node,) = parse_nodes(node_text("n1", resources_available__ngpus=4, resources_available__model="milan,zen3"))
    assert shortfalls(settings(**fields), node) == found


def test_a_node_without_gpus():
    node = PbsNode("n1", frozenset({"free"}), 8, 0, 64 << 20)
    assert shortfalls(settings(cpus=1), node) == []
    assert shortfalls(settings(cpus=1, gpus=1), node) == ["gpus 1, and it has none (ngpus)"]


@pytest.mark.parametrize(
    ("fields", "trials"),
    [
        ({"cpus": 2, "gpus": 1, "memory": "30gb"}, 3),
        ({"cpus": 2, "gpus": 1}, 4),
        ({"cpus": 1, "gpus": 2}, 2),
        ({"cpus": 3}, 2),
        ({"cpus": 2, "memory": "30gb", "place": "scatter:excl"}, 1),
    ],
)
def test_trials_that_fit_on_a_node(fields, trials):
    (node,) = parse_nodes(node_text("n1", resources_available__ngpus=4))
    assert trials_per_node(settings(**fields), node) == trials


def test_requested_resources_of_a_trial():
    requested = requested_resources(settings(nodes=2, cpus=4, gpus=1, memory="8gb"))
    assert requested == {"nodect": 2, "ncpus": 8, "ngpus": 2, "mem": 16 << 20}
    assert requested_resources(settings(cpus=4)) == {"nodect": 1, "ncpus": 4, "ngpus": 0, "mem": 0}
    assert requested_resources(settings(resources=["nodes=1:ppn=8"])) == {}
    assert memory_of(settings(memory="8gb")) == 8 << 20


def test_nodes_that_serve_a_queue():
    queues = queue_text("gpu", default_chunk__mem="4gb", default_chunk__ncpus="2", default_chunk__Qlist="gpu")
    queues += queue_text("bound") + queue_text("other", default_chunk__Qlist="none")
    nodes = node_text("c1", resources_available__Qlist="cpu")
    nodes += node_text("g1", resources_available__Qlist="gpu,test") + node_text("b1", queue="bound")
    found = make_complex(queues, nodes)
    serving = {name: [each.name for each in found.nodes_of([queue])] for name, queue in found.queues.items()}
    assert serving == {"gpu": ["g1"], "bound": ["c1", "g1", "b1"], "other": []}
    assert [each.name for each in found.nodes_of(found.queues.values())] == ["c1", "g1", "b1"]
