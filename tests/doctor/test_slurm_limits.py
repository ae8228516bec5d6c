"""What the limits of Slurm's accounting mean for a campaign; what was not compared is never said to be well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aiperf_orch.doctor.findings import Finding, Level
from aiperf_orch.doctor.slurm_limits import judge_limits
from aiperf_orch.schedulers.slurm.accounting_limits import Account, Association, Limit, LimitKind, Qos
from aiperf_orch.schedulers.slurm.inventory import Cluster, NodeGroup, Partition
from aiperf_orch.settings.schedulers import SlurmSettings

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


def judged(cluster: Cluster = CLUSTER, concurrency: int = 16, **settings: Any) -> list[Finding]:
    chosen = SlurmSettings.model_validate(TRIAL | settings)
    return list(judge_limits(chosen, concurrency, 12 * 3600.0, cluster, ["main"]))


def of_account(name: str, *limits: tuple[str, LimitKind, float, str]) -> Cluster:
    found = tuple(Limit(f"account {name}", each, kind, amount, resource) for each, kind, amount, resource in limits)
    return replace(CLUSTER, accounts={**CLUSTER.accounts, name: replace(CLUSTER.accounts[name], limits=found)})


def test_without_limits_all_is_well_and_those_that_were_asked_are_named() -> None:
    [finding] = judged()
    assert (finding.level, finding.subject) == (Level.OK, "limits")
    assert finding.message == "account physics, science and root above it, and QOS normal allow 16 trials at once"


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
            "7 trials run at once at most, and campaign.concurrency is 16",
        ),
        ("GrpJobs", LimitKind.RUNNING, 16, "", Level.OK, "allow 16 trials at once"),
        ("GrpJobs", LimitKind.RUNNING, 0, "", Level.FAULT, "no trial of yours would ever run"),
        (
            "GrpSubmitJobs",
            LimitKind.QUEUED,
            16,
            "",
            Level.WARNING,
            "16 jobs may be in the queue, and 16 trials and 1 waiting",
        ),
        ("GrpSubmitJobs", LimitKind.QUEUED, 17, "", Level.OK, "allow 16 trials at once"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 12, "cpu", Level.WARNING, "GrpTRES=cpu=12 of account"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 12, "cpu", Level.WARNING, "3 trials run at once at most"),
        (
            "GrpTRES",
            LimitKind.RUNNING_RESOURCE,
            3,
            "cpu",
            Level.FAULT,
            "no trial of yours would ever run: one asks for 4",
        ),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 65536, "mem", Level.WARNING, "8 trials run at once at most"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 5, "gres/gpu", Level.WARNING, "5 trials run at once at most"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 5, "gres/gpu:a100", Level.WARNING, "5 trials run at once at most"),
        ("GrpTRES", LimitKind.RUNNING_RESOURCE, 2, "node", Level.WARNING, "8 trials run at once at most"),
        (
            "GrpTRES",
            LimitKind.RUNNING_RESOURCE,
            1e6,
            "billing",
            Level.WARNING,
            "not known: how much a trial takes of GrpTRES=billing",
        ),
        ("GrpTRESRunMins", LimitKind.RUNNING_MINUTES, 4800, "cpu", Level.WARNING, "5 trials run at once at most"),
        ("GrpTRESMins", LimitKind.BUDGET, 1000, "cpu", Level.WARNING, "the campaign may take 46080"),
        (
            "GrpTRESMins",
            LimitKind.BUDGET,
            1e9,
            "cpu",
            Level.WARNING,
            "not known: how much is left of GrpTRESMins=cpu=1e+09",
        ),
        ("GrpWall", LimitKind.BUDGET, 60, "", Level.WARNING, "the campaign may take 11520"),
    ],
)
def test_limits_of_the_account_and_of_those_above_it(
    account: str, name: str, kind: LimitKind, amount: float, resource: str, level: Level, message: str
) -> None:
    found = judged(of_account(account, (name, kind, amount, resource)))
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
            "MaxJobsPerUser=3 of QOS few: 3 trials run at once",
        ),
        ("MaxTRESPerUser", LimitKind.RUNNING_RESOURCE, 8, "cpu", Level.WARNING, "2 trials run at once"),
        ("MaxTRESPerAccount", LimitKind.RUNNING_RESOURCE, 2, "gres/gpu", Level.WARNING, "2 trials run at once"),
        ("MaxJobsPerAccount", LimitKind.RUNNING, 9, "", Level.WARNING, "9 trials run at once"),
        (
            "MaxTRESPerJob",
            LimitKind.PER_JOB,
            3,
            "cpu",
            Level.FAULT,
            "MaxTRESPerJob=cpu=3 of QOS few: a trial asks for 4",
        ),
        ("MaxTRESPerNode", LimitKind.PER_NODE, 3, "cpu", Level.FAULT, "a trial asks for 4 on each node"),
        ("MinTRESPerJob", LimitKind.MIN_PER_JOB, 8, "cpu", Level.FAULT, "a trial asks for 4 only"),
        ("MaxWall", LimitKind.WALL, 3600, "", Level.FAULT, "a job may take 1h, and scheduler.time_limit is 4h"),
        ("MaxTRESMinsPerJob", LimitKind.JOB_MINUTES, 480, "cpu", Level.FAULT, "a trial asks for 960 in its time limit"),
    ],
)
@pytest.mark.parametrize("of_the_partition", [False, True])
def test_limits_of_a_qos_also_the_partitions(
    name: str, kind: LimitKind, amount: float, resource: str, level: Level, message: str, of_the_partition: bool
) -> None:
    few = Qos("few", (Limit("QOS few", name, kind, amount, resource),))
    cluster = replace(CLUSTER, qos=(Qos("normal"), few))
    if of_the_partition:
        cluster = replace(cluster, partitions=(replace(cluster.partitions[0], qos="few"),))
        [finding] = judged(cluster)
    else:
        assert [finding.level for finding in judged(cluster)] == [Level.OK]
        [finding] = judged(cluster, qos="few")
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
def test_what_could_not_be_asked_is_not_known(cluster: Cluster, message: str) -> None:
    [finding] = judged(cluster)
    assert finding.level is Level.WARNING
    assert finding.message.startswith("not known: ")
    assert message in finding.message


def test_memory_without_a_setting_is_not_known() -> None:
    cluster = of_account("science", ("GrpTRES", LimitKind.RUNNING_RESOURCE, 1000, "mem"))
    [finding] = judged(cluster, memory=None)
    assert "not known: how much a trial takes of GrpTRES=mem=1000M of account science" in finding.message


@pytest.mark.parametrize("resource", ["license/matlab", "gres/nvme", "gres/gpu:h100"])
def test_what_no_setting_asks_for_is_taken_only_by_directives(resource: str) -> None:
    cluster = of_account("science", ("GrpTRES", LimitKind.RUNNING_RESOURCE, 1, resource))
    assert [each.level for each in judged(cluster)] == [Level.OK]
    [finding] = judged(cluster, directives=["--licenses=matlab"])
    assert finding.message.startswith(f"not known: how much a trial takes of GrpTRES={resource}=1")


def test_limits_that_are_not_enforced_are_told_as_such() -> None:
    for cluster in (of_account("science", ("GrpJobs", LimitKind.RUNNING, 1, "")), replace(CLUSTER, accounts={})):
        [finding] = judged(replace(cluster, config={}))
        assert (finding.level, "not set to enforce" in finding.message) == (Level.OK, True)


def test_a_limit_of_one_of_two_partitions_does_not_hold() -> None:
    few = Qos("few", (Limit("QOS few", "GrpJobs", LimitKind.RUNNING, 1),))
    main = replace(CLUSTER.partitions[0], qos="few")
    cluster = replace(CLUSTER, partitions=(main, replace(main, name="other", qos="")), qos=(Qos("normal"), few))
    chosen = SlurmSettings.model_validate(TRIAL)
    assert [each.level for each in judge_limits(chosen, 16, 3600.0, cluster, ["main", "other"])] == [Level.OK]
    assert [each.level for each in judge_limits(chosen, 16, 3600.0, cluster, ["main"])] == [Level.WARNING]
