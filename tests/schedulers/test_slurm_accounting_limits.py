"""Limits of Slurm's accounting, recorded from 22.05.8, and those that apply to a job."""

from __future__ import annotations

import pytest

from aiperf_orch.schedulers.slurm import accounting_limits
from aiperf_orch.schedulers.slurm.accounting_limits import Account, Association, Limit, LimitKind, Qos, effective_limits

pytestmark = pytest.mark.unit

ASSOCIATIONS = """\
art||normal||||||||5||cpu=4|||
science||few,normal|normal|||||||20|||||1-00:00:00
rubbish
"""
ACCOUNTS = """\
root|||||||
physics|root|7||cpu=12,mem=4G,gres/gpu:a100=6||cpu=60|
art|physics||9||cpu=1000||10:00:00
"""
QOS = """\
normal||||||||||||||||||
few|DenyOnLimit,OverPartQOS|||node=1|cpu=1000|||1|3|3||cpu=3|cpu=1|cpu=2|mem=512M|cpu=100|00:30:00|cpu=1
"""


def test_associations() -> None:
    art, science = accounting_limits.parse_associations(ASSOCIATIONS)
    mine = "your association with account art"
    limits = (Limit(mine, "MaxJobs", LimitKind.RUNNING, 5), Limit(mine, "MaxTRESPerJob", LimitKind.PER_JOB, 4, "cpu"))
    assert art == Association("art", "", ("normal",), "", limits)
    assert (science.qos, science.default_qos) == (("few", "normal"), "normal")
    assert [(each.name, each.amount) for each in science.limits] == [("MaxJobs", 20), ("MaxWall", 86400)]


def test_accounts_with_their_parents() -> None:
    found = accounting_limits.parse_accounts(ACCOUNTS)
    assert [(each.name, each.parent) for each in found.values()] == [
        ("root", ""),
        ("physics", "root"),
        ("art", "physics"),
    ]
    assert list(map(str, found["physics"].limits)) == [
        "GrpJobs=7 of account physics",
        "GrpTRES=cpu=12 of account physics",
        "GrpTRES=mem=4096M of account physics",
        "GrpTRES=gres/gpu:a100=6 of account physics",
        "GrpTRESRunMins=cpu=60 of account physics",
    ]
    assert [(each.name, each.kind, each.amount) for each in found["art"].limits] == [
        ("GrpSubmitJobs", LimitKind.QUEUED, 9),
        ("GrpTRESMins", LimitKind.BUDGET, 1000),
        ("GrpWall", LimitKind.BUDGET, 600),
    ]


def test_qos() -> None:
    normal, few = accounting_limits.parse_qos(QOS)
    assert normal == Qos("normal")
    assert few.is_first
    assert [(each.name, each.amount, each.resource) for each in few.limits] == [
        ("GrpTRES", 1, "node"),
        ("GrpTRESMins", 1000, "cpu"),
        ("MaxJobsPerUser", 1, ""),
        ("MaxJobsPerAccount", 3, ""),
        ("MaxSubmitJobsPerUser", 3, ""),
        ("MaxTRESPerJob", 3, "cpu"),
        ("MaxTRESPerNode", 1, "cpu"),
        ("MaxTRESPerUser", 2, "cpu"),
        ("MaxTRESPerAccount", 512, "mem"),
        ("MaxTRESMinsPerJob", 100, "cpu"),
        ("MaxWall", 1800, ""),
        ("MinTRESPerJob", 1, "cpu"),
    ]


def test_the_default_account() -> None:
    assert accounting_limits.parse_default_account("science\nscience\n") == "science"
    assert accounting_limits.parse_default_account("\n") is None


def _limit(holder: str, name: str, amount: float, resource: str = "") -> Limit:
    return Limit(holder, name, LimitKind.RUNNING, amount, resource)


# confirmed with jobs on 22.05.8
@pytest.mark.parametrize(
    ("partition", "job", "user", "accounts", "names"),
    [
        ([], [], ["MaxJobs"], [["GrpJobs"], ["GrpJobs"]], ["u.MaxJobs", "a0.GrpJobs", "a1.GrpJobs"]),
        ([], ["MaxJobsPerUser"], ["MaxJobs"], [], ["j.MaxJobsPerUser"]),
        ([], ["MaxJobsPerAccount"], ["MaxJobs"], [], ["j.MaxJobsPerAccount"]),
        ([], ["MaxSubmitJobsPerUser"], ["MaxJobs", "MaxSubmitJobs"], [], ["j.MaxSubmitJobsPerUser", "u.MaxJobs"]),
        ([], ["GrpJobs"], [], [["GrpJobs"]], ["j.GrpJobs"]),
        ([], ["GrpTRES:cpu"], [], [["GrpTRES:cpu", "GrpTRES:node"]], ["j.GrpTRES:cpu", "a0.GrpTRES:node"]),
        (["GrpJobs"], ["GrpJobs", "MaxWall"], [], [], ["p.GrpJobs", "j.MaxWall"]),
    ],
)
def test_the_first_level_that_sets_a_limit_counts(
    partition: list[str], job: list[str], user: list[str], accounts: list[list[str]], names: list[str]
) -> None:
    def made(holder: str, wanted: list[str]) -> tuple[Limit, ...]:
        return tuple(
            _limit(holder, name, 1, resource) for name, _, resource in (each.partition(":") for each in wanted)
        )

    found = effective_limits(
        Qos("p", made("p", partition)),
        Qos("j", made("j", job)),
        Association("a0", "", (), "", made("u", user)),
        [Account(f"a{number}", "", made(f"a{number}", each)) for number, each in enumerate(accounts)],
    )
    assert [f"{each.holder}.{each.name}{':' if each.resource else ''}{each.resource}" for each in found] == names


def test_overpartqos_puts_the_jobs_qos_first() -> None:
    part, job = _limit("p", "GrpJobs", 1), _limit("j", "GrpJobs", 9)
    assert effective_limits(Qos("p", (part,)), Qos("j", (job,)), None, []) == [part]
    assert effective_limits(Qos("p", (part,)), Qos("j", (job,), is_first=True), None, []) == [job]


@pytest.mark.parametrize(
    ("memory", "mebibytes"),
    [("7", 7), ("2048K", 2), ("512M", 512), ("3G", 3072), ("2T", 2 * 1024**2), ("1P", 1024**3)],
)
def test_units_of_memory(memory: str, mebibytes: float) -> None:
    account = accounting_limits.parse_accounts(f"a|root|||mem={memory}|||\n")["a"]
    assert [(limit.resource, limit.amount) for limit in account.limits] == [("mem", mebibytes)]


def test_a_job_without_a_qos_has_the_limits_of_its_partition() -> None:
    part = _limit("p", "GrpJobs", 1)
    assert effective_limits(Qos("p", (part,)), None, None, []) == [part]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (accounting_limits.associations_command("me", "big"), ["assoc", "user=me", "cluster=big"]),
        (accounting_limits.accounts_command("big"), ["assoc", "user=", "cluster=big"]),
        (accounting_limits.qos_command(), ["qos"]),
        (
            accounting_limits.default_account_command("me", "big"),
            ["user", "me", "withassoc", "cluster=big", "format=DefaultAccount"],
        ),
    ],
)
def test_commands_of_sacctmgr(command: list[str], words: list[str]) -> None:
    assert command[:4] == ["sacctmgr", "--noheader", "--parsable2", "show"]
    assert command[4 : 4 + len(words)] == words
