"""One campaign's controller: tick() observes, records, decides and submits.

Everything it knows is in the journal and the events, so that a controller that was killed at any moment is replaced by
the next one. What it writes first and does second (submitting, cancelling) may have been done or not when it is killed;
the next one finds out by the jobs' names.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Final, TypeVar

import aiperf_orch
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import revoke
from aiperf_orch.campaign.journal import Journal
from aiperf_orch.campaign.lock import Lock
from aiperf_orch.campaign.state import Attempt, CampaignState, Phase
from aiperf_orch.controller.policy import CHOSEN, CONSEQUENCES, Consequence
from aiperf_orch.controller.proposals import Proposer
from aiperf_orch.controller.watch import Watched, last_line, watch
from aiperf_orch.errors import NetworkError, SchedulerUnreachable, SubmitRefused
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
from aiperf_orch.schedulers.base import JobRequest, JobState, JobStatus, Scheduler
from aiperf_orch.units import format_duration, now

E_co = TypeVar("E_co", bound=Entry)
_LONGEST_BACK_OFF: Final = 300.0


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
        self._next_question = now()
        self._unanswered = 0
        with ExitStack() as undo:
            self._lock = Lock.acquire(directory.lock, take_over=take_over)
            undo.callback(self._lock.release)
            self._journal = Journal(directory.journal, self._lock.check_ours, self._lock.holder.generation)
            undo.callback(self._journal.close)
            self.state = CampaignState.of(self._journal.entries)
            self._weights = {trial.trial for trial in self.state.trials.values() if trial.end}
            self._take_up(resume)
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
        stop = stop or self.directory.stop_request.exists()
        deadline = self.deadline
        if self.state.phase is Phase.FINISHED:
            return self.state.phase
        if deadline is not None and now() >= deadline:
            self._end_all(EndReason.CAMPAIGN_ENDED)
            if not self.state.live:
                duration = format_duration(self.settings.campaign.duration)
                self._append(Finished, reason=f"its {duration} are over")
        elif stop:
            self._end_all(EndReason.STOPPED)
            if not self.state.live:
                self._append(Stopped)
        elif self.state.phase is Phase.RUNNING:
            self._submit()
        return self.state.phase

    @property
    def deadline(self) -> Any:
        """When the campaign ends; None until its first trial has begun."""
        return self.state.deadline(self.settings.campaign.duration)

    def _take_up(self, resume: bool) -> None:
        self.directory.check_unchanged(self.state.settings_sha256)
        if not self._journal.entries:
            self._append(Created, settings_sha256=self.directory.settings_sha256, version=aiperf_orch.__version__)
        self._append(Opened, host=self._lock.holder.host, pid=self._lock.holder.pid)
        if resume:
            self.directory.stop_request.unlink(missing_ok=True)
            if self.state.phase in (Phase.PAUSED, Phase.STOPPED):
                self._append(Resumed)

    def _append(self, kind: type[E_co], **fields: Any) -> E_co:
        entry = self._journal.append(kind, **fields)
        self.state.apply(entry)
        return entry

    def _watch(self, attempt: Attempt) -> None:
        trial = self.state.trials[attempt.trial]
        planned = self.settings.training.epochs_of_round(trial.proposal.round)
        self.watched[attempt.key] = watch(self.directory, attempt, trial, planned)

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
        for record in records:
            del self.watched[record.trial, record.attempt]
            if record.final:
                self._weights.add(record.trial)
                self.directory.checkpoint(record.trial).unlink(missing_ok=True)
        self._drop_weights()
        self._pause_if_hopeless(records)

    def _pause_if_hopeless(self, records: Iterable[AttemptEnd]) -> None:
        if self.state.phase is not Phase.RUNNING:
            return
        limit = self.settings.campaign.pause_after_failures
        for record in records:
            failed = record.final and record.best_error is None and record.reason not in CHOSEN
            if CONSEQUENCES[record.reason] is Consequence.PAUSE or (failed and not self.state.any_epoch):
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

    def _drop_weights(self) -> None:
        """Delete weights that nobody can inherit any more."""
        unfinished = [*self.state.retries.values(), *(watched.trial for watched in self.watched.values())]
        keep = self._search.parents | {trial.proposal.parent for trial in unfinished}
        for trial in self._weights - keep:
            self.directory.weights(trial).unlink(missing_ok=True)
        self._weights &= keep

    # the queue

    def _ask_queue(self) -> None:
        """Ask after silent jobs, in one question, and draw the consequences for those that are gone."""
        scheduler = self.settings.scheduler
        time = now()
        silence = timedelta(seconds=scheduler.silent_after)
        silent = [
            watched for watched in self.watched.values() if time - watched.heard >= silence or watched.attempt.unsure
        ]
        if not silent or time < self._next_question:
            return
        statuses = self._ask([watched.attempt.name for watched in silent])
        if statuses is None:
            return
        gone, lost = [], []
        found: list[JobRecord] = []
        for watched in silent:
            status = statuses.get(watched.attempt.name)
            if status is not None and status.state is not JobState.ENDED:
                if watched.attempt.job is None:
                    found.append(_job_record(watched.attempt, status.job))
                watched.heard = time
                watched.due = time
            elif watched.attempt.missing_since is None:
                gone.append(watched.attempt)
            elif time - watched.attempt.missing_since >= timedelta(seconds=scheduler.lost_after):
                lost.append((watched, status.detail if status else ""))
        if found:
            self._append(Submitted, jobs=found)
        if gone:
            self._append(Missing, attempts=[_attempt_id(attempt) for attempt in gone])
        self._give_up(lost)

    def _ask(self, names: Collection[str]) -> Mapping[str, JobStatus] | None:
        """What the queue says, or None while the scheduler cannot be reached: then nothing is concluded."""
        try:
            statuses = self.scheduler.query(names)
        except SchedulerUnreachable as error:
            self._unanswered += 1
            wait = min(self.settings.scheduler.poll_interval * 2**self._unanswered, _LONGEST_BACK_OFF)
            self._next_question = now() + timedelta(seconds=wait * random.uniform(0.8, 1.2))
            self._warn(f"{error}; asking again in {format_duration(wait)}")
            return None
        self._unanswered = 0
        return statuses

    def _give_up(self, lost: Iterable[tuple[Watched, str]]) -> None:
        """Take attempts from jobs that are gone, after one more look at their events."""
        ends = []
        for watched, detail in lost:
            watched.due = now()
            watched.poll(self.directory)
            if watched.end is None:
                reason = watched.attempt.cancelling or EndReason.LOST
                attempt = watched.attempt
                parts = ["left the queue without an end line", detail, last_line(self.directory.log(*attempt.key))]
                message = parts[0] if attempt.cancelling else ", ".join(filter(None, parts))
                revoke(self.directory, attempt.trial, attempt.attempt, reason, message)
                watched.due = now()
                watched.poll(self.directory)
            ends.append((watched, *watched.reason()))
        self._record_ends(ends)

    # end and submit

    def _end_all(self, reason: EndReason) -> None:
        """Tell every live attempt to end; insist when it does not."""
        fresh = [attempt for attempt in self.state.live.values() if attempt.cancelling is None]
        if fresh:
            self._append(Cancelling, attempts=[_attempt_id(attempt) for attempt in fresh], reason=reason)
        grace = timedelta(seconds=self.settings.scheduler.stop_grace)
        live = self.state.live.values()
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
                self._append(Finished, reason=f"its {campaign.max_trials} trials have ended")
                return
        try:
            records.extend(self._propose(trial) for trial in range(next_trial, next_trial + wanted))
        except NetworkError as error:
            self._append(Paused, reason=f"the search proposes nothing more: {error}")
        if records:
            entry = self._append(Submitting, attempts=records)
            self._start([self.state.live[record.trial, record.attempt] for record in entry.attempts])

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
        folder.mkdir(exist_ok=True)
        python = self.settings.scheduler.python or sys.executable
        spec = self.directory.spec(attempt.trial)
        command = (python, "-P", "-m", "aiperf_orch.trial", str(spec), "--attempt", str(attempt.attempt))
        return JobRequest(attempt.name, folder, command)

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
