"""Live attempts: each with its journal state, its events so far, and the state of its submission and cancellation.

This module reads files only, and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from time import monotonic
from typing import Final

from aiperf_orch.campaign.counted_epochs import counted_runs, trial_plan
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.end_reasons import reason_with_end_line
from aiperf_orch.campaign.events import RunEvents, TrialPlan, best_epoch, count_epochs, poll_attempt
from aiperf_orch.campaign.failure_policy import is_final
from aiperf_orch.campaign.trial_state import AttemptKey, AttemptState, TrialState
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.records.journal import AttemptEnd, BeganRecord
from aiperf_orch.schedulers.base import JobEnd
from aiperf_orch.search.forecast import forecast_error
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.errors import TransientError
from aiperf_orch.util.text import one_line
from aiperf_orch.util.units import now

_LONGEST_PAUSE: Final = 30.0
"""Seconds between two polls of an attempt, at most."""

_SHORTEST_PACE: Final = 1.0
"""Seconds between two polls of a job that waits; where fewer would do, each step polls it."""


class Unsubmitted(Enum):
    """When an attempt is submitted whose job the scheduler certainly does not have."""

    DUE = "at once"
    POSTPONED = "after a pause, as the scheduler or the file system refused it for now"


@dataclass
class LiveAttempt:
    """A live attempt. All its times are of the monotonic clock, which no clock setting moves.

    Attributes:
        attempt: Its journal state.
        trial: The journal state of its trial.
        planned: What the specification says of its events.
        last_sign: When its events or the queue last showed that it is alive.
        next_poll: When its events are worth the next poll.
        earlier: Epochs of earlier attempts of the trial.
        epochs: Counted epochs of the trial so far, in order, those of earlier attempts included.
        runs: Events of its runs so far.
        is_announced: Whether the scheduler announces its start and its end, so that its events are polled seldom.
        announced: When the scheduler last announced its start or its end; None before that.
        is_running: Whether the queue last said that its job runs. Before that, its events are polled seldom.
        read_error: Why not all of its files could be read at the last poll. Until they can be, no end is concluded.
        reported_run: Number of the last run whose begin is in the journal; -1 for none.
        reported_faults: Number of faults of its events that were reported.
        last_growth: When its events last grew.
        note: What the queue last said of its job, for the user: why it is pending, that it is suspended.
        job_end: What the queue said of the end of its job.
        job_ended: When the queue first said that its job has ended.
        stuck_since: Since when the queue says that its job will never run by itself.
        reappeared: Whether its events grew after the queue had no longer listed its job.
        abandoned: Whether it ends as soon as its job is cancelled, in case the job is alive.
        unsubmitted: When it is to be submitted; None where the scheduler has its job, or may have it.
        cancel_sent: When the scheduler last accepted the cancellation of its job.
        kill_sent: When the scheduler last accepted to end its job by force.
        cancel_refused: Whether the scheduler refused the last cancellation of its job.
        may_run_again: Whether the scheduler may start its job again by itself, so that another run may follow.
    """

    attempt: AttemptState
    trial: TrialState
    planned: TrialPlan
    last_sign: float
    next_poll: float
    earlier: list[Epoch] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    runs: list[RunEvents] = field(default_factory=list)
    is_announced: bool = False
    announced: float | None = None
    is_running: bool = False
    read_error: TransientError | None = None
    reported_run: int = -1
    reported_faults: int = 0
    last_growth: float = 0.0
    note: str = ""
    job_end: JobEnd | None = None
    job_ended: float | None = None
    stuck_since: float | None = None
    reappeared: bool = False
    abandoned: bool = False
    unsubmitted: Unsubmitted | None = None
    cancel_sent: float | None = None
    kill_sent: float | None = None
    cancel_refused: bool = False
    may_run_again: bool = True
    _last_poll: float = -math.inf
    _earlier_known: bool = False
    _read_errors: dict[str, bool] = field(default_factory=dict)  # message -> whether it was reported

    @property
    def key(self) -> AttemptKey:
        """Trial and attempt."""
        return self.attempt.key

    @property
    def name(self) -> str:
        """Name of its job."""
        return self.attempt.name

    @property
    def begin(self) -> Begin | None:
        """The begin line of the latest run."""
        return self.runs[-1].begin if self.runs else None

    @property
    def end(self) -> End | None:
        """The end line of the latest run; None while a file that may contain more cannot be read."""
        return self.runs[-1].end if self.runs and self.read_error is None else None

    @property
    def is_cancel_sent(self) -> bool:
        """Whether the cancellation of its job was sent, and not refused."""
        return self.cancel_sent is not None and not self.cancel_refused

    @property
    def ended_by_others(self) -> bool:
        """Whether its end line says that it was cancelled, and not by us: only the queue knows by whom, and why."""
        return self.end is not None and self.end.reason is EndReason.STOPPED and self.attempt.cancelling is None

    def rests(self, time: float) -> bool:
        """Whether nothing is to be done for it before its events are worth the next poll.

        Args:
            time: The present time.
        """
        return (
            time < self.next_poll
            and self.unsubmitted is None
            and self.job_ended is None
            and not self.abandoned
            and not self.attempt.is_uncertain
            and not (self.runs and self.runs[-1].end)
        )

    def announce(self) -> None:
        """Note that the scheduler has announced its start or its end: its events are worth a poll."""
        self.next_poll, self.announced = 0.0, monotonic()

    def poll(self, directory: CampaignDirectory, pace: float = 0.0) -> None:
        """Read on in its events, unless nothing new is expected yet; always while its job is uncertain.

        Args:
            directory: The campaign.
            pace: Seconds between two polls, at least, of an attempt that is announced or waits in the queue.
        """
        uncertain, soonest = self.attempt.is_uncertain, self._last_poll + (pace if self.is_announced else 0.0)
        if monotonic() >= (min(self.next_poll, soonest) if uncertain else self.next_poll):
            self._poll(directory, pace if self._is_paced else 0.0, later_runs=uncertain or self.may_run_again)

    @property
    def _is_paced(self) -> bool:
        """Whether its events are polled seldom: the scheduler announces them, or nothing says that its job runs."""
        return self.is_announced or not (self.runs or self.is_running)

    def _poll(self, directory: CampaignDirectory, pace: float, *, later_runs: bool) -> None:
        time, signs, begun = monotonic(), self._signs(), self._begun_runs
        self._last_poll = time
        if self._read_on(directory, later_runs=later_runs):
            if self._begun_runs > begun > 0:
                self.job_end = self.job_ended = None  # that was the end of the run before: the job was requeued
            self.last_sign = self.last_growth = time
            self.abandoned, self.reappeared = False, True
            self._count()
            if self._signs() > signs:
                self.note = ""  # the job runs on: what the queue said of it is out of date
        elif self.read_error is None and (self.runs or self._is_paced):
            self.next_poll = time + self._pause(time, pace)

    def _pause(self, time: float, pace: float) -> float:
        """Seconds until its events are worth the next poll."""
        if not self.runs and self.announced is None:  # its start will be announced, or the queue will list it
            if self.is_announced:
                return max(_LONGEST_PAUSE, pace)
            return pace if pace >= _SHORTEST_PACE else 0.0
        return max(min(self._expected_silence(time), _LONGEST_PAUSE), pace if self.runs else 0.0)

    def _expected_silence(self, time: float) -> float:
        """Seconds in which no event is expected."""
        silent = time - max(self.last_growth, self.announced or 0.0)
        if self.runs and self.runs[-1].epochs:
            # the next epoch takes about as long as the last one: poll when half of the remaining time has passed
            last = self.runs[-1].epochs[-1]
            return max((last.end - last.start).total_seconds() - silent, 0.0) / 2
        return silent / 4  # the longer the first epoch takes, the longer the next ones will

    def poll_now(self, directory: CampaignDirectory) -> None:
        """Read on in its events, due or not.

        Raises:
            TransientError: When a file cannot be read for now.
        """
        self._poll(directory, 0.0, later_runs=True)
        if self.read_error:
            raise self.read_error

    def defer(self, error: TransientError) -> None:
        """Keep the error that prevents a conclusion, to be reported once; the next poll tries again."""
        self.read_error, self.next_poll = error, 0.0
        self._read_errors.setdefault(str(error), False)

    def read_earlier(self, directory: CampaignDirectory) -> None:
        """Read the epochs of earlier attempts, once.

        Raises:
            TransientError: When a file cannot be read for now.
        """
        if not self._earlier_known:
            before = [each for each in self.trial.attempts if each.attempt < self.attempt.attempt]
            runs = [run for each in before for run in counted_runs(directory, self.trial, each)[0]]
            self.earlier, self._earlier_known = [epoch for run in runs for epoch in run.epochs], True
            self._count()

    def end_reason(self) -> tuple[EndReason, str]:
        """Reason and message of its end, by its end line."""
        if self.end is None:
            raise AssertionError("an attempt without an end line has no end reason yet")
        return reason_with_end_line(self.end.reason, self.attempt.cancelling), self.end.message

    def take_begin(self) -> BeganRecord | None:
        """The begin of the latest run, once; None where it has been taken."""
        begin = self.begin
        if begin is None or begin.run <= self.reported_run:
            return None
        self.reported_run = begin.run
        return BeganRecord(
            trial=begin.trial,
            attempt=begin.attempt,
            run=begin.run,
            time=begin.time,
            hosts=begin.hosts,
            job=begin.job,
        )

    def take_faults(self) -> list[str]:
        """Faults of its events files, and files that cannot be read for now: each once."""
        faults = [fault for run in self.runs for fault in run.faults]
        fresh, self.reported_faults = faults[self.reported_faults :], len(faults)
        errors = [error for error, reported in self._read_errors.items() if not reported]
        self._read_errors.update(dict.fromkeys(errors, True))
        return [*fresh, *(f"{error}; it is read again at each step" for error in errors)]

    def end_record(
        self,
        reason: EndReason,
        message: str,
        hosts: Sequence[str],
        settings: SiteSettings,
        deadline: datetime | None,
    ) -> AttemptEnd:
        """The journal's record of its end, with the totals of the whole trial so far.

        Args:
            reason: Why it ended.
            message: What is known of that.
            hosts: Nodes that the queue knows of; used only where there is no begin line.
            settings: Settings of the campaign. A trial that reached the last epoch of the learning rate schedule gets
                no forecast of its error.
            deadline: End of the campaign; later epochs do not count. None before the first begin of any trial.
        """
        epochs = list(count_epochs(self.epochs, deadline).values())
        best = best_epoch(epochs)
        begins = [run.begin for run in self.runs if run.begin]  # the last run may be the controller's own
        progressed = bool({epoch.epoch for epoch in epochs} - {epoch.epoch for epoch in self.earlier})
        attempts, max_attempts = self.trial.attempts, settings.campaign.max_attempts
        return AttemptEnd(
            trial=self.attempt.trial,
            attempt=self.attempt.attempt,
            reason=reason,
            message=one_line(message),
            final=is_final(reason, attempts, max_attempts, progressed=progressed),
            epochs=len(epochs),
            train_images=sum(epoch.train_images for epoch in epochs),
            val_images=sum(epoch.val_images for epoch in epochs),
            ops=sum(epoch.ops for epoch in epochs),
            best_error=best.error if best else None,
            best_epoch=best.epoch if best else None,
            predicted_error=_forecast(epochs, settings),
            first_begin=min((begin.time for begin in begins), default=None),
            last_end=max((epoch.end for epoch in epochs), default=None),
            files=[run.recorded() for run in self.runs],
            hosts=list(begins[-1].hosts if begins else hosts),
            progressed=progressed,
        )

    def _count(self) -> None:
        found = [epoch for run in self.runs for epoch in run.epochs]
        self.epochs = list(count_epochs([*self.earlier, *found]).values())

    def _signs(self) -> int:
        """Number of begins and epochs in its events."""
        return self._begun_runs + sum(len(run.epochs) for run in self.runs)

    @property
    def _begun_runs(self) -> int:
        return sum(run.begin is not None for run in self.runs)

    def _read_on(self, directory: CampaignDirectory, *, later_runs: bool) -> bool:
        """Read what was added to its files; returns whether anything was."""
        before = self._position()
        try:
            self.read_earlier(directory)
            poll_attempt(directory, *self.key, self.planned, self.runs, later_runs=later_runs)
            self.read_error = None
        except TransientError as error:
            self.defer(error)
        return self._position() != before

    def _position(self) -> tuple[bool, list[int]]:
        """How far its files have been read."""
        return self._earlier_known, [run.size for run in self.runs]


def monitor_attempt(
    directory: CampaignDirectory, attempt: AttemptState, trial: TrialState, *, is_announced: bool = False
) -> LiveAttempt:
    """Begin to monitor a live attempt, whichever controller submitted it.

    Args:
        directory: The campaign.
        attempt: Its journal state.
        trial: The journal state of its trial.
        is_announced: Whether the scheduler announces its start and its end.
    """
    silent, scheduler = max((now() - attempt.submitted).total_seconds(), 0.0), directory.settings.scheduler
    live = LiveAttempt(
        attempt,
        trial,
        trial_plan(directory, trial),
        last_sign=monotonic() - silent,
        next_poll=monotonic(),
        reported_run=attempt.began.run if attempt.began else -1,
        is_announced=is_announced,
        may_run_again=isinstance(scheduler, ClusterSettings) and scheduler.requeue,
    )
    try:
        live.read_earlier(directory)
    except TransientError as error:
        live.defer(error)
    return live


def _forecast(epochs: Sequence[Epoch], settings: SiteSettings) -> float | None:
    """The forecast error of a trial with these counted epochs; None where they have a gap, or none is needed."""
    best = best_epoch(epochs)
    without_gap = [epoch.epoch for epoch in epochs] == list(range(1, len(epochs) + 1))
    if best is None or not without_gap or len(epochs) >= settings.training.epochs:
        return None
    return forecast_error([epoch.error for epoch in epochs], settings.search.forecast_epoch, best.error)
