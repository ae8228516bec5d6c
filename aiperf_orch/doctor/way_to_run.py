"""Which of the two ways to run trials fits a cluster's limits: each trial as a job, or all of them in few allocations.

Pure: the limits come from `slurm_job_classes` and `pbs_job_classes`, which read them from the schedulers' output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from aiperf_orch.doctor.findings import Finding, ok, warning
from aiperf_orch.schedulers.draft_part import DraftPart
from aiperf_orch.settings.allocations import AllocationSettings
from aiperf_orch.settings.schedulers import AgentsSettings, ClusterSettings
from aiperf_orch.util.units import format_duration

SUBJECT: Final = "allocations"
_MARGIN: Final = 1800.0  # seconds of an allocation beyond the campaign's duration, for the start of its first trial
_SPARE: Final = 1.05  # largest share of further nodes that is accepted for a longer time limit or a single job


@dataclass(frozen=True, slots=True)
class Bound:
    """A number of jobs that a limit allows, and the limit as the scheduler shows it."""

    jobs: int
    source: str


@dataclass(frozen=True, slots=True)
class JobClass:
    """Jobs of one kind, which have the same limits: those of a partition with a QOS, or of a queue.

    Attributes:
        name: the class in words: `partition batch, QOS normal`.
        keys: settings of the section `scheduler` that select it; empty for one that the site file selects.
        min_nodes: minimum number of nodes of a job.
        max_nodes: maximum number of nodes of a job; None without a limit.
        time_limit: maximum time limit of a job in seconds; None without a limit.
        running: limit on the user's running jobs; None without one.
        queued: limit on the user's jobs in the queue, running ones included; None without one.
        has_nodes: number of nodes on which trials fit; None where it is not known.
    """

    name: str
    keys: Mapping[str, str] = field(default_factory=dict)
    min_nodes: int = 1
    max_nodes: int | None = None
    time_limit: float | None = None
    running: Bound | None = None
    queued: Bound | None = None
    has_nodes: int | None = None

    def takes(self, nodes: int) -> bool:
        """Whether a job of this number of nodes belongs to the class."""
        return self.min_nodes <= nodes and (self.max_nodes is None or nodes <= self.max_nodes)

    @property
    def jobs(self) -> float:
        """Number of the user's jobs that may run at once."""
        return min((bound.jobs for bound in (self.running, self.queued) if bound), default=math.inf)


@dataclass(frozen=True, slots=True)
class Trials:
    """What the trials of a campaign need.

    Attributes:
        concurrency: number of trials that run at the same time.
        nodes: nodes of a trial.
        duration: duration of the campaign in seconds.
        per_node: number of trials that share a node.
        node_keys: settings of an allocation that request all of a node that several trials share.
    """

    concurrency: int
    nodes: int
    duration: float
    per_node: int = 1
    node_keys: Mapping[str, int] = field(default_factory=dict)

    @property
    def total_nodes(self) -> int:
        """Nodes of all trials together."""
        if self.nodes > 1:
            return self.concurrency * self.nodes
        return math.ceil(self.concurrency / self.per_node)


@dataclass(frozen=True, slots=True)
class Plan:
    """Allocations that hold all trials: `at_once` jobs of `nodes` nodes, in jobs of one class."""

    job_class: JobClass
    at_once: int
    nodes: int
    time_limit: float

    def in_turn(self, duration: float) -> int:
        """Number of allocations that follow one another in a campaign of this duration in seconds."""
        return math.ceil(duration / self.time_limit)

    def in_words(self, trials: Trials) -> str:
        """The plan in words: how many jobs, of how many nodes, how often."""
        number = "one" if self.at_once == 1 else f"{self.at_once:,} at once"
        nodes = f"{self.nodes:,} node{'s' if self.nodes > 1 else ''}"
        in_turn = self.in_turn(trials.duration)
        follow = f", {in_turn} one after the other" if in_turn > 1 else ""
        longest = in_turn * self.time_limit - _MARGIN  # the campaign begins with a trial, after its allocation
        if 0 < longest < trials.duration:
            follow += f" (campaign.duration: {format_duration(longest)} leaves time for the start)"
        return f"{number}, of {nodes} in {self.job_class.name}{follow}"

    def text(self, trials: Trials) -> str:
        """The plan as settings: `scheduler.allocations: {nodes: 512, time_limit: 12h}`."""
        listed = ", ".join(f"{key}: {value}" for key, value in self.values(trials).items())
        keys = "".join(f"scheduler.{key}: {value}, " for key, value in self.job_class.keys.items())
        return f"{keys}scheduler.allocations: {{{listed}}}"

    def values(self, trials: Trials) -> dict[str, str]:
        """The plan as the settings of the part `allocations`."""
        values: dict[str, str] = {"nodes": str(self.nodes), "time_limit": format_duration(self.time_limit)}
        if self.at_once > 1:
            values["at_once"] = str(self.at_once)
        return values | {key: str(value) for key, value in trials.node_keys.items()}


def choose_plan(trials: Trials, classes: Sequence[JobClass]) -> Plan | None:
    """The allocations that suit the trials best; None where no class has room for all of them.

    The fewest jobs at once, then those whose nodes are hardly more than the trials need, then those of a class that the
    site file selects, then the longest time limit, then the fewest nodes.
    """

    def rank(plan: Plan) -> tuple[int, bool, bool, int, int]:
        excess = plan.at_once * plan.nodes > _SPARE * trials.total_nodes + 1
        return plan.at_once, excess, bool(plan.job_class.keys), plan.in_turn(trials.duration), plan.nodes

    plans = [plan for each in classes if (plan := _plan(trials, each))]
    return min(plans, key=rank, default=None)


def _plan(trials: Trials, job_class: JobClass) -> Plan | None:
    """The allocations of a class that hold all trials; None where it has no room for them."""
    most = job_class.max_nodes
    of_trials = None if most is None else most // trials.nodes * trials.nodes  # a trial lies in one allocation
    if of_trials == 0:
        return None
    fewest = 1 if of_trials is None else math.ceil(trials.total_nodes / of_trials)
    wanted = trials.duration + _MARGIN
    for at_once in range(fewest, int(min(2 * fewest, job_class.jobs)) + 1):
        each = max(math.ceil(trials.total_nodes / at_once / trials.nodes) * trials.nodes, job_class.min_nodes)
        if job_class.has_nodes is None or at_once * each <= job_class.has_nodes:
            return Plan(job_class, at_once, each, min(wanted, job_class.time_limit or wanted))
    return None


def _most_trials(trials: Trials, job_class: JobClass) -> int:
    """Number of trials for which the jobs of a class have room."""
    nodes = min(math.inf if bound is None else bound for bound in (job_class.max_nodes, job_class.has_nodes))
    if nodes == math.inf:
        return trials.concurrency
    at_once = min(job_class.jobs, (job_class.has_nodes or math.inf) // nodes)
    return int(min(at_once, trials.concurrency) * (nodes // trials.nodes)) * trials.per_node


def check_way(settings: ClusterSettings, trials: Trials, classes: Sequence[JobClass]) -> Iterator[Finding]:
    """Report which of the two ways fits, and why.

    Args:
        settings: settings of the site.
        trials: what its trials need.
        classes: classes of jobs on nodes that fit a trial; those that the site file selects come first.
    """
    selected = [each for each in classes if not each.keys]
    if not selected:  # other checks report what the site file selects
        return
    reason = _too_few_jobs(trials, selected)
    if settings.allocations:
        yield from _check_allocations(settings, settings.allocations, trials, reason)
    elif reason is None:
        yield ok(SUBJECT, f"not needed: {_jobs_fit(trials, selected)}")
    else:
        yield _advise(trials, classes, reason)


def agents_by_hand(settings: AgentsSettings, concurrency: int) -> str:
    """What to start manually for a campaign that submits nothing, in one line."""
    size = f" of at least {settings.nodes} nodes" if settings.nodes > 1 else ""
    return (
        f"agents: nothing is submitted; start `aiperf-orch agent CAMPAIGN_DIR` on each node of your allocations{size}, "
        f"with slots for {concurrency:,} concurrent trials in all"
    )


def draft_part(trials: Trials, classes: Sequence[JobClass]) -> DraftPart:
    """The part `allocations` of a new site file: a comment, except where trials cannot be jobs."""
    selected = [each for each in classes if not each.keys]
    reason, plan = _too_few_jobs(trials, selected), choose_plan(trials, classes)
    is_needed = reason is not None and plan is not None and not plan.job_class.keys
    if plan is None and (most := max((_most_trials(trials, each) for each in selected), default=0)):
        trials = replace(trials, concurrency=min(most, trials.concurrency))
        plan = choose_plan(trials, selected)
    if reason is None:
        why = f"run all trials in few batch jobs; here {_jobs_fit(trials, selected) if selected else 'no nodes fit'}"
    else:
        words = f": {plan.in_words(trials)}" if plan else ""
        why = f"{reason}: {trials.concurrency:,} concurrent trials need allocations{words}"
    shown = plan or Plan(JobClass(""), 1, trials.total_nodes, trials.duration + _MARGIN)
    keys = [f"{key}: {value}" for key, value in shown.job_class.keys.items()] if reason else []
    part = [*keys, "allocations:", *(f"  {key}: {value}" for key, value in shown.values(trials).items())]
    return DraftPart(why, tuple(part), is_needed)


def _too_few_jobs(trials: Trials, selected: Sequence[JobClass]) -> str | None:
    """Why each trial cannot be a job of its own; None where it can, in at least one class."""
    usable = [each for each in selected if each.takes(trials.nodes)] or selected
    best = max(usable, key=lambda each: each.jobs, default=None)
    if best is None or best.jobs >= trials.concurrency:
        return None
    bounds = [(bound, what) for bound, what in ((best.queued, "in the queue"), (best.running, "at once")) if bound]
    tightest, where = min(bounds, key=lambda bound: bound[0].jobs)
    jobs = f"{tightest.jobs:,} job{'s' if tightest.jobs != 1 else ''}"
    return f"at most {jobs} of yours {where} ({tightest.source})"


def _jobs_fit(trials: Trials, selected: Sequence[JobClass]) -> str:
    usable = [each for each in selected if each.takes(trials.nodes)] or selected
    best = max(usable, key=lambda each: each.jobs)
    bounds = [bound for bound in (best.running, best.queued) if bound]
    if not bounds:
        return "a job for each trial fits: no limit on the number of your jobs was found"
    tightest = min(bounds, key=lambda bound: bound.jobs)
    return f"a job for each trial fits: at most {tightest.jobs:,} jobs of yours at once ({tightest.source})"


def _advise(trials: Trials, classes: Sequence[JobClass], reason: str) -> Finding:
    """The finding for a campaign whose trials cannot be jobs, and that has no allocations."""
    plan, wanted = choose_plan(trials, classes), f"{trials.concurrency:,} concurrent trials"
    if plan is None:
        message = f"{reason}: {wanted} fit neither as jobs nor in allocations, by the limits of {classes[0].name}"
        most = max(_most_trials(trials, each) for each in classes)
        return warning(SUBJECT, message, f"set campaign.concurrency: {most} or less, or ask for higher limits")
    return warning(SUBJECT, f"{reason}: {wanted} need allocations: {plan.in_words(trials)}", f"set {plan.text(trials)}")


def _check_allocations(
    settings: ClusterSettings, own: AllocationSettings, trials: Trials, reason: str | None
) -> Iterator[Finding]:
    """Compare the allocations of a site file with its trials."""
    slots = settings.slots or 0
    jobs = f"{own.at_once:,} allocation{'s' if own.at_once > 1 else ''} of {own.nodes:,} nodes"
    held = f"{jobs}, {format_duration(own.time_limit)}, {'have' if own.at_once > 1 else 'has'} {slots:,} slots"
    wanted = f"campaign.concurrency is {trials.concurrency:,}"
    if slots < trials.concurrency:
        yield warning(SUBJECT, f"{held}, and {wanted}: the other trials wait", f"set campaign.concurrency: {slots}")
    elif idle := _idle_nodes(settings, own, trials):
        yield warning(
            SUBJECT,
            f"{held}, and {wanted}: {idle:,} node{'s' if idle > 1 else ''} would stay idle",
            f"set campaign.concurrency: {slots}, or lower scheduler.allocations.nodes",
        )
    else:
        alternative = "a job for each trial would fit, too: remove scheduler.allocations for that"
        why = f"without allocations: {reason}" if reason else alternative
        yield ok(SUBJECT, f"{held} for {trials.concurrency:,} trials; {why}")
    if own.total is not None and own.total // own.at_once * own.time_limit < trials.duration:
        covered = format_duration(own.total // own.at_once * own.time_limit)
        message = f"scheduler.allocations.total, {own.total}, lasts for {covered}, and campaign.duration is "
        advice = f"raise it to {math.ceil(trials.duration / own.time_limit) * own.at_once}, or shorten the campaign"
        yield warning(SUBJECT, message + format_duration(trials.duration), advice)


def _idle_nodes(settings: ClusterSettings, own: AllocationSettings, trials: Trials) -> int:
    """Number of whole nodes that no trial needs; 0 for a few, which may be there for a class of larger jobs."""
    needed = math.ceil(trials.concurrency / settings.slots_per_node) * settings.nodes
    idle = own.at_once * own.nodes - needed
    return idle if own.at_once * own.nodes > _SPARE * needed + 1 else 0
