"""One campaign's controller: step() observes, records, decides, and starts what the scheduler is to do.

Everything it knows is in the journal and the events, so that a controller that was killed at any moment is replaced by
the next one. What it writes first and does second (submitting, cancelling) may have been done or not when it is killed;
the next one finds out by the jobs' names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from threading import Event
from typing import Any, Final, TypeVar

import aiperf_orch
from aiperf_orch.campaign.consistency import check_complete
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import revoke
from aiperf_orch.campaign.journal import Journal
from aiperf_orch.campaign.lock import Lock
from aiperf_orch.campaign.state import AttemptState, CampaignState, Phase
from aiperf_orch.controller.attempt_monitor import LiveAttempt, watch
from aiperf_orch.controller.cancellation import Ender, take_from_job
from aiperf_orch.controller.failure_policy import NODE_FAILURES, hopeless, nodes_given_up
from aiperf_orch.controller.job_requests import make_request
from aiperf_orch.controller.job_triage import is_over, job_record, judge, may_end, needs_queue, seconds_until_over
from aiperf_orch.controller.queue_poller import Queue, QueueAnswer
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.controller.submission_planner import Chooser
from aiperf_orch.controller.submitter import Submitter
from aiperf_orch.controller.weight_retention import WeightRetention
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import (
    AttemptEnd,
    AttemptId,
    Began,
    Cancelling,
    Created,
    Ended,
    Entry,
    Finished,
    Missing,
    Opened,
    Paused,
    Resumed,
    Stopped,
    Submitted,
    Submitting,
)
from aiperf_orch.schedulers.base import Scheduler
from aiperf_orch.util.errors import LockedError, TransientError
from aiperf_orch.util.units import format_duration, now

AnyEntry = TypeVar("AnyEntry", bound=Entry)
_PATIENCE: Final = 2.0  # seconds


class Controller:
    """The one controller of a campaign. `watched` holds the live attempts with their events so far.

    The scheduler's commands run beside it, one of a kind at a time: however long one takes, `step` returns at once.
    """

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
            warn: gets messages for the user.
            take_over: take the lock from another host's controller.

        Raises:
            LockedError: when another controller has it.
            RecordError: when the journal or the frozen settings are damaged.
        """
        self.directory = replace(directory, retry_for=0.0)  # what cannot be read for now is read at a later tick
        self.scheduler = scheduler
        self.settings = directory.settings
        self._warn = warn
        self._proposer: SearchAdapter | None = None
        self._waiting: dict[tuple[int, int], str] = {}
        times = self.settings.scheduler
        pause = max(scheduler.query_interval, times.poll_interval)
        self._wake = Event()
        self._queue = Queue(scheduler, times.poll_interval, warn, self._wake)
        self._ender = Ender(scheduler, times.stop_grace, pause, warn, self._wake)
        self._chooser = Chooser(directory, scheduler.lookahead, self._get_search)
        with ExitStack() as undo:
            self._lock = Lock.acquire(directory.lock, take_over=take_over)
            undo.callback(self._lock.release)
            self._journal = Journal(directory.journal, self._lock.check_held, self._lock.holder.generation)
            undo.callback(self._journal.close)
            self.state = CampaignState.of(self._journal.entries)
            accepted = any(attempt.job for trial in self.state.trials.values() for attempt in trial.attempts)
            self._submitter = Submitter(scheduler, times.retry_submit_for, pause, warn, self._wake, accepted=accepted)
            self._take_up(resume)
            self._weights = WeightRetention(
                directory, (trial.trial for trial in self.state.trials.values() if trial.end)
            )
            self.live_attempts: dict[tuple[int, int], LiveAttempt] = {}
            for attempt in self.state.live.values():
                self._watch(attempt)
            self._held = undo.pop_all()

    def close(self) -> None:
        """Let go of the campaign; jobs run on. What a submission brought in the meantime is written down first."""
        try:
            self._submitter.join(_PATIENCE)
            self._take_submission()
        finally:
            self._held.close()

    def tick(self, *, stop: bool = False) -> Phase:
        """One whole step, which waits for the answers of the scheduler's commands; arguments and errors as of `step`."""
        phase = self.step(stop=stop)
        while self._awaits_scheduler:
            self.wait(_PATIENCE)
            phase = self.step(stop=stop)
        return phase

    def step(self, *, stop: bool = False) -> Phase:
        """One step: read events, draw conclusions from the scheduler's answers, end what must end, submit what can run.

        Args:
            stop: end what runs, and then the campaign for now.

        Returns:
            The campaign's phase. Unless it is RUNNING there is nothing more to do once nothing is live.

        Raises:
            AiperfError: when a record cannot be written; what was recorded stands, and the next controller goes on.
        """
        self._wake.clear()
        self._read_events()
        self._take_submission()
        self._ask_queue()
        self._insist()
        stop = stop or self.directory.stop_requested()
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

    def wait(self, seconds: float) -> bool:
        """Wait until one of the scheduler's commands has ended, but not longer than this; returns whether one has."""
        return self._wake.wait(seconds)

    @property
    def deadline(self) -> datetime | None:
        """When the campaign ends; None until its first trial has begun."""
        return self.state.deadline(self.settings.campaign.duration)

    @property
    def in_a_hurry(self) -> bool:
        """Whether the next step should come at once: it has more to submit or to cancel than one may."""
        return self._ender.more_to_tell(self._tellable()) or (
            "" in self._waiting.values() and self.state.phase is Phase.RUNNING and self._submitter.is_free
        )

    @property
    def pause(self) -> float:
        """Seconds until the next step should come at the latest."""
        if self.in_a_hurry:
            return 0.0
        settings = self.settings.scheduler
        left = [seconds_until_over(watched, settings) for watched in self.live_attempts.values()]
        return min([settings.poll_interval, *(max(each, 0.1) for each in left if each is not None)])

    @property
    def busy(self) -> bool:
        """Whether any attempt runs or waits in the queue, or is being submitted."""
        return self._submitter.in_flight or self.state.live.keys() != self._waiting.keys()

    @property
    def cancelled_count(self) -> int:
        """How many live attempts' jobs have been told to end."""
        return sum(self._ender.is_told(attempt) for attempt in self.state.live.values() if attempt.cancelling)

    @property
    def _awaits_scheduler(self) -> bool:
        """Whether any of the scheduler's commands runs whose result has not been taken."""
        wants_limit = self.state.phase is Phase.RUNNING and not self._waiting  # else its answer is not taken
        submits = self._submitter.in_flight or (wants_limit and self._submitter.running)
        return self._queue.running or self._ender.running or submits

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

    def _watch(self, attempt: AttemptState) -> None:
        self.live_attempts[attempt.key] = watch(self.directory, attempt, self.state.trials[attempt.trial])

    # observe and record

    def _read_events(self) -> None:
        for watched in self.live_attempts.values():
            watched.poll(self.directory)
            for fault in watched.new_faults():
                self._warn(fault)
        back = [each.attempt for each in self.live_attempts.values() if each.attempt.missing_since and each.came_back]
        alive = [job_record(attempt, attempt.job) for attempt in back if attempt.job]
        if alive:  # its queue does not list the job, but the job writes on
            self._append(Submitted, jobs=alive)
        begins = [begin for watched in self.live_attempts.values() if (begin := watched.new_begin())]
        for begin in begins:
            self._waiting.pop((begin.trial, begin.attempt), None)
            self._ender.begun((begin.trial, begin.attempt))
        if begins:
            self._append(Began, attempts=begins)
        ended = [watched for watched in self.live_attempts.values() if watched.end and not watched.ended_by_others]
        self._record_ends((watched, *watched.reason()) for watched in ended)

    def _record_ends(
        self, ends: Iterable[tuple[LiveAttempt, EndReason, str]], hosts: Mapping[str, Sequence[str]] = {}
    ) -> None:
        records: list[AttemptEnd] = [
            watched.sum_up(
                reason,
                message,
                hosts.get(watched.attempt.name, ()),
                deadline=self.deadline,
                max_attempts=self.settings.campaign.max_attempts,
                forecast_epoch=self.settings.search.forecast_epoch,
                horizon=self.settings.training.epochs,
            )
            for watched, reason, message in ends
            if watched.unread is None
        ]
        if not records:
            return
        entry = self._append(Ended, attempts=records)
        if self._proposer:
            self._proposer.feed(entry)
        self.scheduler.release_resources(
            [self.live_attempts[record.trial, record.attempt].attempt.name for record in records]
        )
        for record in records:
            del self.live_attempts[record.trial, record.attempt]
            self._waiting.pop((record.trial, record.attempt), None)
        self._submitter.place_is_free()
        if self.scheduler.avoids_nodes:
            for node in nodes_given_up(records, self.state):
                self._warn(f"node {node}: {NODE_FAILURES} trials failed on it: it gets no more of them")
        self._weights.over(record.trial for record in records if record.final)
        unfinished = [*self.state.retries.values(), *(watched.trial for watched in self.live_attempts.values())]
        self._weights.keep_only(self._get_search().parents | {trial.proposal.parent for trial in unfinished})
        self._pause_if_hopeless(records)

    def _pause_if_hopeless(self, records: Sequence[AttemptEnd]) -> None:
        if self.state.phase is Phase.RUNNING:
            limit = self.settings.campaign.pause_after_failures
            reason = hopeless(records, self.state, limit, proven=self._proven())
            if reason is not None:
                self._append(Paused, reason=reason)

    # the queue

    def _ask_queue(self) -> None:
        """Draw the consequences of the queue's answer, and ask again after attempts that only it can tell of."""
        answer = self._queue.answer()
        if answer is not None:
            self._judge(answer)
        there = [each for each in self.live_attempts.values() if self._may_be_in_queue(each)]
        scheduler, interval, proven = self.settings.scheduler, self.scheduler.query_interval, self._proven()
        asked = {
            each.attempt.name: each.attempt.job for each in there if needs_queue(each, scheduler, interval, proven)
        }
        expected = [each.attempt.name for each in there if may_end(each, proven)]
        others = {each.attempt.name: each.attempt.job for each in there if each.attempt.name not in asked}
        self._queue.ask(asked, expected, others)
        answer = self._queue.answer()  # of a scheduler that answers at once
        if answer is not None:
            self._judge(answer)
        self._take([watched for watched in self.live_attempts.values() if is_over(watched, scheduler)])

    def _may_be_in_queue(self, watched: LiveAttempt) -> bool:
        """Whether an answer of the queue can mean anything for an attempt."""
        attempt = watched.attempt
        return not (attempt.key in self._waiting or attempt.name in self._submitter.names or watched.given_up)

    def _judge(self, answer: QueueAnswer) -> None:
        """Draw the consequences of an answer of the queue."""
        asked = [each for each in self.live_attempts.values() if each.attempt.name in answer.jobs]
        verdicts = judge(asked, answer, self.settings.scheduler, now())
        if verdicts.found:
            self._append(Submitted, jobs=verdicts.found)
        if verdicts.missing:
            self._append(Missing, attempts=[_attempt_id(attempt) for attempt in verdicts.missing])
        self._waiting.update({watched.attempt.key: "the scheduler does not have it" for watched in verdicts.never})
        self._tell_to_end(verdicts.hung, EndReason.HUNG)
        self._tell_to_end(verdicts.held, EndReason.HELD)
        for watched in verdicts.lost:
            watched.given_up = True
        self._take(verdicts.gone)

    def _take(self, gone: Sequence[LiveAttempt]) -> None:
        """Take attempts from jobs that are gone, after one more look at their events, for the reason that the queue knows."""
        ends = []
        for each in gone:
            try:
                ends.append((each, *take_from_job(self.directory, self.scheduler, each, each.job_end)))
            except TransientError as error:  # its files may say more than can be read for now
                each.postpone(error)
        self._record_ends(ends, {each.attempt.name: each.job_end.hosts for each, *_ in ends if each.job_end})

    # end and submit

    def _end_all(self, reason: EndReason) -> None:
        """Tell every live attempt to end."""
        self._tell_to_end([attempt for attempt in self.state.live.values() if attempt.cancelling is None], reason)
        self._insist()

    def _tell_to_end(self, attempts: Iterable[AttemptState], reason: EndReason) -> None:
        """Write down that attempts are to end, and why; `_insist` tells their jobs."""
        ids = [_attempt_id(attempt) for attempt in attempts]
        if ids:
            self._append(Cancelling, attempts=ids, reason=reason)

    def _insist(self) -> None:
        """Tell the jobs of attempts that are to end, also after a restart; end those that do not within the grace."""
        self._hear_cancelled()
        self._take([self.live_attempts[attempt.key] for attempt in self._tellable() if attempt.key in self._waiting])
        given_up = [watched.attempt for watched in self.live_attempts.values() if watched.given_up]
        self._ender.tell(self._tellable(), given_up)
        self._hear_cancelled()  # of a scheduler that answers at once

    def _tellable(self) -> list[AttemptState]:
        """The attempts that are to end; not while they are submitted, since only after that a job can be told."""
        live = self.state.live.values()
        return [each for each in live if each.cancelling_since and each.name not in self._submitter.names]

    def _hear_cancelled(self) -> None:
        """End the attempts whose jobs now never will begin, and those that were given up."""
        done = self._ender.heard()
        if done is not None:
            over = done.never | {
                key for key in done.told if key in self.live_attempts and self.live_attempts[key].given_up
            }
            self._take([self.live_attempts[key] for key in sorted(over) if key in self.live_attempts])

    def _submit(self) -> None:
        """Fill the room that there is: first what could not be submitted, then next attempts, then new trials."""
        if not self._submitter.is_free:
            return
        if self._waiting:
            self._start([self.state.live[key] for key in self._waiting])
            return
        room = self._chooser.room(self.state, proven=self._proven())
        array_limit = self._submitter.array_limit() if room.free > 1 else 1
        if array_limit is None:
            return
        records, over = self._chooser.choose(self.state, room, array_limit)
        if over is not None:
            self._finish(over)
        if records:
            entry = self._append(Submitting, attempts=records)
            self._start([self.state.live[record.trial, record.attempt] for record in entry.attempts])

    def _finish(self, reason: str, *, by_deadline: bool = False) -> None:
        """The campaign is over; trials that still waited for another attempt get none."""
        self._weights.over(self.state.retries)
        self._append(Finished, reason=reason, by_deadline=by_deadline)

    def _start(self, attempts: Sequence[AttemptState]) -> None:
        """Begin to submit what the journal says is being submitted."""
        for attempt in attempts:
            if attempt.key not in self.live_attempts:
                self._watch(attempt)
        try:
            requests = [make_request(self.directory, self.state, each) for each in attempts]
        except OSError as error:  # tried again at a later step
            why = f"{error.filename}: cannot be made: {error.strerror}"
            self._warn(f"{len(attempts)} trial(s) wait to be submitted: {why}")
            self._waiting.update({each.key: why for each in attempts})
            return
        self._submitter.start(requests)
        self._take_submission()  # of a scheduler that answers at once

    def _take_submission(self) -> None:
        """Write down the outcome of a submission that has ended."""
        done = self._submitter.take()
        if done is None:
            return
        by_name = {attempt.name: attempt for attempt in self.state.live.values()}  # a job may have ended already
        for name in done.jobs.keys() | done.refused.keys() | done.unsure.keys():
            if name in by_name:
                self._waiting.pop(by_name[name].key, None)
        for name in done.unsure.keys() & by_name.keys():
            by_name[name].missing_since = None  # what was missing is the job of an earlier submission
        self._waiting.update({by_name[name].key: why for name, why in done.waiting.items() if name in by_name})
        jobs = [job_record(by_name[name], job) for name, job in done.jobs.items() if name in by_name]
        if jobs:
            self._append(Submitted, jobs=jobs)
        refused = []
        for name, why in done.refused.items():
            if name not in by_name:
                continue
            watched = self.live_attempts[by_name[name].key]
            try:
                revoke(self.directory, *watched.attempt.key, EndReason.SUBMIT_REFUSED, why)
                watched.look_again(self.directory)  # what the journal says of its files is what lies there
            except TransientError as error:  # its end line, if it is written, is read at a later look
                watched.postpone(error)
                self._waiting[watched.attempt.key] = str(error)
                continue
            refused.append((watched, EndReason.SUBMIT_REFUSED, why))
        self._record_ends(refused)

    def _proven(self) -> bool:
        """Whether any trial has ended an epoch: then the site works."""
        return self.state.any_epoch or any(watched.epochs for watched in self.live_attempts.values())

    def _get_search(self) -> SearchAdapter:
        if self._proposer is None:
            self._proposer = SearchAdapter(self.directory, self._journal.entries)
        return self._proposer


def _attempt_id(attempt: AttemptState) -> AttemptId:
    return AttemptId(trial=attempt.trial, attempt=attempt.attempt)
