"""The controller of one campaign: each step observes, records, decides, and begins scheduler calls.

All that it knows is in the journal and the events, so that a controller that was killed at any moment is replaced by
the next one. It records a submission or a cancellation before it begins it; the next controller finds out by the names
of the jobs whether that was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from threading import Event
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.snapshot import CampaignSnapshot
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.campaign.trial_state import AttemptKey, AttemptState
from aiperf_orch.controller.attempt_monitor import LiveAttempt, Unsubmitted, monitor_attempt
from aiperf_orch.controller.cancellation import reclaim_attempt, revoke_refused
from aiperf_orch.controller.end_recorder import AttemptOutcome, EndRecorder
from aiperf_orch.controller.job_requests import make_requests
from aiperf_orch.controller.job_triage import attempt_id, classify_jobs, job_is_over, job_record, seconds_until_over
from aiperf_orch.controller.live_attempts import LiveAttempts
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.controller.queue_poller import QueueAnswer, jobs_to_query, may_be_in_queue, may_end_soon
from aiperf_orch.controller.requests import RequestHandler
from aiperf_orch.controller.scheduler_parts import SchedulerParts
from aiperf_orch.controller.settings_updates import jobs_to_replace
from aiperf_orch.controller.submission_planner import SubmissionPlanner
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import (
    Began,
    Cancelling,
    JobRecord,
    Missing,
    Stopped,
    Submitted,
    Submitting,
)
from aiperf_orch.schedulers.base import Scheduler
from aiperf_orch.schedulers.registry import make_trial_scheduler
from aiperf_orch.util.errors import TransientError
from aiperf_orch.util.units import format_duration, now

_LONGEST_WAIT: Final = 2.0
"""Seconds that one wait for a scheduler call may take."""


class Controller:
    """The one controller of a campaign.

    Scheduler calls run beside it, one of a kind at a time: `step` never waits for them.

    Attributes:
        directory: The campaign. Files that cannot be read for now are read again at a later step.
        scheduler: Scheduler of its jobs.
        settings: Its settings.
    """

    def __init__(
        self,
        directory: CampaignDirectory,
        scheduler: Scheduler,
        *,
        resume: bool,
        warn: Callable[[str], None],
        take_over: bool = False,
        snapshot: CampaignSnapshot | None = None,
    ) -> None:
        """Lock the campaign, read its journal, and adopt the live attempts of earlier controllers.

        Args:
            directory: The campaign.
            scheduler: Scheduler of its jobs.
            resume: Whether a paused or stopped campaign goes on.
            warn: Receives messages for the user.
            take_over: Take the lock from the controller of another host.
            snapshot: What this process has read of the campaign before, and need not read again.

        Raises:
            LockedError: When another controller has the campaign.
            RecordError: When the journal or the frozen settings are damaged.
        """
        self._warn, self._wake = warn, Event()
        opened = replace(directory, retry_for=0.0)
        self._campaign = HeldCampaign(opened, resume=resume, take_over=take_over, snapshot=snapshot)
        with ExitStack() as undo:
            undo.callback(self._campaign.close)
            if self._campaign.directory.settings != directory.settings:  # they have changed since it was opened
                scheduler = make_trial_scheduler(self._campaign.directory)
            self._requests = RequestHandler(self._campaign, warn)
            self._recorder = EndRecorder(self._campaign, scheduler, warn)
            self._use(SchedulerParts.of(self._campaign, scheduler, warn, self._wake))
            for attempt in self.state.live.values():
                self._monitor(attempt)
            undo.pop_all()

    def _use(self, parts: SchedulerParts) -> None:
        """Go on with these parts, and with the settings in force."""
        self._parts, self.scheduler, self.directory = parts, parts.scheduler, self._campaign.directory
        self.settings = self.directory.settings
        self._poller, self._canceller, self._submitter = parts.poller, parts.canceller, parts.submitter
        self._keeper = parts.keeper
        self._requests.use(parts.scheduler)
        self._planner = SubmissionPlanner(self.directory, parts.scheduler.lookahead, self._recorder.get_search)

    def _take_requests(self) -> None:
        """Carry out requests, and take up changed settings when no call runs that began with those before."""
        self._requests.take()
        if not self._is_outdated or self._parts.running:
            return
        parts = self._parts.renewed(self._campaign, self._warn, self._wake)
        self._recorder.use(parts.scheduler)
        self._use(parts)

    @property
    def _is_outdated(self) -> bool:
        """Whether settings have changed, and are not taken up yet: until then nothing is submitted."""
        return self.settings is not self._campaign.directory.settings

    def close(self) -> None:
        """Release the campaign; jobs run on. The result of a submission that ends within seconds is recorded first."""
        try:
            self._submitter.join(_LONGEST_WAIT)
            self._record_submission()
            self._keeper.close(_LONGEST_WAIT)
        finally:
            self._campaign.close()

    def tick(self, *, stop: bool = False) -> Phase:
        """One step, and further ones until all scheduler calls have ended; arguments and errors as of `step`."""
        phase = self.step(stop=stop)
        while self._awaits_scheduler:
            self.wait(_LONGEST_WAIT)
            phase = self.step(stop=stop)
        return phase

    def step(self, *, stop: bool = False) -> Phase:
        """One step: read events, take results of scheduler calls, cancel what must end, submit what can run.

        Args:
            stop: Cancel all live attempts, and stop the campaign once none is left.

        Returns:
            The phase of the campaign. Unless it is RUNNING there is nothing more to do once no attempt is live.

        Raises:
            AiperfError: When a record cannot be written; what was recorded is kept, and the next controller goes on.
        """
        self._wake.clear()
        self._take_requests()
        self._keeper.step()
        self.live_attempts.begin_step(self.scheduler)
        self._read_events()
        self._record_submission()
        self._poll_queue()
        self._record_cancelling(self._requests.leaving(self.live_attempts.values()), EndReason.PREEMPTED)
        self._enforce_cancellations()
        stop = stop or self.directory.stop_requested()
        deadline = self.deadline
        if self.state.phase is Phase.FINISHED:
            return self.state.phase
        if deadline is not None and now() >= deadline:
            self._cancel_all(EndReason.CAMPAIGN_ENDED)
            if not self.state.live:
                duration = format_duration(self.settings.campaign.duration)
                self._recorder.finish(f"its {duration} are over", by_deadline=True)
        elif stop:
            self._cancel_all(EndReason.STOPPED)
            if not self.state.live and self.state.phase is not Phase.STOPPED:
                self._campaign.append(Stopped)
        elif self.state.phase is Phase.RUNNING and not self._is_outdated:
            replaced = jobs_to_replace(self.state, self.live_attempts.values(), self.scheduler)
            self._record_cancelling(replaced, EndReason.RESUBMITTED)
            self._keeper.submit(deadline)
            self._submit()
        return self.state.phase

    def wait(self, seconds: float) -> bool:
        """Wait until a scheduler call has ended, at most for this time; returns whether one has."""
        return self._wake.wait(seconds)

    @property
    def state(self) -> CampaignState:
        """The state of the campaign."""
        return self._campaign.state

    @property
    def live_attempts(self) -> LiveAttempts:
        """The attempts that have not ended, each with its events so far."""
        return self._recorder.live_attempts

    @property
    def deadline(self) -> datetime | None:
        """The end of the campaign; None until its first trial has begun."""
        return self.state.deadline(self.settings.campaign.duration)

    @property
    def has_pending_work(self) -> bool:
        """Whether the next step can submit or cancel more, and should come at once."""
        if self._canceller.has_more(self._cancellable()):
            return True
        due = any(live.unsubmitted is Unsubmitted.DUE for live in self.live_attempts.awake)
        return due and self.state.phase is Phase.RUNNING and self._submitter.is_free

    @property
    def seconds_to_next_step(self) -> float:
        """Seconds until the next step, at most."""
        if self.has_pending_work:
            return 0.0
        settings = self.settings.scheduler
        left = [seconds_until_over(live, settings) for live in self.live_attempts.awake]
        longest = 0.1 if self._is_outdated else settings.poll_interval
        return min([longest, *(max(each, 0.1) for each in left if each is not None)])

    @property
    def busy(self) -> bool:
        """Whether any attempt, or an allocation that is needed no more, runs, is pending, or is being submitted."""
        attempts = self._submitter.in_flight or any(live.unsubmitted is None for live in self.live_attempts.values())
        return attempts or self._keeper.busy

    @property
    def cancelled_count(self) -> int:
        """Number of live attempts whose cancellation was sent to the scheduler."""
        return sum(live.is_cancel_sent for live in self.live_attempts.values() if live.attempt.cancelling)

    @property
    def _awaits_scheduler(self) -> bool:
        """Whether any scheduler call runs whose result a step will take."""
        wants_limit = self.state.phase is Phase.RUNNING and not self.live_attempts.unsubmitted
        submits = self._submitter.in_flight or (wants_limit and self._submitter.running)
        return self._is_outdated or self._poller.running or self._canceller.running or submits or self._keeper.running

    def _monitor(self, attempt: AttemptState) -> LiveAttempt:
        trial, is_announced = self.state.trials[attempt.trial], self.scheduler.announces_jobs
        live = monitor_attempt(self.directory, attempt, trial, is_announced=is_announced)
        self.live_attempts[attempt.key] = live
        return live

    # observe and record

    def _read_events(self) -> None:
        awake = self.live_attempts.poll(self.directory)
        for fault in (fault for live in awake for fault in live.take_faults()):
            self._warn(fault)
        missing = [live for live in awake if live.attempt.missing_since and live.reappeared]
        found = [job_record(live.attempt, live.attempt.job) for live in missing if live.attempt.job]
        if found:  # the queue does not list the job, but it writes events
            self._record_jobs(found)
        begun = [(live, begin) for live in awake if (begin := live.take_begin())]
        for live, _ in begun:
            live.unsubmitted = None
            self._canceller.forget(live)
        if begun:
            self._campaign.append(Began, attempts=[begin for _, begin in begun])
        ended = [live for live in awake if live.end and not live.ended_by_others]
        self._record_ends(AttemptOutcome(live, *live.end_reason()) for live in ended)

    def _record_jobs(self, jobs: Sequence[JobRecord]) -> None:
        """Record accepted jobs, and before them the agents that they name."""
        self._keeper.record_agents()
        self._campaign.append(Submitted, jobs=jobs)

    def _record_ends(self, outcomes: Iterable[AttemptOutcome]) -> None:
        if self._recorder.record(outcomes):
            self._submitter.job_has_ended()

    # the queue

    def _poll_queue(self) -> None:
        """Draw the consequences of the queue's answer, and poll it for the attempts whose state only it knows."""
        self._take_queue_answer()
        settings, interval, proven = self.settings.scheduler, self.scheduler.query_interval, self._recorder.proven
        submitting = self._submitter.names
        awake = [live for live in self.live_attempts.awake if may_be_in_queue(live, submitting)]
        gone = {live.name for live in awake if live.job_ended is None and live.name in self.live_attempts.gone}
        expected = [live.name for live in awake if live.name in gone or may_end_soon(live, proven=proven)]
        if self._poller.expect(expected):
            there = [live for live in self.live_attempts.values() if may_be_in_queue(live, submitting)]
            jobs, others = jobs_to_query(there, gone, settings, interval, proven=proven)
            self._poller.poll(jobs, expected, others)
            self._take_queue_answer()  # of a scheduler that answers at once
        self._reclaim([live for live in self.live_attempts.awake if job_is_over(live, settings)])

    def _take_queue_answer(self) -> None:
        answer = self._poller.take_answer()
        if answer is not None:
            self._apply_queue_answer(answer)

    def _apply_queue_answer(self, answer: QueueAnswer) -> None:
        """Draw the consequences of an answer of the queue."""
        queried = [live for name in answer.jobs if (live := self.live_attempts.by_name.get(name))]
        self.live_attempts.wake(queried)
        triage = classify_jobs(queried, answer, self.settings.scheduler, now())
        if triage.found:
            self._record_jobs(triage.found)
        if triage.missing:
            self._campaign.append(Missing, attempts=list(map(attempt_id, triage.missing)))
        self.live_attempts.postpone(triage.unsubmitted)
        for live in triage.returned:
            live.unsubmitted = Unsubmitted.DUE
        self._record_cancelling(triage.hung, EndReason.HUNG)
        self._record_cancelling(triage.held, EndReason.HELD)
        for live in triage.lost:
            live.abandoned = True
        self._reclaim(triage.gone)

    def _reclaim(self, gone: Iterable[LiveAttempt]) -> None:
        """Take attempts back from jobs that are gone, and record their ends."""
        outcomes = []
        for live in gone:
            try:
                reason, message = reclaim_attempt(self.directory, self.scheduler, live, live.job_end)
            except TransientError as error:  # its files may contain more than can be read for now
                live.defer(error)
                continue
            outcomes.append(AttemptOutcome(live, reason, message, live.job_end.hosts if live.job_end else ()))
        self._record_ends(outcomes)

    # cancel and submit

    def _cancel_all(self, reason: EndReason) -> None:
        """Cancel all live attempts."""
        self._record_cancelling([live for live in self.live_attempts.values() if not live.attempt.cancelling], reason)
        self._enforce_cancellations()

    def _record_cancelling(self, attempts: Iterable[LiveAttempt], reason: EndReason) -> None:
        """Record that attempts are to be cancelled, and why; `_enforce_cancellations` cancels their jobs."""
        chosen = list(attempts)
        if chosen:
            self._campaign.append(Cancelling, attempts=list(map(attempt_id, chosen)), reason=reason)
            self.live_attempts.wake(chosen)

    def _enforce_cancellations(self) -> None:
        """Cancel the jobs of attempts whose cancellation is recorded, by force after the grace."""
        self._take_cancel_outcome()
        self._reclaim([live for live in self._cancellable() if live.unsubmitted])
        abandoned = [live for live in self.live_attempts.awake if live.abandoned]
        self._canceller.cancel(self._cancellable(), abandoned)
        self._take_cancel_outcome()  # of a scheduler that answers at once

    def _cancellable(self) -> list[LiveAttempt]:
        """The attempts to cancel; not while they are being submitted: the job can be cancelled only after that."""
        names = self._submitter.names
        return [live for live in self.live_attempts.awake if live.attempt.cancelling_since and live.name not in names]

    def _take_cancel_outcome(self) -> None:
        """End the attempts whose jobs now will never start, and those that were abandoned."""
        outcome = self._canceller.take_outcome()
        if outcome is not None:
            over = {live.key for live in outcome.never_started} | {live.key for live in outcome.sent if live.abandoned}
            self._reclaim([self.live_attempts[key] for key in sorted(over) if key in self.live_attempts])

    def _submit(self) -> None:
        """Fill the free slots: first with what could not be submitted, then with retries, then with new trials."""
        if not self._submitter.is_free:
            return
        unsubmitted = self.live_attempts.unsubmitted
        if unsubmitted:
            self._start(unsubmitted)
            return
        places = self.scheduler.free_places()
        slots = self._planner.free_slots(self.state, proven=self._recorder.site_works, places=places)
        array_limit = self._submitter.array_limit() if slots.at_once > 1 else 1
        if array_limit is None:
            return
        records, over = self._planner.plan(self.state, slots, array_limit)
        if over is not None:
            self._recorder.finish(over)
        if records:
            self._campaign.append(Submitting, attempts=records)
            keys = [AttemptKey(record.trial, record.attempt) for record in records]
            self._start([self._monitor(self.state.live[key]) for key in keys])

    def _start(self, attempts: Sequence[LiveAttempt]) -> None:
        """Begin to submit attempts whose submission is recorded."""
        try:
            requests = make_requests(self.directory, self.state, [live.attempt for live in attempts])
        except TransientError as error:  # tried again at a later step
            self._warn(f"{len(attempts)} trial(s) wait to be submitted: {error}")
            self.live_attempts.postpone(attempts)
            return
        self._submitter.start(requests)
        self._record_submission()  # of a scheduler that answers at once

    def _record_submission(self) -> None:
        """Record the result of a submission that has ended."""
        result = self._submitter.take()
        if result is None:
            return
        by_name = self.live_attempts.note_submission(result)
        jobs = [job_record(by_name[name].attempt, job) for name, job in result.jobs.items() if name in by_name]
        if jobs:
            self._record_jobs(jobs)
        refused = [(by_name[name], why) for name, why in result.refused.items() if name in by_name]
        revoked = [(live, why) for live, why in refused if revoke_refused(self.directory, live, why)]
        self._record_ends(AttemptOutcome(live, EndReason.SUBMIT_REFUSED, why) for live, why in revoked)
