"""Comparison of the limits in Slurm's accounting with the needs of a campaign; names those that cannot be compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiperf_orch.doctor.findings import Finding, fault, ok, warning
from aiperf_orch.doctor.job_words import TRIAL, JobWords
from aiperf_orch.schedulers.slurm import inventory
from aiperf_orch.schedulers.slurm.accounting_limits import Account, Association, Limit, LimitKind, effective_limits
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util.units import format_duration

_NOT_REQUESTED: Final = ("energy", "fs/disk", "vmem", "pages")  # resources that no job requests
_BY_DIRECTIVES: Final = ("gres/", "license/", "bb/")  # prefixes of resources that only settings or directives request
_DEFAULT_QOS: Final = "normal"  # QOS of the jobs of an association without a default QOS


@dataclass(frozen=True, slots=True)
class CampaignNeeds:
    """What a campaign requests from Slurm; each of its jobs is a trial, or an allocation.

    Attributes:
        concurrency: number of jobs that run at the same time.
        lookahead: number of further jobs that wait in the queue.
        time_limit: time limit of a job in seconds.
        duration: duration of the campaign in seconds.
        nodes: nodes of a job.
        job: resource -> amount for one job, memory in MiB; None if it is not known.
        jobs_per_node: number of jobs that share a node.
        has_directives: whether the site adds sbatch directives, which are not interpreted and may request more.
        words: what the jobs are.
    """

    concurrency: int
    lookahead: int
    time_limit: float
    duration: float
    nodes: int
    job: Mapping[str, float | None]
    jobs_per_node: int = 1
    has_directives: bool = False
    words: JobWords = TRIAL

    def amount(self, resource: str) -> float | None:
        """Amount of a resource for one job; None if it is not known."""
        if self.has_directives and resource.startswith(_BY_DIRECTIVES) and not self.job.get(resource):
            return None
        if resource in self.job:
            return self.job[resource]
        return 0.0 if resource in _NOT_REQUESTED or resource.startswith(_BY_DIRECTIVES) else None


def check_limits(
    settings: SlurmSettings,
    concurrency: int,
    duration: float,
    cluster: inventory.Cluster,
    partitions: Sequence[str],
    words: JobWords = TRIAL,
) -> Iterator[Finding]:
    """Check that the limits of account and QOS suffice.

    Args:
        settings: settings that request a job.
        concurrency: number of jobs that run at the same time.
        duration: duration of the campaign in seconds.
        cluster: inventory of the cluster, with accounting.
        partitions: names of the partitions of the jobs; limits of a partition's QOS count only if all have them.
        words: what the jobs are.
    """
    if "limits" not in cluster.config.get("AccountingStorageEnforce", ""):
        yield ok("limits", "Slurm does not enforce limits of account and QOS (AccountingStorageEnforce)")
        return
    found = collect_limits(settings, cluster, partitions)
    groups = [
        group for group in cluster.nodes if group.partition in partitions and not inventory.shortfalls(settings, group)
    ]
    needs = CampaignNeeds(
        concurrency,
        settings.lookahead,
        settings.time_limit,
        duration,
        settings.nodes,
        inventory.requested_resources(settings, groups),
        min((inventory.trials_per_node(settings, group) for group in groups), default=1),
        has_directives=bool(settings.directives),
        words=words,
    )
    findings = list(dict.fromkeys(finding for limit in found.limits for finding in check_limit(limit, needs)))
    yield from findings
    unknown = [*found.gaps, *dict.fromkeys(filter(None, (not_compared(limit, needs) for limit in found.limits)))]
    if unknown:
        advice = "ask the administrators, or see `sacctmgr show assoc` and `sacctmgr show qos`"
        yield warning("limits", f"not known: {'; '.join(unknown)}", advice)
    if not findings and not unknown:
        yield ok("limits", f"{found.holders} allow {concurrency} concurrent {words.jobs}")


@dataclass(frozen=True, slots=True)
class FoundLimits:
    """Limits that hold for a job.

    Attributes:
        holders: the accounts and QOS that they belong to, in words.
        limits: the limits.
        gaps: what accounting does not show, in words.
    """

    holders: str
    limits: tuple[Limit, ...]
    gaps: tuple[str, ...]


def collect_limits(settings: SlurmSettings, cluster: inventory.Cluster, partitions: Sequence[str]) -> FoundLimits:
    """Limits that hold for a job in any of these partitions, and what accounting does not show of them."""
    association, gaps = _association(settings, cluster, partitions)
    accounts, account_gaps = _account_and_parents(cluster, association)
    gaps += account_gaps
    qos = {each.name: each for each in cluster.qos}
    configured = settings.qos or (association.default_qos if association else "")
    name = configured or _DEFAULT_QOS
    job_qos = qos.get(name)
    if job_qos is None and configured:
        gaps.append(f"QOS {name} is not shown")
    chains = []
    for partition in cluster.partitions:
        if partition.name in partitions:
            if partition.qos and partition.qos not in qos:
                gaps.append(f"QOS {partition.qos} of partition {partition.name} is not shown")
            chains.append(effective_limits(qos.get(partition.qos), job_qos, association, accounts))
    chains = chains or [effective_limits(None, job_qos, association, accounts)]
    # a job runs in the first partition that accepts it, so only limits of all partitions are certain to hold
    limits = [limit for limit in chains[0] if all(limit in chain for chain in chains[1:])]
    parents = f", {' and '.join(each.name for each in accounts[1:])} above it," if len(accounts) > 1 else ""
    holder = f"account {association.account}{parents}" if association else "the account"
    return FoundLimits(f"{holder} and QOS {name}", tuple(limits), tuple(gaps))


def _association(
    settings: SlurmSettings, cluster: inventory.Cluster, partitions: Sequence[str]
) -> tuple[Association | None, list[str]]:
    """The user's association that applies to jobs; if it is not known, None and the reason."""
    account = settings.account or cluster.default_account
    if account is None and len({each.account for each in cluster.associations}) == 1:
        account = cluster.associations[0].account
    if account is None:
        return None, ["which of your accounts is the default one, and its limits: set scheduler.account"]
    mine = [each for each in cluster.associations if each.account == account and each.partition in ("", *partitions)]
    chosen = max(mine, key=lambda each: each.partition != "", default=None)  # that of the partition has precedence
    return chosen, [] if chosen else [f"the limits of account {account}"]


def _account_and_parents(
    cluster: inventory.Cluster, association: Association | None
) -> tuple[list[Account], list[str]]:
    """The association's account and its parent accounts, and what accounting does not show of them."""
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


def check_limit(limit: Limit, needs: CampaignNeeds) -> Iterator[Finding]:
    """Compare one limit with the needs of a campaign; no finding if it suffices or cannot be compared."""
    words, amount = needs.words, needs.amount(limit.resource) if limit.resource else 1.0
    match limit.kind:
        case LimitKind.RUNNING | LimitKind.RUNNING_RESOURCE | LimitKind.RUNNING_MINUTES:
            yield from _check_concurrency(limit, needs, amount)
        case LimitKind.QUEUED:
            yield from _check_queued(limit, needs)
        case LimitKind.WALL if needs.time_limit > limit.amount:
            longest = format_duration(limit.amount)
            message = f"allows {longest}, and {words.time_limit} is {format_duration(needs.time_limit)}"
            advice = f"set {words.time_limit}: {longest} or less"
            yield fault("limits", f"{limit.name} of {limit.holder}: {message}", advice)
        case LimitKind.PER_JOB if amount and amount > limit.amount:
            yield fault("limits", f"{limit}: {words.job} requests {amount:g}", _lower(limit, words))
        case LimitKind.PER_NODE if amount and amount / needs.nodes > limit.amount:
            message = f"{limit}: {words.job} requests {amount / needs.nodes:g} on each node"
            yield fault("limits", message, _lower(limit, words))
        case LimitKind.MIN_PER_JOB if amount is not None and amount < limit.amount:
            advice = f"raise {_setting(limit, words)}, or set another QOS"
            yield fault("limits", f"{limit}: {words.job} requests only {amount:g}", advice)
        case LimitKind.JOB_MINUTES if amount and amount * needs.time_limit / 60 > limit.amount:
            yield fault(
                "limits",
                f"{limit}: {words.job} requests {amount * needs.time_limit / 60:g} for its time limit",
                f"set {words.time_limit}: {format_duration(limit.amount * 60 / amount)} or less",
            )
        case LimitKind.BUDGET if amount and (total := amount * needs.concurrency * needs.duration / 60) > limit.amount:
            yield warning(
                "limits",
                f"{limit}: the campaign may use {total:g}, and part of the budget may be used already",
                f"lower campaign.duration or {words.count}, or ask for a larger budget",
            )


def _check_concurrency(limit: Limit, needs: CampaignNeeds, amount: float | None) -> Iterator[Finding]:
    per_job = amount * needs.time_limit / 60 if amount and limit.kind is LimitKind.RUNNING_MINUTES else amount
    if not per_job:
        return
    words, jobs = needs.words, math.floor(limit.amount / per_job)
    if limit.resource == "node":  # a node that several jobs share counts once
        jobs *= needs.jobs_per_node
    if not jobs:
        reason = f"one requests {per_job:g}" if limit.resource else "it allows none"
        message = f"{limit}: no {words.job.partition(' ')[2]} would ever run: {reason}"
        yield fault("limits", message, _lower(limit, words))
    elif jobs < needs.concurrency:
        message = f"{limit}: allows {jobs} concurrent {words.jobs}, and {words.count} is {needs.concurrency}"
        yield warning("limits", f"{message}: the other jobs stay pending", f"set {words.count}: {jobs}")


def _check_queued(limit: Limit, needs: CampaignNeeds) -> Iterator[Finding]:
    if not limit.amount:
        yield fault("limits", f"{limit}: allows no jobs", "set another account or QOS")
    elif limit.amount < needs.concurrency + needs.lookahead:
        yield warning(
            "limits",
            f"{limit}: allows {limit.amount:g} jobs in the queue, and the campaign has {needs.concurrency} "
            f"{needs.words.jobs} and {needs.lookahead} pending ones: the other jobs are submitted later",
            f"lower {needs.words.settings_of_jobs}",
        )


def not_compared(limit: Limit, needs: CampaignNeeds) -> str | None:
    """What is not known for the comparison of a limit; None if it was compared."""
    if limit.resource and needs.amount(limit.resource) is None:
        return f"how much {needs.words.job} takes of {limit}"
    if limit.kind is LimitKind.BUDGET and needs.amount(limit.resource) != 0:
        return f"how much is left of {limit}"
    return None


def _setting(limit: Limit, words: JobWords) -> str:
    return words.keys.get(limit.resource.partition(":")[0], f"the request of {words.job}")


def _lower(limit: Limit, words: JobWords) -> str:
    return (
        f"lower {_setting(limit, words)}, or set another account or QOS"
        if limit.resource
        else "set another account or QOS"
    )
