"""Restrictions and shortfalls of a PBS complex become findings with advice."""

from __future__ import annotations

from typing import Any

import pytest

from aiperf_orch.doctor import pbs_checks
from aiperf_orch.doctor.findings import Finding, Level
from aiperf_orch.schedulers.pbs.access_lists import Submitter
from aiperf_orch.schedulers.pbs.inventory import Complex, PbsNode, QueueOrServer
from aiperf_orch.settings.schedulers import PbsSettings

pytestmark = pytest.mark.unit

ME = Submitter("me", "staff", frozenset({"staff"}), frozenset({"login1"}))
QUEUE = {"queue_type": "Execution", "enabled": "True", "started": "True"}


def complex_of(queues: dict[str, dict[str, str]], *nodes: PbsNode, **server: str) -> Complex:
    made = {name: QueueOrServer(name, QUEUE | attributes) for name, attributes in queues.items()}
    return Complex(QueueOrServer("vm", {"default_queue": "workq", **server}), made, nodes)


def node(name: str = "n1", state: str = "free", cpus: int = 8, gpus: int = 2) -> PbsNode:
    return PbsNode(name, frozenset({state}), cpus, gpus, 64 << 20)


def worst(findings: Any) -> Finding:
    return max(findings, key=lambda finding: list(Level).index(finding.level))


@pytest.mark.parametrize(
    ("attributes", "settings", "level", "message", "advice"),
    [
        ({}, {}, Level.OK, "workq: enabled and started, without a time limit", ""),
        ({}, {"queue": "none"}, Level.FAULT, "none: does not exist", "one of workq"),
        ({"enabled": "False"}, {}, Level.FAULT, "accepts no jobs", "wait until it does"),
        ({"started": "False"}, {}, Level.WARNING, "starts no jobs now", "wait until it does"),
        ({"from_route_only": "True"}, {}, Level.FAULT, "only from a routing queue", "set scheduler.queue"),
        (
            {"acl_user_enable": "True", "acl_users": "you"},
            {},
            Level.FAULT,
            "does not contain you (acl_users)",
            "ask for access",
        ),
        (
            {"resources_max.walltime": "01:00:00"},
            {},
            Level.FAULT,
            "its time limit is 1h",
            "scheduler.time_limit: 1h or less",
        ),
        (
            {"resources_min.walltime": "08:00:00"},
            {},
            Level.FAULT,
            "its smallest time limit is 8h",
            "set scheduler.time_limit: 8h",
        ),
        (
            {"resources_max.ncpus": "4"},
            {"cpus": 8},
            Level.FAULT,
            "ncpus 4 per job, and a trial requests 8",
            "scheduler.cpus",
        ),
        ({"resources_max.mem": "4gb"}, {"memory": "8gb"}, Level.FAULT, "mem 4194304kb", "scheduler.memory"),
        ({"resources_max.nodect": "1"}, {"nodes": 2}, Level.FAULT, "nodect 1", "scheduler.nodes"),
    ],
)
def test_the_queue(attributes: Any, settings: Any, level: Level, message: str, advice: str) -> None:
    found = worst(pbs_checks.check_queue(PbsSettings.model_validate(settings), complex_of({"workq": attributes}), ME))
    assert (found.level, found.subject) == (level, "queue")
    assert message in found.message
    assert advice in found.advice


def test_a_routing_queue_is_ok_if_one_of_its_destinations_is() -> None:
    queues = {
        "workq": {"queue_type": "Route", "route_destinations": "short,long"},
        "short": {"resources_max.walltime": "01:00:00"},
        "long": {"resources_max.walltime": "48:00:00"},
    }
    assert worst(pbs_checks.check_queue(PbsSettings(), complex_of(queues), ME)).level is Level.OK
    del queues["long"]
    assert "short: its time limit is 1h" in worst(pbs_checks.check_queue(PbsSettings(), complex_of(queues), ME)).message


@pytest.mark.parametrize(
    ("settings", "nodes", "level", "message", "advice"),
    [
        ({"cpus": 4, "gpus": 1}, [node()], Level.OK, "2 concurrent trials possible", ""),
        ({"cpus": 4}, [node(), node("n2", "offline")], Level.OK, "1 of 2 suitable nodes are in service", ""),
        ({"cpus": 8}, [node()], Level.WARNING, "1 concurrent trials possible", "set campaign.concurrency: 1"),
        ({"nodes": 3}, [node(), node("n2")], Level.FAULT, "a trial needs 3", "set scheduler.nodes: 2 or less"),
        ({"nodes": 2}, [node(), node("n2", "down")], Level.FAULT, "a trial needs 2", "pbsnodes -l"),
        ({"gpus": 4}, [node()], Level.FAULT, "gpus 4, and it has 2", "request less"),
        ({"gpus": 1}, [node(gpus=0)], Level.FAULT, "gpus 1, and it has none (ngpus)", "scheduler.chunk or resources"),
        ({"resources": ["nodes=1:ppn=2"]}, [node()], Level.OK, "was not compared", ""),
    ],
)
def test_the_nodes(settings: Any, nodes: list[PbsNode], level: Level, message: str, advice: str) -> None:
    found = worst(pbs_checks.check_nodes(PbsSettings.model_validate(settings), 2, complex_of({"workq": {}}, *nodes)))
    assert (found.level, found.subject) == (level, "nodes")
    assert message in found.message
    assert advice in found.advice


def test_limits_of_a_user() -> None:
    queues = {"workq": {"max_run": "[u:PBS_GENERIC=2]", "max_queued": "[u:PBS_GENERIC=4]"}}
    lines = [
        (each.level, each.message) for each in pbs_checks.check_limits(PbsSettings(cpus=8), 4, complex_of(queues), ME)
    ]
    assert [level for level, _ in lines] == [Level.WARNING, Level.WARNING]
    assert "queue workq: allows 2 running jobs of yours (max_run = 2)" in lines[0][1]
    assert (
        "allows 4 jobs of yours in the queue (max_queued = 4), and the campaign has 4 trials and 1 pending"
        in lines[1][1]
    )
    never = complex_of({"workq": {}}, **{"max_run_res.ncpus": "[u:PBS_GENERIC=4]"})
    message = "server vm: no trial would ever run: max_run_res.ncpus = 4, and a job asks for 8"
    assert [each.message for each in pbs_checks.check_limits(PbsSettings(cpus=8), 4, never, ME)] == [message]
    assert [each.level for each in pbs_checks.check_limits(PbsSettings(), 4, complex_of({"workq": {}}), ME)] == [
        Level.OK
    ]


def test_a_limit_of_the_queue_replaces_the_limit_of_the_server() -> None:
    limit = {"resources_max.walltime": "01:00:00"}
    found = worst(pbs_checks.check_queue(PbsSettings(), complex_of({"workq": {}}, **limit), ME))
    assert "workq: its time limit is 1h" in found.message
    queues = {"workq": {"resources_max.walltime": "08:00:00"}}
    assert worst(pbs_checks.check_queue(PbsSettings(), complex_of(queues, **limit), ME)).level is Level.OK


def test_access_lists_of_server_hosts_and_routing_destinations() -> None:
    barred = complex_of({"workq": {}}, acl_user_enable="True", acl_users="you")
    assert (
        "access list of the server does not contain you"
        in worst(pbs_checks.check_queue(PbsSettings(), barred, ME)).message
    )
    hosts = complex_of({"workq": {"acl_host_enable": "True", "acl_hosts": "*.example.org"}})
    found = list(pbs_checks.check_queue(PbsSettings(), hosts, ME))
    assert [each.level for each in found] == [Level.OK, Level.WARNING]  # PBS may know this host by that name
    assert "does not contain login1" in found[1].message
    queues = {
        "workq": {"queue_type": "Route", "route_destinations": "vip"},
        "vip": {"acl_group_enable": "True", "acl_groups": "vips"},
    }
    assert (
        "vip: its access list does not contain you (acl_groups)"
        in worst(pbs_checks.check_queue(PbsSettings(), complex_of(queues), ME)).message
    )


def test_a_server_without_a_job_history_is_a_warning() -> None:
    assert pbs_checks.check_history(complex_of({})).level is Level.WARNING
    kept = complex_of({}, job_history_enable="True", job_history_duration="336:00:00")
    assert "for 14d" in pbs_checks.check_history(kept).message
