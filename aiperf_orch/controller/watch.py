"""Watches the live attempts' events, and sums up an attempt that ended. Reads files only; decides nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Final

from aiperf_orch.campaign.counted import counted_runs, planned_of
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import Planned, RunEvents, best_epoch, count_epochs, poll_attempt
from aiperf_orch.campaign.state import Attempt, Trial
from aiperf_orch.controller.policy import is_final
from aiperf_orch.records import AttemptEnd, BeganRecord, Begin, End, EndReason, Epoch
from aiperf_orch.schedulers.base import JobEnd
from aiperf_orch.search.forecast import forecast_error
from aiperf_orch.units import now

_LONGEST_WAIT: Final = 30.0  # seconds
_LOG_TAIL: Final = 4000  # bytes
_LAUNCHERS: Final = ("srun: ", "slurmstepd", "pbsdsh: ")  # what these say after a failure explains nothing
_WORDLESS: Final = "submitit.core.utils.FailedJobError"  # its last line about a process that was killed without a word
_KILLED: Final = re.compile(r"^subprocess\.CalledProcessError: Command .* (died with .*|returned .*)$")


@dataclass
class Watched:
    """A live attempt and its events so far.

    `heard` is when it last gave a sign, `news` when its events last grew and `due` when the next look is worth it, all
    by the monotonic clock, which nobody can set back. `epochs` are the trial's epochs so far that count, in order, with
    those of earlier attempts. `note` is what the queue said of its job last, for a person: why it waits, that it is
    suspended. `job_end` is what the queue said of its job's end, `job_ended` when it first said so, `stuck_since` since
    when it says that the job will never run by itself. `given_up` says that the job is cancelled, in case it lives, and
    the attempt then ends; `came_back` that its events grew after the queue had missed its job.
    """

    attempt: Attempt
    trial: Trial
    planned: Planned
    heard: float
    due: float
    earlier: list[Epoch]
    epochs: list[Epoch] = field(default_factory=list)
    runs: list[RunEvents] = field(default_factory=list)
    reported_run: int = -1
    reported_faults: int = 0
    news: float = 0.0
    note: str = ""
    job_end: JobEnd | None = None
    job_ended: float | None = None
    stuck_since: float | None = None
    given_up: bool = False
    came_back: bool = False

    @property
    def begin(self) -> Begin | None:
        """The begin line of the latest run."""
        return self.runs[-1].begin if self.runs else None

    @property
    def end(self) -> End | None:
        """The end line of the latest run."""
        return self.runs[-1].end if self.runs else None

    def poll(self, directory: CampaignDirectory) -> None:
        """Read what its jobs have written since, unless it is too early for a next epoch, and it was not told to end."""
        time = monotonic()
        if time < self.due and self.attempt.cancelling is None:
            return
        begun = self._begun_runs
        if poll_attempt(directory, *self.attempt.key, self.planned, self.runs):
            if self._begun_runs > begun > 0:
                self.job_end = self.job_ended = None  # that was the end of the run before: the site ran the job again
            self.heard = self.news = time
            self.given_up, self.came_back = False, True
            found = [epoch for run in self.runs for epoch in run.epochs]
            self.epochs = list(count_epochs([*self.earlier, *found]).values())
        elif self.runs and self.runs[-1].epochs:
            # no end right behind the last epoch, so the next takes about as long: a look when half of the rest is over
            last = self.runs[-1].epochs[-1]
            left = (last.end - last.start).total_seconds() - (time - self.news)
            self.due = time + min(max(left, 0.0) / 2, _LONGEST_WAIT)

    @property
    def _begun_runs(self) -> int:
        return sum(run.begin is not None for run in self.runs)

    def look_again(self, directory: CampaignDirectory) -> None:
        """Read on, however lately it was looked at."""
        self.due = 0.0
        self.poll(directory)

    def reason(self) -> tuple[EndReason, str]:
        """The typed reason and the message of its end line: told to end by us, or by somebody else."""
        if self.end is None:
            raise AssertionError("asked for the reason of an attempt that has not ended")
        if self.end.reason is EndReason.STOPPED:
            return self.attempt.cancelling or EndReason.CANCELLED, self.end.message
        return self.end.reason, self.end.message

    @property
    def ended_by_others(self) -> bool:
        """Whether its end line says that it was told to end, and not by us: only the queue can tell by whom, and why."""
        return self.end is not None and self.end.reason is EndReason.STOPPED and self.attempt.cancelling is None

    def new_begin(self) -> BeganRecord | None:
        """The begin of a run that has not been reported yet."""
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

    def new_faults(self) -> list[str]:
        """Faults of its events files that have not been reported yet."""
        faults = [fault for run in self.runs for fault in run.faults]
        fresh, self.reported_faults = faults[self.reported_faults :], len(faults)
        return fresh

    def sum_up(
        self,
        reason: EndReason,
        message: str,
        hosts: Sequence[str],
        *,
        deadline: datetime | None,
        max_attempts: int,
        forecast_epoch: int,
        horizon: int,
    ) -> AttemptEnd:
        """The record of this attempt's end, with the totals of the whole trial so far.

        `hosts` are those that the queue knows of; those of the begin line come first. `horizon` is the epoch at which
        the learning rate ends: a trial that got there is not short, and what it reached needs no forecast.
        """
        counted = count_epochs(self.epochs, deadline)
        epochs = list(counted.values())
        best = best_epoch(epochs)
        whole = [epoch.epoch for epoch in epochs] == list(range(1, len(epochs) + 1))
        errors = [epoch.error for epoch in epochs]
        short = whole and len(epochs) < horizon
        predicted = forecast_error(errors, forecast_epoch, best.error) if best and short else None
        begins = [run.begin.time for run in self.runs if run.begin]
        progressed = bool({epoch.epoch for epoch in epochs} - {epoch.epoch for epoch in self.earlier})
        return AttemptEnd(
            trial=self.attempt.trial,
            attempt=self.attempt.attempt,
            reason=reason,
            message="".join(letter if letter.isprintable() else " " for letter in message),
            final=is_final(reason, self.trial, max_attempts, progressed=progressed),
            epochs=len(epochs),
            train_images=sum(epoch.train_images for epoch in epochs),
            val_images=sum(epoch.val_images for epoch in epochs),
            ops=sum(epoch.ops for epoch in epochs),
            best_error=best.error if best else None,
            best_epoch=best.epoch if best else None,
            predicted_error=predicted,
            first_begin=min(begins, default=None),
            last_end=max((epoch.end for epoch in epochs), default=None),
            files=[run.recorded() for run in self.runs],
            hosts=list(self.begin.hosts if self.begin else hosts),
            progressed=progressed,
        )


def watch(directory: CampaignDirectory, attempt: Attempt, trial: Trial) -> Watched:
    """Begin to watch a live attempt, also one that another controller submitted."""
    earlier = [
        epoch
        for before in trial.attempts
        if before.attempt < attempt.attempt
        for run in counted_runs(directory, trial, before)[0]
        for epoch in run.epochs
    ]
    silent = max((now() - attempt.submitted).total_seconds(), 0.0)
    return Watched(
        attempt,
        trial,
        planned_of(directory, trial),
        heard=monotonic() - silent,
        due=monotonic(),
        earlier=earlier,
        reported_run=attempt.began.run if attempt.began else -1,
    )


def last_line(*logs: Path) -> str:
    """The last line of a job's log that its launcher did not write, of the first log that has any; else empty."""
    return next(filter(None, map(_last_line, logs)), "")


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - _LOG_TAIL, 0))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    if said and said[-1] == _WORDLESS:
        said.extend(f"the trial's process {found[1]}" for found in [_KILLED.match(line) for line in said] if found)
    last = next((line for line in reversed(said) if not line.startswith(_LAUNCHERS)), said[-1] if said else "")
    return f"{log} ends: {last}" if last else ""
