"""Triage of allocations by the state of their jobs: which are found, have ended, were never accepted, or are stuck."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic

from aiperf_orch.campaign.workforce import AllocationState
from aiperf_orch.controller.allocation_plan import NEVER_ACCEPTED
from aiperf_orch.controller.queue_poller import QueueAnswer
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.workforce import AllocationJob
from aiperf_orch.schedulers.base import JobEnd, JobState, JobStatus
from aiperf_orch.settings.schedulers import SchedulerSettings
from aiperf_orch.util.units import format_duration


@dataclass
class LiveAllocation:
    """What this controller knows of an allocation beside the journal. Times are of the monotonic clock.

    Attributes:
        state: The allocation by the journal.
        has_agents: Whether any agent has ever joined from it.
        deserted_since: Since when all agents that joined from it have left; None while any has not.
        missing_since: When the scheduler first did not know its job; None while it does.
        stuck_since: Since when its job will not start without intervention; None where it will.
        cancelling: Why its job is being cancelled, with a message; None where it is not.
        cancel_sent: When its job was cancelled last; None before that.
        is_killed: Whether it was then cancelled by force.
    """

    state: AllocationState
    has_agents: bool = False
    deserted_since: float | None = None
    missing_since: float | None = None
    stuck_since: float | None = None
    cancelling: JobEnd | None = None
    cancel_sent: float | None = None
    is_killed: bool = False

    @property
    def name(self) -> str:
        """Name of its job."""
        return self.state.name


@dataclass
class AllocationTriage:
    """What an answer of the queue means for allocations.

    Attributes:
        found: Jobs whose id was not known.
        ended: Ends by name; the reason is None where the scheduler does not know it.
        never_accepted: Names of allocations of which no job was ever known.
    """

    found: list[AllocationJob] = field(default_factory=list)
    ended: dict[str, JobEnd] = field(default_factory=dict)
    never_accepted: list[str] = field(default_factory=list)


def classify_allocations(
    live: Mapping[str, LiveAllocation], answer: QueueAnswer, settings: SchedulerSettings
) -> AllocationTriage:
    """Classify allocations by the state of their jobs, and note what is to be cancelled on each.

    Args:
        live: The allocations that have not ended, by name.
        answer: The answer of the queue.
        settings: Settings of the scheduler.
    """
    triage = AllocationTriage()
    for name in answer.jobs.keys() & live.keys():
        allocation = live[name]
        status, known = answer.statuses.get(name), None if answer.known is None else answer.known.get(name)
        if isinstance(known, JobStatus):
            status = known
        if status is not None and allocation.state.job is None:
            triage.found.append(AllocationJob(name=name, job=status.job))
        if status is not None and status.state is not JobState.ENDED:
            _note_alive(allocation, status, settings)
        elif isinstance(known, JobEnd):
            triage.ended[name] = known
        elif answer.known is not None:
            _classify_absent(triage, allocation, status, settings)
    return triage


def _note_alive(allocation: LiveAllocation, status: JobStatus, settings: SchedulerSettings) -> None:
    """Note the state of a job that is pending or runs; one that will never serve is to be cancelled."""
    clock = monotonic()
    allocation.missing_since = None
    allocation.state.note = status.detail if status.state is JobState.PENDING else ""
    allocation.stuck_since = (allocation.stuck_since or clock) if status.stuck else None
    within = format_duration(settings.begin_within)
    if allocation.cancelling is not None:
        return
    if allocation.has_agents:
        if allocation.deserted_since is not None and clock - allocation.deserted_since >= settings.begin_within:
            allocation.cancelling = JobEnd(EndReason.HUNG, f"it did not end within {within} of its last agent")
        return
    stuck_for = clock - allocation.stuck_since if allocation.stuck_since is not None else 0.0
    if status.stuck and (status.final or stuck_for >= settings.begin_within):
        allocation.cancelling = JobEnd(EndReason.HELD, status.detail)
    elif (status.running_for or 0.0) >= settings.begin_within:
        allocation.cancelling = JobEnd(EndReason.HUNG, f"no agent began within {within} of its start")


def _classify_absent(
    triage: AllocationTriage, allocation: LiveAllocation, status: JobStatus | None, settings: SchedulerSettings
) -> None:
    """Classify an allocation whose job has ended for an unknown reason, or is not known to the scheduler."""
    clock = monotonic()
    if allocation.missing_since is None:
        allocation.missing_since = clock
    if allocation.deserted_since is not None or clock - allocation.missing_since >= settings.lost_after:
        if allocation.state.job is None and status is None:
            triage.never_accepted.append(allocation.name)
        else:
            detail = status.detail if status else "the scheduler no longer knows its job"
            triage.ended[allocation.name] = JobEnd(None, detail)


def recorded_reason(end: JobEnd) -> str:
    """The reason of an allocation's end for the journal."""
    return end.reason.value if end.reason else "ENDED"


def job_end_of(reason: str, message: str) -> JobEnd:
    """The end of an allocation's job by the journal's record of it."""
    known = reason in EndReason.__members__ and reason != NEVER_ACCEPTED
    return JobEnd(EndReason[reason] if known else None, message)
