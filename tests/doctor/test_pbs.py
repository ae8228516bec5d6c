"""What a PBS complex forbids or lacks becomes a line that says so, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from aiperf_orch.config_schedulers import PbsSettings
from aiperf_orch.doctor import pbs
from aiperf_orch.doctor.findings import Finding, Level
from aiperf_orch.schedulers.pbs.site import Complex, Node, Place

QUEUE = {"queue_type": "Execution", "enabled": "True", "started": "True"}


def complex_of(queues: dict[str, dict[str, str]], *nodes: Node, **server: str) -> Complex:
    places = {name: Place(name, QUEUE | attributes) for name, attributes in queues.items()}
    return Complex(Place("vm", {"default_queue": "workq", **server}), places, nodes)


def node(name: str = "n1", state: str = "free", cpus: int = 8, gpus: int = 2) -> Node:
    return Node(name, frozenset({state}), cpus, gpus, 64 << 20)


def worst(findings: Any) -> Finding:
    return max(findings, key=lambda finding: list(Level).index(finding.level))


@pytest.mark.parametrize(
    ("attributes", "settings", "level", "message", "advice"),
    [
        ({}, {}, Level.OK, "workq: enabled and started, jobs may take any time", ""),
        ({}, {"queue": "none"}, Level.FAULT, "none: there is none here", "one of workq"),
        ({"enabled": "False"}, {}, Level.FAULT, "takes no jobs", "wait for it"),
        ({"started": "False"}, {}, Level.WARNING, "starts no jobs now", "wait for it"),
        ({"from_route_only": "True"}, {}, Level.FAULT, "from a routing queue only", "set scheduler.queue"),
        ({"acl_user_enable": "True", "acl_users": "you"}, {}, Level.FAULT, "not among its users", "ask for access"),
        (
            {"resources_max.walltime": "01:00:00"},
            {},
            Level.FAULT,
            "a job may take 1h",
            "scheduler.time_limit: 1h or less",
        ),
        ({"resources_min.walltime": "08:00:00"}, {}, Level.FAULT, "at least", "set scheduler.time_limit: 8h"),
        ({"resources_max.ncpus": "4"}, {"cpus": 8}, Level.FAULT, "ncpus 4, and a trial asks for 8", "scheduler.cpus"),
        ({"resources_max.mem": "4gb"}, {"memory": "8gb"}, Level.FAULT, "mem 4194304kb", "scheduler.memory"),
        ({"resources_max.nodect": "1"}, {"nodes": 2}, Level.FAULT, "nodect 1", "scheduler.nodes"),
    ],
)
def test_the_queue(attributes: Any, settings: Any, level: Level, message: str, advice: str) -> None:
    found = worst(pbs.judge_queue(PbsSettings.model_validate(settings), complex_of({"workq": attributes}), "me"))
    assert (found.level, found.subject) == (level, "queue")
    assert message in found.message
    assert advice in found.advice


def test_a_routing_queue_is_good_when_one_of_its_destinations_is() -> None:
    queues = {
        "workq": {"queue_type": "Route", "route_destinations": "short,long"},
        "short": {"resources_max.walltime": "01:00:00"},
        "long": {"resources_max.walltime": "48:00:00"},
    }
    assert worst(pbs.judge_queue(PbsSettings(), complex_of(queues), "me")).level is Level.OK
    del queues["long"]
    assert "short: a job may take 1h" in worst(pbs.judge_queue(PbsSettings(), complex_of(queues), "me")).message


@pytest.mark.parametrize(
    ("settings", "nodes", "level", "message", "advice"),
    [
        ({"cpus": 4, "gpus": 1}, [node()], Level.OK, "room for 2 trials at once", ""),
        ({"cpus": 4}, [node(), node("n2", "offline")], Level.OK, "1 of 2 that fit a trial are in service", ""),
        ({"cpus": 8}, [node()], Level.WARNING, "room for 1 trials at once", "set campaign.concurrency: 1"),
        ({"nodes": 3}, [node(), node("n2")], Level.FAULT, "a trial needs 3", "set scheduler.nodes: 2 or less"),
        ({"nodes": 2}, [node(), node("n2", "down")], Level.FAULT, "a trial needs 2", "pbsnodes -l"),
        ({"gpus": 4}, [node()], Level.FAULT, "gpus 4, and it has 2", "ask for less"),
        ({"gpus": 1}, [node(gpus=0)], Level.FAULT, "gpus 1, and it has none (ngpus)", "scheduler.chunk or resources"),
        ({"resources": ["nodes=1:ppn=2"]}, [node()], Level.OK, "was not compared", ""),
    ],
)
def test_the_nodes(settings: Any, nodes: list[Node], level: Level, message: str, advice: str) -> None:
    found = worst(pbs.judge_nodes(PbsSettings.model_validate(settings), 2, complex_of({"workq": {}}, *nodes)))
    assert (found.level, found.subject) == (level, "nodes")
    assert message in found.message
    assert advice in found.advice


def test_limits_of_a_user_and_of_the_server() -> None:
    queues = {"workq": {"max_run": "[u:PBS_GENERIC=2]", "max_queued": "[u:PBS_GENERIC=4]"}}
    found = complex_of(queues, **{"resources_max.walltime": "01:00:00"})
    lines = [(each.level, each.message) for each in pbs.judge_limits(PbsSettings(), 4, found, "me")]
    assert [level for level, _ in lines] == [Level.FAULT, Level.WARNING, Level.WARNING]
    assert "server vm: a job may take 1h" in lines[0][1]
    assert "queue workq: 2 jobs of a user run at once" in lines[1][1]
    assert "4 jobs of a user may be in the queue, and 4 trials and 1 waiting" in lines[2][1]
    assert [each.level for each in pbs.judge_limits(PbsSettings(), 4, complex_of({"workq": {}}), "me")] == [Level.OK]


def test_a_server_without_a_history_is_told() -> None:
    assert pbs.judge_history(complex_of({})).level is Level.WARNING
    kept = complex_of({}, job_history_enable="True", job_history_duration="336:00:00")
    assert "for 14d" in pbs.judge_history(kept).message
