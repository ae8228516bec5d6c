"""Drained nodes: which names are of one node, what a request changes, and which attempts leave."""

from datetime import timedelta

import pytest

from aiperf_orch.campaign.drained_nodes import DrainedNodes, is_same_node, must_leave, nodes_to_change
from aiperf_orch.campaign.workforce import AgentState
from aiperf_orch.records.journal import Drained
from aiperf_orch.records.requests import DrainRequest
from aiperf_orch.records.workforce import AgentRecord
from controller.builders import NOW, attempt_state

pytestmark = pytest.mark.unit


def entry(*nodes, number=0, **fields):
    """A journal entry that drains nodes."""
    return Drained(
        seq=number, time=NOW + timedelta(seconds=number), generation=1, prev="0" * 64,
        request=f"{number:016x}", user="ann", host="login1", nodes=list(nodes), **fields,
    )  # fmt: skip


def drained(*entries):
    """The drained nodes after entries: `n1`, `n1!` where running trials leave it, `-n1` where that is undone."""
    found = DrainedNodes()
    for number, text in enumerate(entries):
        found.apply(entry(text.strip("-!"), number=number, now="!" in text, undo="-" in text))
    return found


def request(*nodes, **fields):
    return DrainRequest(id="f" * 16, user="ann", host="login1", time=NOW, nodes=list(nodes), **fields)


def agents(*hosts):
    """Agents of hosts: `n1.1` of n1."""
    return {
        f"{host}.1": AgentState(
            AgentRecord(agent=f"{host}.1", job="7", host=host, slots=2, cores=2, gpus=0, core_ids=[], time=NOW)
        )
        for host in hosts
    }


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("n1", "n1", True),
        ("n1", "N1", True),
        ("n1", "n1.cluster.example", True),
        ("n1.cluster.example", "n1", True),
        ("n1", "n10", False),
        ("n1.east.example", "n1.west.example", False),
        ("host-1", "host-10", False),
    ],
)
def test_a_node_has_a_short_and_a_long_name(one, other, same):
    assert is_same_node(one, other) is same


@pytest.mark.parametrize(
    ("before", "asked", "changed"),
    [
        ([], request("n1", "n2", "n1"), ["n1", "n2"]),
        (["n1"], request("n1", "n2"), ["n2"]),
        (["n1"], request("n1", now=True), ["n1"]),
        (["n1!"], request("n1"), []),
        (["n1!"], request("n1", now=True), []),
        (["n1"], request("n1.cluster.example", undo=True), ["n1.cluster.example"]),
        (["n1", "-n1"], request("n1", undo=True), []),
    ],
)
def test_a_request_changes_only_what_is_not_as_it_demands(before, asked, changed):
    assert nodes_to_change(drained(*before), asked) == changed


def test_nodes_are_drained_until_that_is_undone():
    found = drained("n1", "n2!", "-n1.cluster.example", "n3", "n3!")
    assert [(node, each.now) for node, each in found.entries.items()] == [("n2", True), ("n3", True)]
    assert len(found.requests) == 5


@pytest.mark.parametrize(
    ("nodes", "began", "job", "flagged", "leaves"),
    [
        pytest.param([], True, "7", False, False, id="nothing is drained"),
        pytest.param(
            ["n1", "-n1"], False, "7", True, True, id="a job that excludes a node that is back leaves the queue"
        ),
        pytest.param(["n1"], True, "7", False, False, id="a running trial goes on"),
        pytest.param(["n1!"], True, "7", False, True, id="a running trial leaves at once"),
        pytest.param(["n2!"], True, "7", False, False, id="a trial on another node goes on"),
        pytest.param(["n2"], False, "7", True, True, id="a job that could get the node leaves the queue"),
        pytest.param(["n2"], False, "7", False, False, id="a job that excludes the node stays"),
        pytest.param(["n2"], False, None, True, False, id="a job without an id is not cancelled yet"),
        pytest.param(["n1"], False, "n1.1", True, True, id="a trial that waits on an agent there leaves"),
        pytest.param(["n2"], False, "n1.1", True, False, id="a trial that waits on another agent stays"),
        pytest.param(["n2"], False, "n1.1,n2.1", True, True, id="a trial of two nodes leaves both"),
        pytest.param(["n1!", "-n1"], True, "7", False, False, id="nothing leaves when it is undone"),
    ],
)
def test_which_attempts_leave(nodes, began, job, flagged, leaves):
    attempt = attempt_state(job=job, began=began, nodes_changed=flagged)
    assert must_leave(drained(*nodes), attempt, agents("n1", "n2")) is leaves
