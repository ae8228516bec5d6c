"""What the limits of Slurm's accounting mean for a campaign. One that could not be compared is named, and is not "ok"."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiperf_orch.doctor.findings import Finding, fault, ok, warning
from aiperf_orch.schedulers.slurm import inventory
from aiperf_orch.schedulers.slurm.accounting_limits import Account, Association, Limit, LimitKind, effective_limits
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util.units import format_duration

_SETTINGS: Final = {
    "cpu": "scheduler.cpus_per_task",
    "mem": "scheduler.memory",
    "node": "scheduler.nodes",
    "gres/gpu": "scheduler.gpus_per_node",
}
_NOT_COUNTED: Final = ("energy", "fs/disk", "vmem", "pages")  # no job asks for any of it
_BY_DIRECTIVES: Final = (
    "gres/",
    "license/",
    "bb/",
)  # of these a trial takes what the settings, or a directive, ask for
_NORMAL: Final = "normal"  # the QOS of jobs of an association without a default one


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a campaign asks for: trials at once and in the queue, seconds of a job and of all.

    `trial` is what one trial takes by resource, memory in MiB, None where that is not known. `a_node` are the trials
    that share a node. With `asks_more` the site asks for more in Slurm's own words, which are not read.
    """

    concurrency: int
    lookahead: int
    time_limit: float
    duration: float
    nodes: int
    trial: Mapping[str, float | None]
    a_node: int = 1
    asks_more: bool = False

    def of(self, resource: str) -> float | None:
        """What one trial takes of a resource; None where that is not known."""
        if self.asks_more and resource.startswith(_BY_DIRECTIVES) and not self.trial.get(resource):
            return None
        if resource in self.trial:
            return self.trial[resource]
        return 0.0 if resource in _NOT_COUNTED or resource.startswith(_BY_DIRECTIVES) else None


def judge_limits(
    settings: SlurmSettings, concurrency: int, duration: float, cluster: inventory.Cluster, partitions: Sequence[str]
) -> Iterator[Finding]:
    """Whether the limits of account and QOS suffice for `concurrency` trials at once.

    Args:
        settings: the site's.
        concurrency: how many trials shall run at once.
        duration: seconds that the campaign takes.
        cluster: what Slurm has, and what its accounting says.
        partitions: names of those that jobs go to; a limit of one partition's QOS counts only where all have one.
    """
    if "limits" not in cluster.config.get("AccountingStorageEnforce", ""):
        yield ok("limits", "Slurm is not set to enforce those of account and QOS (AccountingStorageEnforce)")
        return
    known, limits = _limits_of(settings, cluster, partitions)
    groups = [
        group for group in cluster.nodes if group.partition in partitions and not inventory.shortfalls(settings, group)
    ]
    wanted = Wanted(
        concurrency,
        settings.lookahead,
        settings.time_limit,
        duration,
        settings.nodes,
        inventory.requested_resources(settings, groups),
        min((inventory.trials_per_node(settings, group) for group in groups), default=1),
        asks_more=bool(settings.directives),
    )
    found = list(dict.fromkeys(finding for limit in limits for finding in judge(limit, wanted)))
    yield from found
    unknown = [*known.gaps, *dict.fromkeys(filter(None, (not_compared(limit, wanted) for limit in limits)))]
    if unknown:
        advice = "ask the administrators, or see `sacctmgr show assoc` and `sacctmgr show qos`"
        yield warning("limits", f"not known: {'; '.join(unknown)}", advice)
    if not found and not unknown:
        yield ok("limits", f"{known.names} allow {concurrency} trials at once")


@dataclass(frozen=True, slots=True)
class _Known:
    """Whose limits were looked at, in words, and what could not be."""

    names: str
    gaps: tuple[str, ...]


def _limits_of(
    settings: SlurmSettings, cluster: inventory.Cluster, partitions: Sequence[str]
) -> tuple[_Known, list[Limit]]:
    association, gaps = _association(settings, cluster, partitions)
    accounts, more = _above(cluster, association)
    gaps += more
    qos = {each.name: each for each in cluster.qos}
    name = settings.qos or (association.default_qos if association else "") or _NORMAL
    job_qos = qos.get(name)
    if job_qos is None and (settings.qos or (association and association.default_qos)):
        gaps.append(f"QOS {name} is not shown")
    chains = []
    for partition in cluster.partitions:
        if partition.name in partitions:
            if partition.qos and partition.qos not in qos:
                gaps.append(f"QOS {partition.qos} of partition {partition.name} is not shown")
            chains.append(effective_limits(qos.get(partition.qos), job_qos, association, accounts))
    chains = chains or [effective_limits(None, job_qos, association, accounts)]
    # a job goes to whichever partition takes it: what holds in all of them holds
    limits = [limit for limit in chains[0] if all(limit in chain for chain in chains[1:])]
    above = f", {' and '.join(each.name for each in accounts[1:])} above it," if len(accounts) > 1 else ""
    who = f"account {association.account}{above}" if association else "the account"
    return _Known(f"{who} and QOS {name}", tuple(gaps)), limits


def _association(
    settings: SlurmSettings, cluster: inventory.Cluster, partitions: Sequence[str]
) -> tuple[Association | None, list[str]]:
    """The user's association that jobs get, and why it is not known which."""
    account = settings.account or cluster.default_account
    if account is None and len({each.account for each in cluster.associations}) == 1:
        account = cluster.associations[0].account
    if account is None:
        return None, ["which of your accounts is the default one, and what it allows: set scheduler.account"]
    mine = [each for each in cluster.associations if each.account == account and each.partition in ("", *partitions)]
    chosen = max(mine, key=lambda each: each.partition != "", default=None)  # that of the partition comes first
    return chosen, [] if chosen else [f"what account {account} allows"]


def _above(cluster: inventory.Cluster, association: Association | None) -> tuple[list[Account], list[str]]:
    """The association's account and those above it, and what is not shown of them."""
    found: list[Account] = []
    name = association.account if association else ""
    while name:
        account = cluster.accounts.get(name)
        if account is None:
            below = f" above account {found[-1].name}" if found else ""
            return found, [f"the limits of account {name}{below}, which accounting does not show you"]
        if account in found:
            break
        found.append(account)
        name = account.parent
    return found, []


def judge(limit: Limit, wanted: Wanted) -> Iterator[Finding]:
    """What one limit means; nothing where it suffices, or cannot be compared."""
    taken = 1.0 if not limit.resource else wanted.of(limit.resource)
    match limit.kind:
        case LimitKind.RUNNING | LimitKind.RUNNING_RESOURCE | LimitKind.RUNNING_MINUTES:
            yield from _at_once(limit, wanted, taken)
        case LimitKind.QUEUED:
            yield from _queued(limit, wanted)
        case LimitKind.WALL if wanted.time_limit > limit.amount:
            longest = format_duration(limit.amount)
            message = f"a job may take {longest}, and scheduler.time_limit is {format_duration(wanted.time_limit)}"
            yield fault(
                "limits", f"{limit.name} of {limit.holder}: {message}", f"set scheduler.time_limit: {longest} or less"
            )
        case LimitKind.PER_JOB if taken and taken > limit.amount:
            yield fault("limits", f"{limit}: a trial asks for {taken:g}", _lower(limit))
        case LimitKind.PER_NODE if taken and taken / wanted.nodes > limit.amount:
            yield fault("limits", f"{limit}: a trial asks for {taken / wanted.nodes:g} on each node", _lower(limit))
        case LimitKind.MIN_PER_JOB if taken is not None and taken < limit.amount:
            yield fault(
                "limits", f"{limit}: a trial asks for {taken:g} only", f"raise {_setting(limit)}, or set another QOS"
            )
        case LimitKind.JOB_MINUTES if taken and taken * wanted.time_limit / 60 > limit.amount:
            yield fault(
                "limits",
                f"{limit}: a trial asks for {taken * wanted.time_limit / 60:g} in its time limit",
                f"set scheduler.time_limit: {format_duration(limit.amount * 60 / taken)} or less",
            )
        case LimitKind.BUDGET if taken and (needed := taken * wanted.concurrency * wanted.duration / 60) > limit.amount:
            yield warning(
                "limits",
                f"{limit}: the campaign may take {needed:g}, and some of the budget may be used already",
                "lower campaign.duration or concurrency, or ask for a larger budget",
            )


def _at_once(limit: Limit, wanted: Wanted, taken: float | None) -> Iterator[Finding]:
    each = taken * wanted.time_limit / 60 if taken and limit.kind is LimitKind.RUNNING_MINUTES else taken
    if not each:
        return
    jobs = math.floor(limit.amount / each)
    if limit.resource == "node":  # a node that several trials share counts once
        jobs *= wanted.a_node
    if not jobs:
        asked = f"one asks for {each:g}" if limit.resource else "it allows none"
        yield fault("limits", f"{limit}: no trial of yours would ever run: {asked}", _lower(limit))
    elif jobs < wanted.concurrency:
        yield warning(
            "limits",
            f"{limit}: {jobs} trials run at once at most, and campaign.concurrency is {wanted.concurrency}: "
            "the rest waits",
            f"set campaign.concurrency: {jobs}",
        )


def _queued(limit: Limit, wanted: Wanted) -> Iterator[Finding]:
    if not limit.amount:
        yield fault("limits", f"{limit}: no job of yours is taken", "set another account or QOS")
    elif limit.amount < wanted.concurrency + wanted.lookahead:
        yield warning(
            "limits",
            f"{limit}: {limit.amount:g} jobs may be in the queue, and {wanted.concurrency} trials and "
            f"{wanted.lookahead} waiting would be: the rest is submitted later",
            "lower campaign.concurrency or scheduler.lookahead",
        )


def not_compared(limit: Limit, wanted: Wanted) -> str | None:
    """Why a limit says nothing of the campaign; None where it was compared."""
    if limit.resource and wanted.of(limit.resource) is None:
        return f"how much a trial takes of {limit}"
    if limit.kind is LimitKind.BUDGET and wanted.of(limit.resource) != 0:
        return f"how much is left of {limit}"
    return None


def _setting(limit: Limit) -> str:
    return _SETTINGS.get(limit.resource.partition(":")[0], "what a trial asks for")


def _lower(limit: Limit) -> str:
    return f"lower {_setting(limit)}, or set another account or QOS" if limit.resource else "set another account or QOS"
