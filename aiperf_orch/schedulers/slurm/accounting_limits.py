"""Limits of Slurm's accounting: how sacctmgr shows them, and which of them hold for one job. Runs nothing.

Slurm looks for a limit in this order: the partition's QOS, the job's QOS (first where its flag OverPartQOS says so), the
user's association, the accounts above it up to the root. The first place that sets one of a kind replaces those
behind it, but limits of a group (Grp...) hold for each account in which no QOS sets the same one.
Source: slurm.schedmd.com/resource_limits.html, and 22.05.8 on a real cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from aiperf_orch.schedulers.slurm.squeue import parse_elapsed


class LimitKind(Enum):
    """What a limit bounds."""

    RUNNING = "jobs that run at once"
    QUEUED = "jobs in the queue"
    AT_ONCE = "a resource of all jobs that run at once"
    OF_A_JOB = "a resource of one job"
    OF_A_NODE = "a resource of one job on each node"
    LEAST_OF_A_JOB = "a resource of one job, at least"
    WALL = "seconds that one job may take"
    JOB_MINUTES = "a resource times the time limit of one job"
    RUNNING_MINUTES = "a resource times the rest of the time limit, of all jobs that run at once"
    BUDGET = "a resource times time, of all jobs ever"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: whose it is, its name in Slurm, what it bounds and how much that is.

    Amounts of memory are in MiB, of WALL in seconds, those of a resource times time in minutes.
    """

    holder: str
    name: str
    kind: LimitKind
    amount: float
    resource: str = ""

    def __str__(self) -> str:
        """As an administrator knows it: `GrpTRES=cpu=12 of account physics`."""
        amount = f"{self.resource}={self.amount:g}" if self.resource else f"{self.amount:g}"
        return f"{self.name}={amount}{'M' if self.resource == 'mem' else ''} of {self.holder}"


_KINDS: Final = {
    "GrpJobs": LimitKind.RUNNING,
    "GrpSubmit": LimitKind.QUEUED,
    "GrpTRES": LimitKind.AT_ONCE,
    "GrpTRESMins": LimitKind.BUDGET,
    "GrpTRESRunMins": LimitKind.RUNNING_MINUTES,
    "GrpWall": LimitKind.BUDGET,
    "MaxJobs": LimitKind.RUNNING,
    "MaxJobsPU": LimitKind.RUNNING,
    "MaxJobsPA": LimitKind.RUNNING,
    "MaxSubmit": LimitKind.QUEUED,
    "MaxSubmitPU": LimitKind.QUEUED,
    "MaxSubmitPA": LimitKind.QUEUED,
    "MaxTRES": LimitKind.OF_A_JOB,
    "MaxTRESPU": LimitKind.AT_ONCE,
    "MaxTRESPA": LimitKind.AT_ONCE,
    "MaxTRESPerNode": LimitKind.OF_A_NODE,
    "MaxTRESMins": LimitKind.JOB_MINUTES,
    "MaxWall": LimitKind.WALL,
    "MinTRES": LimitKind.LEAST_OF_A_JOB,
}
_OF_BOTH: Final = ("GrpJobs", "GrpSubmit", "GrpTRES", "GrpTRESMins", "GrpTRESRunMins", "GrpWall")
_OF_A_USER: Final = ("MaxJobs", "MaxSubmit", "MaxTRES", "MaxTRESPerNode", "MaxTRESMins", "MaxWall")
_OF_A_QOS: Final = (
    "MaxJobsPU", "MaxJobsPA", "MaxSubmitPU", "MaxSubmitPA", "MaxTRES", "MaxTRESPerNode", "MaxTRESPU", "MaxTRESPA",
    "MaxTRESMins", "MaxWall", "MinTRES",
)  # fmt: skip
_REPLACED_BY: Final = {"MaxJobs": ("MaxJobsPU", "MaxJobsPA"), "MaxSubmit": ("MaxSubmitPU", "MaxSubmitPA")}
"""A user's limit, and the names of those of a QOS that replace it."""
_LONG: Final = {
    "GrpSubmit": "GrpSubmitJobs", "MaxSubmit": "MaxSubmitJobs", "MaxJobsPU": "MaxJobsPerUser",
    "MaxJobsPA": "MaxJobsPerAccount", "MaxSubmitPU": "MaxSubmitJobsPerUser", "MaxSubmitPA": "MaxSubmitJobsPerAccount",
    "MaxTRESPU": "MaxTRESPerUser", "MaxTRESPA": "MaxTRESPerAccount", "MaxTRES": "MaxTRESPerJob",
    "MaxTRESMins": "MaxTRESMinsPerJob", "MinTRES": "MinTRESPerJob",
}  # fmt: skip
_MEBIBYTES: Final = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3}


@dataclass(frozen=True, slots=True)
class Association:
    """A user's right to an account, on one partition where `partition` says so, with the limits of the user there."""

    account: str
    partition: str
    qos: tuple[str, ...]
    default_qos: str
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """An account with its group's limits; the root has no `parent`."""

    name: str
    parent: str
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Qos:
    """A quality of service; `is_first` says that its limits come before those of a partition's QOS."""

    name: str
    limits: tuple[Limit, ...] = ()
    is_first: bool = False


def associations_command(user: str, cluster: str) -> list[str]:
    """What a user may use on a cluster, with the limits that the accounts above hand down."""
    fields = ["Account", "Partition", "QOS", "DefaultQOS", *_OF_BOTH, *_OF_A_USER]
    return [*_SHOW, "assoc", f"user={user}", f"cluster={cluster}", f"format={','.join(fields)}"]


def parse_associations(output: str) -> Iterator[Association]:
    """The associations in sacctmgr's output."""
    for account, partition, qos, default, *limits in _rows(output, 4 + len(_OF_BOTH) + len(_OF_A_USER)):
        names = tuple(filter(None, qos.split(",")))
        found = _limits(f"your association with account {account}", [*_OF_BOTH, *_OF_A_USER], limits)
        yield Association(account, partition, names, default, found)


def accounts_command(cluster: str) -> list[str]:
    """Every account that this user can see, without the users in it."""
    fields = ["Account", "ParentName", *_OF_BOTH]
    return [*_SHOW, "assoc", "user=", f"cluster={cluster}", f"format={','.join(fields)}"]


def parse_accounts(output: str) -> dict[str, Account]:
    """The accounts in sacctmgr's output, by name."""
    rows = _rows(output, 2 + len(_OF_BOTH))
    return {name: Account(name, parent, _limits(f"account {name}", _OF_BOTH, limits)) for name, parent, *limits in rows}


def qos_command() -> list[str]:
    """Every QOS."""
    return [*_SHOW, "qos", f"format={','.join(['Name', 'Flags', *_OF_BOTH, *_OF_A_QOS])}"]


def parse_qos(output: str) -> Iterator[Qos]:
    """Each QOS in sacctmgr's output."""
    for name, flags, *limits in _rows(output, 2 + len(_OF_BOTH) + len(_OF_A_QOS)):
        found = _limits(f"QOS {name}", [*_OF_BOTH, *_OF_A_QOS], limits)
        yield Qos(name, found, "OverPartQOS" in flags.split(","))


def default_account_command(user: str, cluster: str) -> list[str]:
    """The account of a user's jobs that name none."""
    return [*_SHOW, "user", user, "withassoc", f"cluster={cluster}", "format=DefaultAccount"]


def parse_default_account(output: str) -> str | None:
    """The account in sacctmgr's output; None where there is none."""
    return next(filter(None, (line.strip() for line in output.split("\n"))), None)


def effective_limits(
    partition_qos: Qos | None, job_qos: Qos | None, association: Association | None, accounts: Sequence[Account]
) -> list[Limit]:
    """The limits that hold for a job.

    Args:
        partition_qos: that of its partition, None without one.
        job_qos: its own.
        association: its user's.
        accounts: those above the association, up to the root.
    """
    first, second = (job_qos, partition_qos) if job_qos and job_qos.is_first else (partition_qos, job_qos)
    found: list[Limit] = []
    for qos in dict.fromkeys(filter(None, (first, second))):
        found += [limit for limit in qos.limits if not _is_replaced(limit, found)]
    of_qos = list(found)
    for place in (association, *accounts):
        if place is not None:
            found += [limit for limit in place.limits if not _is_replaced(limit, of_qos)]
    return found


def _is_replaced(limit: Limit, by: Sequence[Limit]) -> bool:
    names = {limit.name, *(_LONG.get(name, name) for name in _REPLACED_BY.get(_short(limit.name), ()))}
    return any(each.name in names and each.resource == limit.resource for each in by)


def _short(name: str) -> str:
    return next((short for short, long in _LONG.items() if long == name), name)


_SHOW: Final = ("sacctmgr", "--noheader", "--parsable2", "show")


def _rows(output: str, fields: int) -> Iterator[list[str]]:
    """The lines with this number of fields; those of another form are passed over."""
    for line in output.split("\n"):
        row = line.split("|")
        if len(row) == fields:
            yield row


def _limits(holder: str, columns: Sequence[str], texts: Sequence[str]) -> tuple[Limit, ...]:
    return tuple(limit for name, text in zip(columns, texts, strict=True) for limit in _read(holder, name, text))


def _read(holder: str, column: str, text: str) -> Iterator[Limit]:
    kind, name = _KINDS[column], _LONG.get(column, column)
    if "TRES" in column:
        for resource, amount, unit in re.findall(r"([^=,]+)=(\d+(?:\.\d+)?)([KMGTP]?)", text):
            yield Limit(holder, name, kind, float(amount) * (_MEBIBYTES[unit] if resource == "mem" else 1), resource)
    elif column.endswith("Wall"):
        seconds = parse_elapsed(text)
        if seconds is not None:
            yield Limit(holder, name, kind, seconds if kind is LimitKind.WALL else seconds / 60, "")
    elif text.isdigit():
        yield Limit(holder, name, kind, int(text))
