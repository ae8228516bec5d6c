"""Watches the live attempts' events, and sums up an attempt that ended. Reads files only; decides nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Final

from aiperf_orch.campaign.counted_epochs import counted_runs, trial_plan
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.end_reasons import reason_with_end_line
from aiperf_orch.campaign.events import RunEvents, TrialPlan, best_epoch, count_epochs, poll_attempt
from aiperf_orch.campaign.state import AttemptState, TrialState
from aiperf_orch.controller.failure_policy import is_final
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.records.journal import AttemptEnd, BeganRecord
from aiperf_orch.schedulers.base import JobEnd
from aiperf_orch.search.forecast import forecast_error
from aiperf_orch.util.errors import TransientError
from aiperf_orch.util.text import one_line
from aiperf_orch.util.units import now

_LONGEST_WAIT: Final = 30.0  # seconds
_LOG_TAIL: Final = 16_000  # bytes: a traceback may stand behind the line that explains
_LAUNCHER: Final = re.compile(r"(?:srun|slurmstepd(?:-\S+)?): |pbsdsh: ")
_EXPLAINS: Final = re.compile(r"(?:srun|slurmstepd(?:-\S+)?): (?:error|fatal): ")
_FOLLOWS: Final = re.compile(  # what launchers say after any failure explains nothing
    r"\S+: error: (?:\S+: tasks? [\d,-]+: (?!Out Of Memory)|\*\*\* STEP |Timed out waiting for job step|Application launch failed)"
)
_LOG_ENDS: Final = (
    # (line, reason, where it was seen), in the order of what explains more; the group is the node that is to blame.
    # Not `JOB 12 ON n1 CANCELLED AT …` alone: who killed it, and whether for good, it does not say
    (r"slurmstepd.*: Detected \d+ oom[_-]kill event.*", EndReason.OUT_OF_MEMORY, "Slurm 22.05 to 25.05, task/cgroup"),
    (r"slurmstepd.* exceeded (?:virtual )?memory limit \(.*", EndReason.OUT_OF_MEMORY, "Slurm 22.05.8, OverMemoryKill"),
    (r"slurmstepd.*: Exceeded job memory limit.*", EndReason.OUT_OF_MEMORY, "Slurm 22.05.8"),
    (r"srun: error: \S+: tasks? [\d,-]+: Out Of Memory", EndReason.OUT_OF_MEMORY, "Slurm 22.05, task/cgroup"),
    (r"=>> PBS: job killed: v?mem .* exceeded limit .*", EndReason.OUT_OF_MEMORY, "OpenPBS 23.06.06"),
    (r".*\*\*\* (?:JOB|STEP) .* DUE TO TIME LIMIT.*", EndReason.TIME_LIMIT, "Slurm 22.05.8"),
    (r"=>> PBS: job killed: walltime .* exceeded limit .*", EndReason.TIME_LIMIT, "OpenPBS 23.06.06"),
    (r".*\*\*\* (?:JOB|STEP) .* DUE TO PREEMPTION.*", EndReason.PREEMPTED, "Slurm 22.05.8"),
    (r".*\*\*\* (?:JOB|STEP) \S+ ON (\S+) .* DUE TO NODE FAILURE.*", EndReason.NODE_FAILURE, "Slurm 22.05"),
    (r".*\*\*\* (?:JOB|STEP) \S+ ON (\S+) UNCORRECTABLE MEMORY ERROR.*", EndReason.NODE_FAILURE, "Slurm 22.05"),
    (r"srun: error: Node failure on (\S+)", EndReason.NODE_FAILURE, "Slurm 22.05.8"),
    (r"srun: error: Task launch for StepId=\S+ failed on node (\S+): .*", EndReason.NODE_FAILURE, "Slurm 22.05"),
    (r"srun: error: task \d+ launch failed: Job prolog failed", EndReason.NODE_FAILURE, "Slurm 22.05"),
)
_NEXT_RUN: Final = (
    "aiperf-orch: run "  # what the script says when its job runs again: what is before it ended another run
)
_WORDLESS: Final = "submitit.core.utils.FailedJobError"  # its last line about a process that was killed without a word
_KILLED: Final = re.compile(r"^subprocess\.CalledProcessError: Command .* (died with .*|returned .*)$")


@dataclass
class LiveAttempt:
    """A live attempt and its events so far.

    `heard` is when it last gave a sign, `news` when its events last grew and `due` when the next look is worth it, all
    by the monotonic clock, which nobody can set back. `epochs` are the trial's epochs so far that count, in order, with
    those of earlier attempts. `note` is what the queue said of its job last, for a person: why it waits, that it is
    suspended. `job_end` is what the queue said of its job's end, `job_ended` when it first said so, `stuck_since` since
    when it says that the job will never run by itself. `given_up` says that the job is cancelled, in case it lives, and
    the attempt then ends; `came_back` that its events grew after the queue had missed its job. `unread` is why not all
    of its files could be read at the last look: until they can, nothing is concluded of how it ended.
    """

    attempt: AttemptState
    trial: TrialState
    planned: TrialPlan
    heard: float
    due: float
    earlier: list[Epoch] = field(default_factory=list)
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
    unread: TransientError | None = None
    _earlier_known: bool = False
    _doubts: dict[str, bool] = field(default_factory=dict)  # and whether they were reported

    @property
    def begin(self) -> Begin | None:
        """The begin line of the latest run."""
        return self.runs[-1].begin if self.runs else None

    @property
    def end(self) -> End | None:
        """The end line of the latest run; None while a file that may say more cannot be read."""
        return self.runs[-1].end if self.runs and self.unread is None else None

    def poll(self, directory: CampaignDirectory) -> None:
        """Read what its jobs have written since, unless it is too early for a next epoch, and it was not told to end."""
        time = monotonic()
        if time < self.due and self.attempt.cancelling is None:
            return
        signs, begun = self._signs(), self._begun_runs
        if self._read_on(directory):
            if self._begun_runs > begun > 0:
                self.job_end = self.job_ended = None  # that was the end of the run before: the site ran the job again
            self.heard = self.news = time
            self.given_up, self.came_back = False, True
            self._count()
            if self._signs() > signs:
                self.note = ""  # the job goes on, whatever the queue said of it before
        elif self.runs and self.runs[-1].epochs and self.unread is None:
            # no end right behind the last epoch, so the next takes about as long: a look when half of the rest is over
            last = self.runs[-1].epochs[-1]
            left = (last.end - last.start).total_seconds() - (time - self.news)
            self.due = time + min(max(left, 0.0) / 2, _LONGEST_WAIT)

    def _count(self) -> None:
        found = [epoch for run in self.runs for epoch in run.epochs]
        self.epochs = list(count_epochs([*self.earlier, *found]).values())

    def _signs(self) -> int:
        """How many begins and epochs its jobs have written."""
        return self._begun_runs + sum(len(run.epochs) for run in self.runs)

    @property
    def _begun_runs(self) -> int:
        return sum(run.begin is not None for run in self.runs)

    def look_again(self, directory: CampaignDirectory) -> None:
        """Read on, however lately it was looked at.

        Raises:
            TransientError: when a file could not be read for now.
        """
        self.due = 0.0
        self.poll(directory)
        if self.unread:
            raise self.unread

    def postpone(self, error: TransientError) -> None:
        """Keep what prevents a conclusion on this attempt, to be reported once; the next look tries again."""
        self.unread, self.due = error, 0.0
        self._doubts.setdefault(str(error), False)

    def read_earlier(self, directory: CampaignDirectory) -> None:
        """Read the epochs of earlier attempts, once.

        Raises:
            TransientError: when a file could not be read for now.
        """
        if not self._earlier_known:
            before = [each for each in self.trial.attempts if each.attempt < self.attempt.attempt]
            runs = [run for each in before for run in counted_runs(directory, self.trial, each)[0]]
            self.earlier, self._earlier_known = [epoch for run in runs for epoch in run.epochs], True
            self._count()

    def _read_on(self, directory: CampaignDirectory) -> bool:
        """Read what was added to its files; tells whether there was anything."""
        before = self._read()
        try:
            self.read_earlier(directory)
            poll_attempt(directory, *self.attempt.key, self.planned, self.runs)
            self.unread = None
        except TransientError as error:
            self.postpone(error)
        return self._read() != before

    def _read(self) -> tuple[bool, list[int]]:
        """How much of its files has been read."""
        return self._earlier_known, [run.size for run in self.runs]

    def reason(self) -> tuple[EndReason, str]:
        """The typed reason and the message of its end line: told to end by us, or by somebody else."""
        if self.end is None:
            raise AssertionError("asked for the reason of an attempt that has not ended")
        return reason_with_end_line(self.end.reason, self.attempt.cancelling), self.end.message

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
        """Faults of its events files that have not been reported yet, and files that cannot be read for now."""
        faults = [fault for run in self.runs for fault in run.faults]
        fresh, self.reported_faults = faults[self.reported_faults :], len(faults)
        doubts = [doubt for doubt, reported in self._doubts.items() if not reported]
        self._doubts.update(dict.fromkeys(doubts, True))
        return [*fresh, *(f"{doubt}; it is tried again until it can be" for doubt in doubts)]

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
        begun = next((run.begin for run in reversed(self.runs) if run.begin), None)  # the last run may be our own
        begins = [run.begin.time for run in self.runs if run.begin]
        progressed = bool({epoch.epoch for epoch in epochs} - {epoch.epoch for epoch in self.earlier})
        return AttemptEnd(
            trial=self.attempt.trial,
            attempt=self.attempt.attempt,
            reason=reason,
            message=one_line(message),
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
            hosts=list(begun.hosts if begun else hosts),
            progressed=progressed,
        )


def watch(directory: CampaignDirectory, attempt: AttemptState, trial: TrialState) -> LiveAttempt:
    """Begin to watch a live attempt, also one that another controller submitted."""
    silent = max((now() - attempt.submitted).total_seconds(), 0.0)
    watched = LiveAttempt(
        attempt,
        trial,
        trial_plan(directory, trial),
        heard=monotonic() - silent,
        due=monotonic(),
        reported_run=attempt.began.run if attempt.began else -1,
    )
    try:
        watched.read_earlier(directory)
    except TransientError as error:
        watched.postpone(error)
    return watched


def last_line(*logs: Path) -> str:
    """The line of a job's log that explains best why it ended, of the first log that has any; else empty."""
    return next((f"{log} ends: {line}" for log in logs if (line := explanation(tail(log)))), "")


def tail(*logs: Path) -> list[str]:
    """The last lines of the first of these logs that has any."""
    return next(filter(None, map(_tail, logs)), [])


def end_from_log(lines: Sequence[str]) -> JobEnd | None:
    """Why a job ended, where a line of its launcher in its log says so in words that are known; else None."""
    found = _typed(lines)
    if found is None:
        return None
    line, reason, node = found
    return JobEnd(reason, line, (node,) if node else ())


def explanation(lines: Sequence[str]) -> str:
    """The line that explains best why a job ended: one that is known to, else the last that does not only follow."""
    found = _typed(lines)
    if found is not None:
        return found[0]
    said = list(lines)
    if said and said[-1] == _WORDLESS:
        said.extend(f"the trial's process {killed[1]}" for killed in [_KILLED.match(line) for line in said] if killed)
    telling = [
        line for line in said if not _LAUNCHER.match(line) or (_EXPLAINS.match(line) and not _FOLLOWS.match(line))
    ]
    return (telling or said or [""])[-1]


def _typed(lines: Sequence[str]) -> tuple[str, EndReason, str | None] | None:
    """The line that is known to tell why a job ended, the reason, and the node that is to blame."""
    for form, reason, _seen in _LOG_ENDS:
        for line in reversed(lines):
            match = re.fullmatch(form, line)
            if match:
                return line, reason, next(iter(match.groups()), None)
    return None


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - _LOG_TAIL, 0))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return []
    said = [line.strip() for line in lines if line.strip()]
    runs = [number for number, line in enumerate(said) if line.startswith(_NEXT_RUN)]
    return said[runs[-1] + 1 :] if runs else said
