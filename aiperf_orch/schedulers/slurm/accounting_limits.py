"""Limits of Slurm's accounting: parsers of sacctmgr's output, and the limits that apply to one job. Runs nothing.

Slurm searches for a limit in this order: the partition's QOS, the job's QOS (first if its flag OverPartQOS is set), the
user's association, and the accounts above it up to the root. The first level that sets a limit replaces those of the
later levels, but limits of a group (Grp...) apply for each account unless a QOS sets the same one.
Source: slurm.schedmd.com/resource_limits.html, and 22.05.8 on a real cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from aiperf_orch.schedulers.slurm.squeue import parse_elapsed
from aiperf_orch.util.whole_numbers import parse_whole_number


class LimitKind(Enum):
    """Quantity that a limit bounds."""

    RUNNING = "number of running jobs"
    QUEUED = "number of jobs in the queue"
    RUNNING_RESOURCE = "a resource of all running jobs"
    PER_JOB = "a resource of one job"
    PER_NODE = "a resource of one job on each node"
    MIN_PER_JOB = "minimum of a resource of one job"
    WALL = "time limit of one job, in seconds"
    JOB_MINUTES = "a resource times the time limit of one job"
    RUNNING_MINUTES = "a resource times the remaining time limit, of all running jobs"
    BUDGET = "a resource times time, of all jobs ever"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit.

    Attributes:
        holder: where it is set: `account physics`, `QOS normal`.
        name: Slurm's name of the limit.
        kind: the quantity that it bounds.
        amount: the bound; memory in MiB, WALL in seconds, resources times time in minutes.
        resource: Slurm's name of the resource; empty for numbers of jobs and times.
    """

    holder: str
    name: str
    kind: LimitKind
    amount: float
    resource: str = ""

    def __str__(self) -> str:
        """Return the limit in Slurm's notation: `GrpTRES=cpu=12 of account physics`."""
        amount = f"{self.resource}={self.amount:g}" if self.resource else f"{self.amount:g}"
        return f"{self.name}={amount}{'M' if self.resource == 'mem' else ''} of {self.holder}"


_KINDS: Final = {
    "GrpJobs": LimitKind.RUNNING,
    "GrpSubmit": LimitKind.QUEUED,
    "GrpTRES": LimitKind.RUNNING_RESOURCE,
    "GrpTRESMins": LimitKind.BUDGET,
    "GrpTRESRunMins": LimitKind.RUNNING_MINUTES,
    "GrpWall": LimitKind.BUDGET,
    "MaxJobs": LimitKind.RUNNING,
    "MaxJobsPU": LimitKind.RUNNING,
    "MaxJobsPA": LimitKind.RUNNING,
    "MaxSubmit": LimitKind.QUEUED,
    "MaxSubmitPU": LimitKind.QUEUED,
    "MaxSubmitPA": LimitKind.QUEUED,
    "MaxTRES": LimitKind.PER_JOB,
    "MaxTRESPU": LimitKind.RUNNING_RESOURCE,
    "MaxTRESPA": LimitKind.RUNNING_RESOURCE,
    "MaxTRESPerNode": LimitKind.PER_NODE,
    "MaxTRESMins": LimitKind.JOB_MINUTES,
    "MaxWall": LimitKind.WALL,
    "MinTRES": LimitKind.MIN_PER_JOB,
}
_GROUP_LIMITS: Final = ("GrpJobs", "GrpSubmit", "GrpTRES", "GrpTRESMins", "GrpTRESRunMins", "GrpWall")
_USER_LIMITS: Final = ("MaxJobs", "MaxSubmit", "MaxTRES", "MaxTRESPerNode", "MaxTRESMins", "MaxWall")
_QOS_LIMITS: Final = (
    "MaxJobsPU", "MaxJobsPA", "MaxSubmitPU", "MaxSubmitPA", "MaxTRES", "MaxTRESPerNode", "MaxTRESPU", "MaxTRESPA",
    "MaxTRESMins", "MaxWall", "MinTRES",
)  # fmt: skip
_REPLACED_BY: Final = {"MaxJobs": ("MaxJobsPU", "MaxJobsPA"), "MaxSubmit": ("MaxSubmitPU", "MaxSubmitPA")}
"""Limits of a QOS that replace a limit of a user."""
_LONG_NAMES: Final = {
    "GrpSubmit": "GrpSubmitJobs", "MaxSubmit": "MaxSubmitJobs", "MaxJobsPU": "MaxJobsPerUser",
    "MaxJobsPA": "MaxJobsPerAccount", "MaxSubmitPU": "MaxSubmitJobsPerUser", "MaxSubmitPA": "MaxSubmitJobsPerAccount",
    "MaxTRESPU": "MaxTRESPerUser", "MaxTRESPA": "MaxTRESPerAccount", "MaxTRES": "MaxTRESPerJob",
    "MaxTRESMins": "MaxTRESMinsPerJob", "MinTRES": "MinTRESPerJob",
}  # fmt: skip
_MEBIBYTES: Final = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3}


@dataclass(frozen=True, slots=True)
class Association:
    """Permission of a user to use an account, in one partition unless `partition` is empty, with the user's limits."""

    account: str
    partition: str
    qos: tuple[str, ...]
    default_qos: str
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """An account with its group limits; `parent` is empty for the root."""

    name: str
    parent: str
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Qos:
    """A quality of service; `is_first` for one whose limits precede those of the partition's QOS (OverPartQOS)."""

    name: str
    limits: tuple[Limit, ...] = ()
    is_first: bool = False


def associations_command(user: str, cluster: str) -> list[str]:
    """Show a user's associations on a cluster, with the limits that they inherit from the accounts above."""
    fields = ["Account", "Partition", "QOS", "DefaultQOS", *_GROUP_LIMITS, *_USER_LIMITS]
    return [*_SHOW, "assoc", f"user={user}", f"cluster={cluster}", f"format={','.join(fields)}"]


def parse_associations(output: str) -> Iterator[Association]:
    """Parse sacctmgr's associations."""
    for account, partition, qos, default, *limits in _rows(output, 4 + len(_GROUP_LIMITS) + len(_USER_LIMITS)):
        names = tuple(filter(None, qos.split(",")))
        found = _limits(f"your association with account {account}", [*_GROUP_LIMITS, *_USER_LIMITS], limits)
        yield Association(account, partition, names, default, found)


def accounts_command(cluster: str) -> list[str]:
    """Show every account that this user can see, without its users."""
    fields = ["Account", "ParentName", *_GROUP_LIMITS]
    return [*_SHOW, "assoc", "user=", f"cluster={cluster}", f"format={','.join(fields)}"]


def parse_accounts(output: str) -> dict[str, Account]:
    """Parse sacctmgr's accounts, by name."""
    rows = _rows(output, 2 + len(_GROUP_LIMITS))
    return {
        name: Account(name, parent, _limits(f"account {name}", _GROUP_LIMITS, limits)) for name, parent, *limits in rows
    }


def qos_command() -> list[str]:
    """Show every QOS."""
    return [*_SHOW, "qos", f"format={','.join(['Name', 'Flags', *_GROUP_LIMITS, *_QOS_LIMITS])}"]


def parse_qos(output: str) -> Iterator[Qos]:
    """Parse sacctmgr's QOS."""
    for name, flags, *limits in _rows(output, 2 + len(_GROUP_LIMITS) + len(_QOS_LIMITS)):
        found = _limits(f"QOS {name}", [*_GROUP_LIMITS, *_QOS_LIMITS], limits)
        yield Qos(name, found, "OverPartQOS" in flags.split(","))


def default_account_command(user: str, cluster: str) -> list[str]:
    """Show the account of a user's jobs that name none."""
    return [*_SHOW, "user", user, "withassoc", f"cluster={cluster}", "format=DefaultAccount"]


def parse_default_account(output: str) -> str | None:
    """Parse sacctmgr's default account; None where there is none."""
    return next(filter(None, (line.strip() for line in output.split("\n"))), None)


def effective_limits(
    partition_qos: Qos | None, job_qos: Qos | None, association: Association | None, accounts: Sequence[Account]
) -> list[Limit]:
    """Return the limits that apply to a job.

    Args:
        partition_qos: the QOS of its partition; None without one.
        job_qos: the job's QOS; None without one.
        association: the user's association; None where it is not known.
        accounts: the accounts above the association, up to the root.
    """
    first, second = (job_qos, partition_qos) if job_qos and job_qos.is_first else (partition_qos, job_qos)
    found: list[Limit] = []
    for qos in dict.fromkeys(filter(None, (first, second))):
        found += [limit for limit in qos.limits if not _is_replaced(limit, found)]
    of_qos = list(found)
    for level in (association, *accounts):
        if level is not None:
            found += [limit for limit in level.limits if not _is_replaced(limit, of_qos)]
    return found


def _is_replaced(limit: Limit, by: Sequence[Limit]) -> bool:
    names = {limit.name, *(_LONG_NAMES.get(name, name) for name in _REPLACED_BY.get(_short(limit.name), ()))}
    return any(each.name in names and each.resource == limit.resource for each in by)


def _short(name: str) -> str:
    return next((short for short, long in _LONG_NAMES.items() if long == name), name)


_RESOURCE: Final = re.compile(r"([^=,]+)=(\d{1,18}(?:\.\d{1,18})?)([KMGTP]?)", re.ASCII)
_SHOW: Final = ("sacctmgr", "--noheader", "--parsable2", "show")


def _rows(output: str, fields: int) -> Iterator[list[str]]:
    """Yield the lines with this number of fields; others are skipped."""
    for line in output.split("\n"):
        row = line.split("|")
        if len(row) == fields:
            yield row


def _limits(holder: str, columns: Sequence[str], texts: Sequence[str]) -> tuple[Limit, ...]:
    return tuple(limit for name, text in zip(columns, texts, strict=True) for limit in _parse_limit(holder, name, text))


def _parse_limit(holder: str, column: str, text: str) -> Iterator[Limit]:
    kind, name = _KINDS[column], _LONG_NAMES.get(column, column)
    if "TRES" in column:
        for match in filter(None, map(_RESOURCE.match, text.split(","))):
            resource, amount, unit = match.groups()
            yield Limit(holder, name, kind, float(amount) * (_MEBIBYTES[unit] if resource == "mem" else 1), resource)
    elif column.endswith("Wall"):
        seconds = parse_elapsed(text)
        if seconds is not None:
            yield Limit(holder, name, kind, seconds if kind is LimitKind.WALL else seconds / 60, "")
    elif (number := parse_whole_number(text)) is not None:
        yield Limit(holder, name, kind, number)
