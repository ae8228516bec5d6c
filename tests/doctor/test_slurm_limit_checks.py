"""Limits of Slurm's accounting are compared with the needs of a campaign; gaps in the comparison are reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aiperf_orch.doctor.findings import Finding, Level
from aiperf_orch.doctor.slurm_limit_checks import check_limits
from aiperf_orch.schedulers.slurm.accounting_limits import Account, Association, Limit, LimitKind, Qos
from aiperf_orch.schedulers.slurm.inventory import Cluster, NodeGroup, Partition
from aiperf_orch.settings.schedulers import SlurmSettings

pytestmark = pytest.mark.unit

CONFIG = {"AccountingStorageEnforce": "associations,limits,qos"}
CLUSTER = Cluster(
    CONFIG,
    (Partition("main", True, "UP", None, None),),
    (NodeGroup("main", "idle", 4, 16, 64000, {"a100": 4}),),
    (Association("physics", "", ("normal", "few"), "normal"),),
    (Qos("normal"), Qos("few")),
    accounts={
        "physics": Account("physics", "science"),
        "science": Account("science", "root"),
        "root": Account("root", ""),
    },
    default_account="physics",
)
TRIAL = {"cpus_per_task": 4, "memory": "8G", "gpus_per_node": 1, "gpu_type": "a100"}


def findings(cluster: Cluster = CLUSTER, concurrency: int = 16, **settings: Any) -> list[Finding]:
    chosen = SlurmSettings.model_validate(TRIAL | settings)
    return list(check_limits(chosen, concurrency, 12 * 3600.0, cluster, ["main"]))


def of_account(name: str, *limits: tuple[str, LimitKind, float, str]) -> Cluster:
    found = tuple(Limit(f"account {name}", each, kind, amount, resource) for each, kind, amount, resource in limits)
    return replace(CLUSTER, accounts={**CLUSTER.accounts, name: replace(CLUSTER.accounts[name], limits=found)})


def test_without_limits_the_finding_is_ok_and_names_their_holders() -> None:
    [finding] = findings()
    assert (finding.level, finding.subject) == (Level.OK, "limits")
    assert finding.message == "account physics, science and root above it, and QOS normal allow 16 concurrent trials"


@pytest.mark.parametrize("account", ["physics", "science", "root"])
@pytest.mark.parametrize(
    ("name", "kind", "amount", "resource", "level", "message"),
    [
        (
            "GrpJobs",
            LimitKind.RUNNING,
            7,
            "",
            Level.WARNING,
            "allows 7 concurrent trials, and campaign.concurrency is 16",
        ),
        ("GrpJobs", LimitKind.RUNNING, 16, "", Level.OK, "allow 16 concurrent trials"),
        ("GrpJobs", LimitKind.RUNNING, 0, "", Level.FAULT, "no trial would ever run"),
        (
            "GrpSubmitJobs",
            LimitKind.QUEUED,
            16,
            "",
            Level.WARNING,
            "allows 16 jobs in the queue, and the campaign has 16 trials and 1 pending",
        ),
        ("GrpSubmitJobs", LimitKind.QUEUED, 17, "", Level.OK, "allow 16 concurrent trials"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 12, "cpu", Level.WARNING, "GrpTRES=cpu=12 of account"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 12, "cpu", Level.WARNING, "allows 3 concurrent trials"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 3, "cpu", Level.FAULT, "no trial would ever run: one requests 4"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 65536, "mem", Level.WARNING, "allows 8 concurrent trials"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 5, "gres/gpu", Level.WARNING, "allows 5 concurrent trials"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 5, "gres/gpu:a100", Level.WARNING, "allows 5 concurrent trials"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 2, "node", Level.WARNING, "allows 8 concurrent trials"),
        (
            "GrpTRES",
            LimitKind.RUNNING_RESOURCE,
            1e6,
            "billing",
            Level.WARNING,
            "not known: how much a trial takes of GrpTRES=billing",
        ),
        ("GrpTRESRunMins", LimitKind.RUNNING_MINUTES, 4800, "cpu", Level.WARNING, "allows 5 concurrent trials"),
        ("GrpTRESMins", LimitKind.BUDGET, 1000, "cpu", Level.WARNING, "the campaign may use 46080"),
        (
            "GrpTRESMins",
            LimitKind.BUDGET,
            1e9,
            "cpu",
            Level.WARNING,
            "not known: how much is left of GrpTRESMins=cpu=1e+09",
        ),
        ("GrpWall", LimitKind.BUDGET, 60, "", Level.WARNING, "the campaign may use 11520"),
    ],
)
def test_limits_of_account_and_parent_accounts(
    account: str, name: str, kind: LimitKind, amount: float, resource: str, level: Level, message: str
) -> None:
    found = findings(of_account(account, (name, kind, amount, resource)))
    assert {finding.subject for finding in found} == {"limits"}
    assert level in {finding.level for finding in found}
    assert any(message in finding.message for finding in found), found
    if level is not Level.OK:
        assert Level.OK not in {finding.level for finding in found}
        assert any(f"account {account}" in finding.message for finding in found)


@pytest.mark.parametrize(
    ("name", "kind", "amount", "resource", "level", "message"),
    [
        (
            "MaxJobsPerUser",
            LimitKind.RUNNING,
            3,
            "",
            Level.WARNING,
            "MaxJobsPerUser=3 of QOS few: allows 3 concurrent trials",
        ),
        ("MaxTRESPerUser", LimitKind.RUNNING_RESOURCE, 8, "cpu", Level.WARNING, "allows 2 concurrent trials"),
        ("MaxTRESPerAccount", LimitKind.RUNNING_RESOURCE, 2, "gres/gpu", Level.WARNING, "allows 2 concurrent trials"),
        ("MaxJobsPerAccount", LimitKind.RUNNING, 9, "", Level.WARNING, "allows 9 concurrent trials"),
        (
            "MaxTRESPerJob",
            LimitKind.PER_JOB,
            3,
            "cpu",
            Level.FAULT,
            "MaxTRESPerJob=cpu=3 of QOS few: a trial requests 4",
        ),
        ("MaxTRESPerNode", LimitKind.PER_NODE, 3, "cpu", Level.FAULT, "a trial requests 4 on each node"),
        ("MinTRESPerJob", LimitKind.MIN_PER_JOB, 8, "cpu", Level.FAULT, "a trial requests only 4"),
        ("MaxWall", LimitKind.WALL, 3600, "", Level.FAULT, "allows 1h, and scheduler.time_limit is 4h"),
        (
            "MaxTRESMinsPerJob",
            LimitKind.JOB_MINUTES,
            480,
            "cpu",
            Level.FAULT,
            "a trial requests 960 for its time limit",
        ),
    ],
)
@pytest.mark.parametrize("of_the_partition", [False, True])
def test_limits_of_the_qos_of_job_and_partition(
    name: str, kind: LimitKind, amount: float, resource: str, level: Level, message: str, of_the_partition: bool
) -> None:
    few = Qos("few", (Limit("QOS few", name, kind, amount, resource),))
    cluster = replace(CLUSTER, qos=(Qos("normal"), few))
    if of_the_partition:
        cluster = replace(cluster, partitions=(replace(cluster.partitions[0], qos="few"),))
        [finding] = findings(cluster)
    else:
        assert [finding.level for finding in findings(cluster)] == [Level.OK]
        [finding] = findings(cluster, qos="few")
    assert finding.level is level
    assert message in finding.message
    assert finding.advice


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (replace(CLUSTER, accounts={}), "the limits of account physics, which accounting does not show you"),
        (
            replace(CLUSTER, accounts={"physics": CLUSTER.accounts["physics"]}),
            "the limits of account science above account physics",
        ),
        (
            replace(CLUSTER, partitions=(replace(CLUSTER.partitions[0], qos="hidden"),)),
            "QOS hidden of partition main is not shown",
        ),
        (replace(CLUSTER, qos=()), "QOS normal is not shown"),
        (
            replace(
                CLUSTER, default_account=None, associations=(*CLUSTER.associations, Association("art", "", (), ""))
            ),
            "which of your accounts is the default one",
        ),
    ],
)
def test_limits_that_accounting_does_not_show_are_not_known(cluster: Cluster, message: str) -> None:
    [finding] = findings(cluster)
    assert finding.level is Level.WARNING
    assert finding.message.startswith("not known: ")
    assert message in finding.message


def test_memory_without_a_setting_is_not_known() -> None:
    cluster = of_account("science", ("GrpTRES", LimitKind.RUNNING_RESOURCE, 1000, "mem"))
    [finding] = findings(cluster, memory=None)
    assert "not known: how much a trial takes of GrpTRES=mem=1000M of account science" in finding.message


@pytest.mark.parametrize("resource", ["license/matlab", "gres/nvme", "gres/gpu:h100"])
def test_only_directives_request_resources_without_a_setting(resource: str) -> None:
    cluster = of_account("science", ("GrpTRES", LimitKind.RUNNING_RESOURCE, 1, resource))
    assert [each.level for each in findings(cluster)] == [Level.OK]
    [finding] = findings(cluster, directives=["--licenses=matlab"])
    assert finding.message.startswith(f"not known: how much a trial takes of GrpTRES={resource}=1")


def test_limits_that_are_not_enforced_are_ok() -> None:
    for cluster in (of_account("science", ("GrpJobs", LimitKind.RUNNING, 1, "")), replace(CLUSTER, accounts={})):
        [finding] = findings(replace(cluster, config={}))
        assert (finding.level, "does not enforce" in finding.message) == (Level.OK, True)


def test_a_limit_of_one_of_two_partitions_is_ignored() -> None:
    few = Qos("few", (Limit("QOS few", "GrpJobs", LimitKind.RUNNING, 1),))
    main = replace(CLUSTER.partitions[0], qos="few")
    cluster = replace(CLUSTER, partitions=(main, replace(main, name="other", qos="")), qos=(Qos("normal"), few))
    chosen = SlurmSettings.model_validate(TRIAL)
    assert [each.level for each in check_limits(chosen, 16, 3600.0, cluster, ["main", "other"])] == [Level.OK]
    assert [each.level for each in check_limits(chosen, 16, 3600.0, cluster, ["main"])] == [Level.WARNING]
