"""One campaign's controller: tick() observes, records, decides and submits.

Everything it knows is in the journal and the events, so that a controller that was killed at any moment is replaced by
the next one. What it writes first and does second (submitting, cancelling) may have been done or not when it is killed;
the next one finds out by the jobs' names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, TypeVar

import aiperf_orch
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import is_there, revoke
from aiperf_orch.campaign.journal import Journal
from aiperf_orch.campaign.lock import Lock
from aiperf_orch.campaign.opening import check_complete
from aiperf_orch.campaign.state import CHOSEN, Attempt, CampaignState, Phase
from aiperf_orch.controller.policy import CONSEQUENCES, Consequence
from aiperf_orch.controller.proposals import Proposer
from aiperf_orch.controller.queue import Queue
from aiperf_orch.controller.watch import Watched, last_line, watch
from aiperf_orch.controller.weights import WeightFiles
from aiperf_orch.errors import LockedError, NetworkError, SchedulerUnreachable, SubmitRefused
from aiperf_orch.records import (
    AttemptEnd,
    AttemptId,
    AttemptRecord,
    Began,
    Cancelling,
    Created,
    Ended,
    EndReason,
    Entry,
    Finished,
    JobRecord,
    Missing,
    Opened,
    Paused,
    Resumed,
    Stopped,
    Submitted,
    Submitting,
)
from aiperf_orch.schedulers.base import JobRequest, JobState, Scheduler, trial_command
from aiperf_orch.units import format_duration, now

AnyEntry = TypeVar("AnyEntry", bound=Entry)


class Controller:
    """The one controller of a campaign. `watched` holds the live attempts with their events so far."""

    def __init__(
        self,
        directory: CampaignDirectory,
        scheduler: Scheduler,
        *,
        resume: bool,
        warn: Callable[[str], None],
        take_over: bool = False,
    ) -> None:
        """Take the campaign up: lock it, read its journal, adopt what still runs.

        Args:
            directory: the campaign.
            scheduler: where its jobs run.
            resume: a paused or stopped campaign goes on.
            warn: gets messages for a person.
            take_over: take the lock from another host's controller.

        Raises:
            LockedError: when another controller has it.
            RecordError: when the journal or the frozen settings are damaged.
        """
        self.directory = directory
        self.scheduler = scheduler
        self.settings = directory.settings
        self._warn = warn
        self._proposer: Proposer | None = None
        self._told: set[tuple[int, int]] = set()
        self._queue = Queue(scheduler, self.settings.scheduler.poll_interval, warn)
        self._exhausted_at = -1
        with ExitStack() as undo:
            self._lock = Lock.acquire(directory.lock, take_over=take_over)
            undo.callback(self._lock.release)
            self._journal = Journal(directory.journal, self._lock.check_ours, self._lock.holder.generation)
            undo.callback(self._journal.close)
            self.state = CampaignState.of(self._journal.entries)
            self._take_up(resume)
            self._weights = WeightFiles(directory, (trial.trial for trial in self.state.trials.values() if trial.end))
            self.watched: dict[tuple[int, int], Watched] = {}
            for attempt in self.state.live.values():
                self._watch(attempt)
            self._held = undo.pop_all()

    def close(self) -> None:
        """Let go of the campaign; jobs run on."""
        self._held.close()

    def tick(self, *, stop: bool = False) -> Phase:
        """One step: read events, ask after silent jobs, end what must end, submit what can run.

        Args:
            stop: end what runs, and then the campaign for now.

        Returns:
            The campaign's phase. Unless it is RUNNING there is nothing more to do once nothing is live.

        Raises:
            AiperfError: when a record cannot be written; what was recorded stands, and the next controller goes on.
        """
        self._read_events()
        self._ask_queue()
        self._insist()
        stop = stop or is_there(self.directory.stop_request)
        deadline = self.deadline
        if self.state.phase is Phase.FINISHED:
            return self.state.phase
        if deadline is not None and now() >= deadline:
            self._end_all(EndReason.CAMPAIGN_ENDED)
            if not self.state.live:
                duration = format_duration(self.settings.campaign.duration)
                self._finish(f"its {duration} are over", by_deadline=True)
        elif stop:
            self._end_all(EndReason.STOPPED)
            if not self.state.live and self.state.phase is not Phase.STOPPED:
                self._append(Stopped)
        elif self.state.phase is Phase.RUNNING:
            self._submit()
        return self.state.phase

    @property
    def deadline(self) -> datetime | None:
        """When the campaign ends; None until its first trial has begun."""
        return self.state.deadline(self.settings.campaign.duration)

    def _take_up(self, resume: bool) -> None:
        self.directory.check_unchanged(self.state.settings_sha256)
        check_complete(self.directory, self.directory.attempts_on_disk(), self.state)
        opened, host = self.state.opened, self._lock.holder.host
        if self.settings.scheduler.kind == "local" and self.state.live and opened and opened.host != host:
            raise LockedError(f"{self.directory.path}: its trials run on {opened.host}: go on with the campaign there")
        if not self._journal.entries:
            self._append(Created, settings_sha256=self.directory.settings_sha256, version=aiperf_orch.__version__)
        self._append(Opened, host=self._lock.holder.host, pid=self._lock.holder.pid)
        if resume:
            self.directory.stop_request.unlink(missing_ok=True)
            if self.state.phase in (Phase.PAUSED, Phase.STOPPED):
                self._append(Resumed)

    def _append(self, kind: type[AnyEntry], **fields: Any) -> AnyEntry:
        entry = self._journal.append(kind, **fields)
        self.state.apply(entry)
        return entry

    def _watch(self, attempt: Attempt) -> None:
        self.watched[attempt.key] = watch(self.directory, attempt, self.state.trials[attempt.trial])

    # observe and record

    def _read_events(self) -> None:
        for watched in self.watched.values():
            watched.poll(self.directory)
            for fault in watched.new_faults():
                self._warn(fault)
        begins = [begin for watched in self.watched.values() if (begin := watched.new_begin())]
        if begins:
            self._append(Began, attempts=begins)
        ended = [watched for watched in self.watched.values() if watched.end]
        self._record_ends((watched, *watched.reason()) for watched in ended)

    def _record_ends(self, ends: Iterable[tuple[Watched, EndReason, str]]) -> None:
        records: list[AttemptEnd] = [
            watched.sum_up(
                reason,
                message,
                deadline=self.deadline,
                max_attempts=self.settings.campaign.max_attempts,
                forecast_epoch=self.settings.search.forecast_epoch,
            )
            for watched, reason, message in ends
        ]
        if not records:
            return
        entry = self._append(Ended, attempts=records)
        if self._proposer:
            self._proposer.feed(entry)
        self.scheduler.release([self.watched[record.trial, record.attempt].attempt.name for record in records])
        for record in records:
            del self.watched[record.trial, record.attempt]
        self._weights.over(record.trial for record in records if record.final)
        unfinished = [*self.state.retries.values(), *(watched.trial for watched in self.watched.values())]
        self._weights.keep_only(self._search.parents | {trial.proposal.parent for trial in unfinished})
        self._pause_if_hopeless(records)

    def _pause_if_hopeless(self, records: Iterable[AttemptEnd]) -> None:
        if self.state.phase is not Phase.RUNNING:
            return
        limit = self.settings.campaign.pause_after_failures
        for record in records:
            failed = record.best_error is None and record.reason not in CHOSEN
            ran = self.state.trials[record.trial].attempts[-1].job is not None
            if CONSEQUENCES[record.reason] is Consequence.PAUSE or (failed and ran and not self._proven()):
                why = f"trial {record.trial} ended {record.reason.value}: {record.message or 'no message'}"
            elif self.state.failures_in_a_row >= limit and self.state.last_failure:
                why = (
                    f"{self.state.failures_in_a_row} trials in a row ended {record.reason.value}; "
                    f"the last one, {record.trial}: {record.message or 'no message'}"
                )
            else:
                continue
            self._append(Paused, reason=why)
            return

    # the queue

    def _ask_queue(self) -> None:
        """Ask after silent jobs, in one question, and draw the consequences for those that are gone."""
        scheduler = self.settings.scheduler
        time, present = monotonic(), now()
        silent = [
            watched
            for watched in self.watched.values()
            if time - watched.heard >= scheduler.silent_after or watched.attempt.unsure
        ]
        if not silent:
            return
        statuses = self._queue.ask([watched.attempt.name for watched in silent])
        if statuses is None:
            return
        gone, lost, hung = [], [], []
        found: list[JobRecord] = []
        for watched in silent:
            status = statuses.get(watched.attempt.name)
            if status is not None and status.state is not JobState.ENDED:
                if watched.attempt.job is None or watched.attempt.missing_since is not None:
                    found.append(_job_record(watched.attempt, status.job))
                watched.heard = watched.due = time
                if status.state is JobState.RUNNING and watched.begin is None and not watched.attempt.cancelling:
                    watched.running_since = watched.running_since or time
                    if time - watched.running_since >= scheduler.begin_within:
                        hung.append(watched.attempt)
            elif watched.attempt.missing_since is None:
                gone.append(watched.attempt)
            elif present - watched.attempt.missing_since >= timedelta(seconds=scheduler.lost_after):
                lost.append((watched, status.detail if status else ""))
        if found:
            self._append(Submitted, jobs=found)
        if gone:
            self._append(Missing, attempts=[_attempt_id(attempt) for attempt in gone])
        self._tell_to_end(hung, EndReason.HUNG)
        self._give_up(lost)

    def _give_up(self, lost: Iterable[tuple[Watched, str]]) -> None:
        """Take attempts from jobs that are gone, after one more look at their events."""
        ends = []
        for watched, detail in lost:
            watched.due = 0.0
            watched.poll(self.directory)
            if watched.end is None:
                reason = watched.attempt.cancelling or EndReason.LOST
                attempt = watched.attempt
                gone, log = "left the queue without an end line", last_line(self.directory.log(*attempt.key))
                if reason is EndReason.HUNG:
                    begin_within = format_duration(self.settings.scheduler.begin_within)
                    gone, detail = f"did not begin within {begin_within} (scheduler.begin_within)", ""
                elif attempt.cancelling:
                    detail, log = "", ""
                message = ", ".join(filter(None, [gone, detail, log]))
                revoke(self.directory, attempt.trial, attempt.attempt, reason, message)
                watched.due = 0.0
                watched.poll(self.directory)
            ends.append((watched, *watched.reason()))
        self._record_ends(ends)

    # end and submit

    def _end_all(self, reason: EndReason) -> None:
        """Tell every live attempt to end."""
        self._tell_to_end([attempt for attempt in self.state.live.values() if attempt.cancelling is None], reason)
        self._insist()

    def _tell_to_end(self, attempts: Iterable[Attempt], reason: EndReason) -> None:
        """Write down that attempts are to end, and why; `_insist` tells their jobs."""
        ids = [_attempt_id(attempt) for attempt in attempts]
        if ids:
            self._append(Cancelling, attempts=ids, reason=reason)

    def _insist(self) -> None:
        """Tell the jobs of attempts that are to end, also after a restart; end those that do not within the grace."""
        grace = timedelta(seconds=self.settings.scheduler.stop_grace)
        live = [attempt for attempt in self.state.live.values() if attempt.cancelling_since]
        untold = [attempt for attempt in live if attempt.key not in self._told]
        stubborn = [
            attempt for attempt in live if attempt.cancelling_since and now() - attempt.cancelling_since > grace
        ]
        for attempts, force in ((untold, False), (stubborn, True)):
            if attempts:
                try:
                    self.scheduler.cancel([attempt.name for attempt in attempts], force=force)
                    self._told.update(attempt.key for attempt in attempts)
                except SchedulerUnreachable as error:
                    self._warn(str(error))

    def _submit(self) -> None:
        """Fill the free places: first the next attempts of trials that are not over, then new trials."""
        campaign = self.settings.campaign
        places = campaign.concurrency if self._proven() else 1  # a canary first: a broken site costs one job
        places -= len(self.state.live)
        records = [
            AttemptRecord(
                trial=trial.trial,
                attempt=len(trial.attempts) + 1,
                name=self.directory.attempt_name(trial.trial, len(trial.attempts) + 1),
                spec_sha256=trial.spec_sha256,
            )
            for trial in sorted(self.state.retries.values(), key=lambda trial: trial.trial)[: max(places, 0)]
        ]
        next_trial = len(self.state.trials)
        wanted = places - len(records)
        if campaign.max_trials is not None:
            wanted = min(wanted, campaign.max_trials - next_trial)
            if next_trial >= campaign.max_trials and not self.state.live and not self.state.retries:
                self._finish(f"its {campaign.max_trials} trials have ended")
                return
        if len(self.state.ends) == self._exhausted_at:
            wanted = 0  # only another end could give the search something to propose
        try:
            records.extend(self._propose(trial) for trial in range(next_trial, next_trial + wanted))
        except NetworkError as error:
            self._exhausted_at = len(self.state.ends)
            if not records and not self.state.live:
                self._finish(f"the search proposes nothing more: {error}")
        if records:
            entry = self._append(Submitting, attempts=records)
            self._start([self.state.live[record.trial, record.attempt] for record in entry.attempts])

    def _finish(self, reason: str, *, by_deadline: bool = False) -> None:
        """The campaign is over; trials that still waited for another attempt get none."""
        self._weights.over(self.state.retries)
        self._append(Finished, reason=reason, by_deadline=by_deadline)

    def _propose(self, trial: int) -> AttemptRecord:
        spec, record = self._search.propose(trial, self.state)
        return AttemptRecord(
            trial=trial,
            attempt=1,
            name=self.directory.attempt_name(trial, 1),
            spec_sha256=self.directory.write_spec(spec),
            proposal=record,
        )

    def _start(self, attempts: Iterable[Attempt]) -> None:
        """Submit what the journal says is being submitted."""
        jobs: list[JobRecord] = []
        refused: list[tuple[Watched, EndReason, str]] = []
        for attempt in attempts:
            self._watch(attempt)
            try:
                jobs.append(_job_record(attempt, self.scheduler.submit(self.request(attempt))))
            except SchedulerUnreachable as error:
                self._warn(f"{attempt.name}: {error}")  # perhaps accepted all the same: the queue will tell
            except SubmitRefused as error:
                revoke(self.directory, *attempt.key, EndReason.SUBMIT_REFUSED, str(error))
                refused.append((self.watched[attempt.key], EndReason.SUBMIT_REFUSED, str(error)))
        if jobs:
            self._append(Submitted, jobs=jobs)
        self._record_ends(refused)

    def request(self, attempt: Attempt) -> JobRequest:
        """The job of an attempt; makes its folder."""
        folder = self.directory.job_folder(*attempt.key)
        folder.mkdir(mode=0o700, exist_ok=True)
        command = trial_command(self.settings.scheduler.python, self.directory.spec(attempt.trial), attempt.attempt)
        return JobRequest(attempt.name, folder, self.directory.path, command)

    def _proven(self) -> bool:
        """Whether any trial has ended an epoch: then the site works."""
        return self.state.any_epoch or any(watched.epochs for watched in self.watched.values())

    @property
    def _search(self) -> Proposer:
        if self._proposer is None:
            self._proposer = Proposer(self.directory, self._journal.entries)
        return self._proposer


def _attempt_id(attempt: Attempt) -> AttemptId:
    return AttemptId(trial=attempt.trial, attempt=attempt.attempt)


def _job_record(attempt: Attempt, job: str) -> JobRecord:
    return JobRecord(trial=attempt.trial, attempt=attempt.attempt, job=job)
