"""Keeper of a campaign's allocations: submits, watches and ends the jobs that hold its agents.

Like the controller, which owns it, it records in the journal before it acts, finds lost submissions by their names, and
runs all that may block beside the loop. While it waits for nothing it queries the queue every few minutes only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from threading import Event
from time import monotonic
from typing import Final

from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.agents_keeper import AgentsKeeper, NoAllocations
from aiperf_orch.controller.allocation_canceller import AllocationCanceller
from aiperf_orch.controller.allocation_plan import (
    DISMISSED,
    NEVER_ACCEPTED,
    RESUBMITTED,
    AllocationLimits,
    Planned,
    exhaustion_reason,
    failure_reason,
    plan_allocations,
    time_limit,
)
from aiperf_orch.controller.allocation_triage import (
    LiveAllocation,
    classify_allocations,
    job_end_of,
    recorded_reason,
)
from aiperf_orch.controller.job_log import last_line
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.controller.queue_poller import QueueAnswer, QueuePoller
from aiperf_orch.controller.submitter import Submitter
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import Allocated, Allocating, AllocationEnded, Paused
from aiperf_orch.records.workforce import AllocationEnd, AllocationJob, AllocationRecord
from aiperf_orch.schedulers.allocation_jobs import allocation_request
from aiperf_orch.schedulers.base import JobEnd, JobRequest, JobState, Scheduler
from aiperf_orch.schedulers.placement.scheduler import PlacementScheduler
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.job_files import LOG
from aiperf_orch.util.units import now

CHANGED: Final = "settings of its job have changed, and no agent had joined from it"

_STEADY: Final = 300.0
"""Seconds between two queries of the queue while nothing is expected to change."""

_LONG_PENDING: Final = 600.0
_PENDING: Final = 60.0
"""Seconds between two queries for a job that has been pending for `_LONG_PENDING`."""


def keeper_of(campaign: HeldCampaign, scheduler: Scheduler, warn: Callable[[str], None], wake: Event) -> NoAllocations:
    """The keeper of a campaign with this scheduler; arguments as of `AgentsKeeper`."""
    if not isinstance(scheduler, PlacementScheduler):
        return NoAllocations()
    limits = AllocationLimits.of(campaign.directory.settings)
    if limits is None or scheduler.batch is None:
        return AgentsKeeper(campaign, scheduler, warn, wake)
    return AllocationKeeper(campaign, scheduler, scheduler.batch, limits, warn, wake)


class AllocationKeeper(AgentsKeeper):
    """Keeper of a campaign's allocations: it keeps as many as the settings permit, while the campaign needs them."""

    def __init__(
        self,
        campaign: HeldCampaign,
        scheduler: PlacementScheduler,
        batch: Scheduler,
        limits: AllocationLimits,
        warn: Callable[[str], None],
        wake: Event,
    ) -> None:
        """Adopt the allocations of earlier controllers.

        Args:
            campaign: The campaign.
            scheduler: Scheduler that places its trials on agents.
            batch: Scheduler of the allocations' jobs.
            limits: Limits of the allocations.
            warn: Receives messages for the user.
            wake: Set when a call has ended.
        """
        super().__init__(campaign, scheduler, warn, wake)
        self._batch, self._limits = batch, limits
        times = self._settings
        pause = max(batch.query_interval, times.poll_interval)
        workforce = campaign.state.workforce
        accepted = any(allocation.job for allocation in workforce.allocations.values())
        self._submitter = Submitter(
            batch, times.retry_submit_for, pause, warn, wake, accepted=accepted, what="allocation(s)"
        )
        self._poller = QueuePoller(batch, times.poll_interval, warn, wake)
        self._canceller = AllocationCanceller(batch, times.stop_grace, pause, warn, wake)
        self._last_answer = -math.inf
        self._unsubmitted: dict[str, Planned] = {}  # recorded, and certainly not accepted so far
        self._live = {allocation.name: LiveAllocation(allocation) for allocation in workforce.live_allocations}
        self._ghosts: dict[str, LiveAllocation] = {}  # jobs that are alive although they were never accepted
        for allocation in workforce.allocations.values():
            if allocation.end is not None:
                scheduler.board.allocation_ended(
                    allocation.name, job_end_of(allocation.end.reason, allocation.end.message)
                )

    @property
    def running(self) -> bool:
        """Whether any call runs, or a campaign that is over waits for its allocations."""
        calls = self._submitter.running or self._poller.running or self._canceller.running
        return calls or super().running

    @property
    def busy(self) -> bool:
        """Whether an allocation is being submitted, or those of a campaign that is over have not ended yet.

        After the grace they are cancelled by force, and have the grace to end once more.
        """
        if self._submitter.in_flight or self._canceller.running:
            return True
        closing = self._closing_for
        return closing is not None and closing < 2 * self._settings.stop_grace and self._is_anything_left()

    def step(self) -> None:
        """Take results of calls, journal what they found, and begin what is due."""
        super().step()
        self._note_agents()
        self._take_submission()
        self._take_answer()
        self._poll()
        self._take_answer()  # of a scheduler that answers at once
        self._cancel()

    def submit(self, deadline: datetime | None) -> None:
        """Submit allocations that the running campaign needs.

        Args:
            deadline: End of the campaign; None before its first trial has begun.
        """
        if self._limits.grows:
            self._scheduler.replace_smaller_agents(self._limits.slots)
        if not self._submitter.is_free:
            return
        workforce = self._campaign.state.workforce
        if not self._unsubmitted:
            reason = exhaustion_reason(workforce, self._limits)
            if reason is not None and not self._agents.has_read:
                return  # an agent may have been started manually
            if reason is not None:
                self._campaign.append(Paused, reason=reason)
                return
            self._record_planned(plan_allocations(workforce, self._limits, deadline, now()))
        if self._unsubmitted:
            self._start(deadline)

    def close(self, seconds: float) -> None:
        """Record the result of a submission that ends within this time."""
        self._submitter.join(seconds)
        self._take_submission()

    def succeed(self, former: NoAllocations) -> None:
        """End the allocations that certainly were not accepted: others are planned with the present settings."""
        if isinstance(former, AllocationKeeper) and former._unsubmitted:
            self._record_ends({name: JobEnd(None, CHANGED) for name in former._unsubmitted})

    def _is_anything_left(self) -> bool:
        return bool(self._live) or super()._is_anything_left()

    # submissions

    def _record_planned(self, planned: list[Planned]) -> None:
        """Record allocations that are about to be submitted."""
        if not planned:
            return
        directory, workforce = self._campaign.directory, self._campaign.state.workforce
        first = len(workforce.allocations) + 1
        names = [directory.allocation_name(number) for number in range(first, first + len(planned))]
        limits = self._limits
        records = [
            AllocationRecord(name=name, nodes=limits.nodes, slots=limits.slots, after=each.after)
            for name, each in zip(names, planned, strict=True)
        ]
        self._campaign.append(Allocating, allocations=records)
        self._unsubmitted = dict(zip(names, planned, strict=True))
        self._live |= {name: LiveAllocation(workforce.allocations[name]) for name in names}

    def _start(self, deadline: datetime | None) -> None:
        """Begin to submit what is recorded and not submitted."""
        try:
            requests = [self._request(name, planned, deadline) for name, planned in self._unsubmitted.items()]
        except AiperfError as error:  # tried again at a later step
            self._warn(f"{len(self._unsubmitted)} allocation(s) wait to be submitted: {error}")
            return
        self._submitter.start(requests)
        self._take_submission()  # of a scheduler that answers at once

    def _request(self, name: str, planned: Planned, deadline: datetime | None) -> JobRequest:
        """Make the folder of an allocation's job, and return its request."""
        directory = self._campaign.directory
        request = allocation_request(directory, self._settings, name)
        with translate_os_errors(request.folder):
            request.folder.mkdir(mode=0o700, exist_ok=True)
        predecessor = self._live.get(planned.after) if planned.after else None
        planned = planned if predecessor else Planned()  # it may have ended in the meantime
        duration = directory.settings.campaign.duration
        return replace(
            request,
            time_limit=time_limit(planned, self._limits, duration, deadline, now()),
            drained=tuple(self._campaign.state.drained.entries),
            after=predecessor.state.job if predecessor else None,
        )

    def _take_submission(self) -> None:
        """Record the result of a submission that has ended."""
        result = self._submitter.take()
        if result is None:
            return
        for name in [*result.jobs, *result.refused, *result.unsure]:
            self._unsubmitted.pop(name, None)
        if result.jobs:
            jobs = [AllocationJob(name=name, job=job) for name, job in result.jobs.items()]
            self._campaign.append(Allocated, jobs=jobs)
        if result.refused:
            self._record_ends({name: JobEnd(EndReason.SUBMIT_REFUSED, why) for name, why in result.refused.items()})
            name, why = next(iter(result.refused.items()))
            self._pause(f"allocation {name} was refused: {why}")

    # the queue

    def _note_agents(self) -> None:
        """Note of which allocations agents have joined, and which of them all have left."""
        present: dict[str, bool] = {}
        for agent in self._campaign.state.workforce.agents.values():
            name = agent.record.allocation
            if name in self._live:
                present[name] = present.get(name, False) or agent.left is None
        for name, any_present in present.items():
            allocation = self._live[name]
            allocation.has_agents = True
            allocation.deserted_since = None if any_present else allocation.deserted_since or monotonic()

    def _poll(self) -> None:
        """Query the queue for the allocations whose state only it knows."""
        left = monotonic() - self._last_answer
        there = [each for name, each in self._live.items() if name not in {*self._submitter.names, *self._unsubmitted}]
        expected = [each.name for each in there if self._may_end_soon(each)]
        urgent = {each.name for each in there if left >= self._query_period(each)} | set(expected)
        jobs = {each.name: each.state.job for each in there if each.name in urgent}
        others = {each.name: each.state.job for each in there if each.name not in urgent}
        never_accepted = {
            name: None
            for name, each in self._campaign.state.workforce.allocations.items()
            if each.end is not None and each.end.reason == NEVER_ACCEPTED
        }
        self._poller.poll(jobs, expected, others | never_accepted)

    def _may_end_soon(self, allocation: LiveAllocation) -> bool:
        """Whether its job may end at any moment."""
        uncertain = allocation.cancelling is not None or allocation.missing_since is not None
        return self._is_over or uncertain or allocation.deserted_since is not None

    def _query_period(self, allocation: LiveAllocation) -> float:
        """Seconds between two queries of the queue that an allocation is worth."""
        state = allocation.state
        if state.job is None or self._has_silent_agent(allocation):
            return 0.0
        if allocation.has_agents or state.after in self._live:  # it runs, or waits for one that does
            return _STEADY
        return 0.0 if (now() - state.submitted).total_seconds() < _LONG_PENDING else _PENDING

    def _has_silent_agent(self, allocation: LiveAllocation) -> bool:
        """Whether any agent of an allocation gives no sign of life, although it has not ended."""
        return any(
            agent.gone is None
            and agent.begin is not None
            and agent.begin.allocation == allocation.name
            and agent.silent_for >= self._settings.silent_after
            for agent in self._scheduler.board.agents.values()
        )

    def _take_answer(self) -> None:
        answer = self._poller.take_answer()
        if answer is None:
            return
        self._last_answer = monotonic()
        triage = classify_allocations(self._live, answer, self._settings)
        if triage.found:
            self._campaign.append(Allocated, jobs=triage.found)
        ends = dict(triage.ended)
        ends |= {name: JobEnd(None, "its submission had no answer") for name in triage.never_accepted}
        if ends:
            self._record_ends(ends, triage.never_accepted)
        self._find_ghosts(answer)

    def _find_ghosts(self, answer: QueueAnswer) -> None:
        """Find jobs in the queue that counted as never accepted; their agents get no trials, so they are cancelled."""
        allocations = self._campaign.state.workforce.allocations
        for name, status in answer.statuses.items():
            if name in self._live or name not in allocations or status.state is JobState.ENDED:
                continue
            if name not in self._ghosts:
                self._warn(f"allocation {name} (job {status.job}) was accepted too late, and is cancelled")
                ghost = replace(allocations[name], job=status.job)
                self._ghosts[name] = LiveAllocation(ghost, cancelling=JobEnd(None, "never accepted"))

    def _record_ends(self, ends: Mapping[str, JobEnd], never_accepted: list[str] | None = None) -> None:
        """Record ends of allocations, and pause the campaign where allocations do not serve."""
        records = []
        for name, end in ends.items():
            allocation = self._live.pop(name)
            end = self._explained(allocation, end)
            reason = NEVER_ACCEPTED if name in (never_accepted or ()) else self._reason(end)
            records.append(AllocationEnd(name=name, reason=reason, message=end.detail))
            self._unsubmitted.pop(name, None)
            self._scheduler.board.allocation_ended(name, end)
        self._campaign.append(AllocationEnded, allocations=records)
        why = failure_reason(self._campaign.state.workforce, ends)
        if why is not None:
            self._pause(why)

    def _reason(self, end: JobEnd) -> str:
        if end.detail == CHANGED:
            return RESUBMITTED
        needed_no_more = self._is_over and end.reason in (None, EndReason.CANCELLED)
        return DISMISSED if needed_no_more else recorded_reason(end)

    def _explained(self, allocation: LiveAllocation, end: JobEnd) -> JobEnd:
        """The end of an allocation, with the reason why it was cancelled, and the last words of its log."""
        if allocation.cancelling is not None:
            return allocation.cancelling
        if allocation.has_agents or allocation.state.job is None:
            return end
        folder = self._campaign.directory.allocation_folder(allocation.name)
        log = last_line(folder / LOG, folder / self._batch.early_log)
        return replace(end, detail="; ".join(filter(None, [end.detail, log])))

    def _pause(self, reason: str) -> None:
        if self._campaign.state.phase is Phase.RUNNING:
            self._campaign.append(Paused, reason=reason)

    # cancellation

    def _cancel(self) -> None:
        """Cancel the jobs of allocations that are not needed or will never serve, by force after the grace."""
        wanted = [each for each in self._to_cancel() if each.name not in self._submitter.names]
        closing = self._closing_for
        self._canceller.cancel(wanted, at_once=closing is not None and closing >= self._settings.stop_grace)
        over = {name for name in self._canceller.take_never_started() if name in self._live}
        over |= {each.name for each in wanted if each.cancel_sent is not None and each.name in self._unsubmitted}
        if over:
            self._record_ends({name: JobEnd(EndReason.CANCELLED, "cancelled before it started") for name in over})

    def _to_cancel(self) -> list[LiveAllocation]:
        """Allocations whose jobs are to end."""
        for each in self._live.values():
            if each.state.outdated and each.state.job and not each.cancelling and not each.has_agents:
                each.cancelling = JobEnd(None, CHANGED)
        wanted = [*self._ghosts.values(), *(each for each in self._live.values() if each.cancelling)]
        closing = self._closing_for
        if closing is not None:  # those with agents end by themselves when these have been dismissed
            late = closing >= self._settings.stop_grace
            wanted += [each for each in self._live.values() if not each.cancelling and (late or not each.has_agents)]
        return wanted
