"""State of a campaign: a fold over the entries of its journal, which opens no other file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from aiperf_orch.campaign.drained_nodes import DrainedNodes
from aiperf_orch.campaign.ended_trials import EndedTrials
from aiperf_orch.campaign.failure_policy import FailureStreak, NodeFailures, is_failure
from aiperf_orch.campaign.trial_state import AttemptKey, AttemptState, TrialState
from aiperf_orch.campaign.workforce import Workforce
from aiperf_orch.records.journal import (
    JOURNAL_FORMAT,
    AttemptEnd,
    Began,
    Cancelling,
    Created,
    Drained,
    Ended,
    Entry,
    Finished,
    Missing,
    Opened,
    Paused,
    Resumed,
    SettingsChanged,
    Stopped,
    Submitted,
    Submitting,
)
from aiperf_orch.records.plan import Plan
from aiperf_orch.settings.changeable import concerns_jobs
from aiperf_orch.settings.changes import apply_changes
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import RecordError, UsageError


class Phase(str, Enum):
    """Phase of a campaign as a whole."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    FINISHED = "finished"


@dataclass
class CampaignState:
    """State of a campaign, as its journal describes it.

    Attributes:
        trials: All trials, by number, but those in `older`.
        older: Trials that are over of which only a few numbers are kept, in the state that `status` reads
            (`campaign.saved_state`), which has no `begins` and `ends` of them either; none in any other state.
        live: Attempts that have not ended.
        retries: Trials that are not over and have no live attempt: their next attempt is due.
        settings_sha256: SHA-256 of the frozen settings; None for an empty journal.
        journal_format: Format that the journal's first line states; that of new journals before there is one.
        plan: The plan that it was made with; None without one.
        first_begin: Earliest begin of any trial; None before that.
        phase: Phase of the campaign.
        phase_reason: Why it is in this phase; empty while it runs.
        by_deadline: Whether the campaign finished because its duration had passed.
        opened: The entry of the controller that opened the journal last.
        begins: Attempts that began, in the order of the journal; once for each run.
        ends: Ends of attempts, in the order of the journal.
        operations: Operations of the trials that are over.
        epochs: Number of their epochs.
        last_end: End of the last counted epoch of the trials that are over.
        best_error: Best error of the trials that are over.
        best_trial: The first of the trials that have this error.
        failures: Number of attempts that failed.
        any_epoch: Whether any attempt that has ended completed an epoch.
        node_failures: Trials that failed, by node.
        failure_streak: Consecutive trials that failed for the same reason.
        workforce: Allocations and agents, where the campaign has any.
        settings_changes: Changes of the settings, in the order of the journal.
        drained: Nodes that get no further trials.
        latest: Time of the latest entry.
    """

    trials: dict[int, TrialState] = field(default_factory=dict)
    older: EndedTrials = field(default_factory=EndedTrials)
    live: dict[AttemptKey, AttemptState] = field(default_factory=dict)
    retries: dict[int, TrialState] = field(default_factory=dict)
    settings_sha256: str | None = None
    journal_format: int = JOURNAL_FORMAT
    plan: Plan | None = None
    first_begin: datetime | None = None
    phase: Phase = Phase.RUNNING
    phase_reason: str = ""
    by_deadline: bool = False
    opened: Opened | None = None
    begins: list[AttemptState] = field(default_factory=list)
    ends: list[AttemptEnd] = field(default_factory=list)
    operations: int = 0
    epochs: int = 0
    last_end: datetime | None = None
    best_error: float | None = None
    best_trial: int | None = None
    failures: int = 0
    any_epoch: bool = False
    node_failures: NodeFailures = field(default_factory=NodeFailures)
    failure_streak: FailureStreak = field(default_factory=FailureStreak)
    workforce: Workforce = field(default_factory=Workforce)
    settings_changes: list[SettingsChanged] = field(default_factory=list)
    drained: DrainedNodes = field(default_factory=DrainedNodes)
    latest: datetime | None = None

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> CampaignState:
        """The state after these entries.

        Raises:
            RecordError: As `apply_all`.
        """
        state = cls()
        state.apply_all(entries)
        return state

    def apply_all(self, entries: Iterable[Entry]) -> None:
        """Apply entries that were read from the journal.

        Raises:
            RecordError: When an entry names a trial or an attempt that the entries before it do not contain.
        """
        for entry in entries:
            try:
                self.apply(entry)
            except KeyError as error:
                raise RecordError(
                    f"journal.jsonl:{entry.seq + 1}: {entry.type}: names {_shown(error.args[0])}, which the lines "
                    "before it do not know; restore the journal from a copy (nothing was changed)"
                ) from None

    def deadline(self, duration: float) -> datetime | None:
        """The absolute end of the campaign, `duration` seconds after its first begin; None before that."""
        return None if self.first_begin is None else self.first_begin + timedelta(seconds=duration)

    def settings_history(self, frozen: SiteSettings) -> list[SiteSettings]:
        """The settings that were in force: those frozen when the campaign was made, and those after each change.

        Raises:
            RecordError: When a change of the journal is none that `set` makes.
        """
        history = [frozen]
        for entry in self.settings_changes:
            try:
                changes = {change.key: change.after for change in entry.changes}
                history.append(apply_changes(history[-1], changes))
            except UsageError as error:
                raise RecordError(f"journal.jsonl:{entry.seq + 1}: settings-changed: {error}") from None
        return history

    def settings(self, frozen: SiteSettings) -> SiteSettings:
        """The settings in force; arguments and errors as of `settings_history`."""
        return self.settings_history(frozen)[-1]

    def concurrency_history(self, frozen: SiteSettings) -> list[tuple[datetime | None, int]]:
        """Number of trials at once by the settings, and the time of the change to it; None for the first one.

        Arguments and errors are those of `settings_history`.
        """
        found: list[tuple[datetime | None, int]] = [(None, frozen.campaign.concurrency)]
        for entry, settings in zip(self.settings_changes, self.settings_history(frozen)[1:], strict=True):
            if settings.campaign.concurrency != found[-1][1]:
                found.append((entry.time, settings.campaign.concurrency))
        return found

    @property
    def trials_ended(self) -> int:
        """Number of trials that are over."""
        return self.trials_known - len(self.live) - len(self.retries)

    @property
    def trials_known(self) -> int:
        """Number of all trials."""
        return len(self.older) + len(self.trials)

    def apply(self, entry: Entry) -> None:
        """Apply one more entry."""
        self.latest = max(self.latest or entry.time, entry.time)
        match entry:
            case Created():
                self.settings_sha256, self.journal_format = entry.settings_sha256, entry.format
                self.plan = entry.plan
            case Opened():
                self.opened = entry
            case Submitting():
                self._apply_submitting(entry)
            case Submitted():
                for job in entry.jobs:
                    attempt = self.live[AttemptKey(job.trial, job.attempt)]
                    attempt.job, attempt.missing_since = job.job, None
            case Began():
                for began in entry.attempts:
                    attempt = self.live[AttemptKey(began.trial, began.attempt)]
                    attempt.began, attempt.missing_since, attempt.outdated = began, None, False
                    attempt.job = attempt.job or began.job
                    self.begins.append(attempt)
                    self.first_begin = min(self.first_begin or began.time, began.time)
            case Missing():
                for missing in entry.attempts:
                    self.live[AttemptKey(missing.trial, missing.attempt)].missing_since = entry.time
            case Cancelling():
                for cancelled in entry.attempts:
                    attempt = self.live[AttemptKey(cancelled.trial, cancelled.attempt)]
                    attempt.cancelling, attempt.cancelling_since = entry.reason, entry.time
            case Ended():
                for end in entry.attempts:
                    self._apply_end(end)
            case SettingsChanged():
                self._apply_settings(entry)
            case Drained():
                self._apply_drained(entry)
            case Paused():
                self.phase, self.phase_reason = Phase.PAUSED, entry.reason
            case Resumed():
                self.phase, self.phase_reason = Phase.RUNNING, ""
                self.failure_streak.reset()
                for attempt in self.live.values():  # a cancellation that did not end an attempt is void
                    if not attempt.leaves_drained_node:  # a drained node stays so
                        attempt.cancelling = attempt.cancelling_since = None
            case Stopped():
                self.phase, self.phase_reason = Phase.STOPPED, "stopped by the user"
            case Finished():
                self.phase, self.phase_reason = Phase.FINISHED, entry.reason
                self.by_deadline = entry.by_deadline
            case _:
                self.workforce.apply(entry)

    def _apply_settings(self, entry: SettingsChanged) -> None:
        self.settings_changes.append(entry)
        self.workforce.apply(entry)
        if any(concerns_jobs(*change.values) for change in entry.changes):
            for attempt in self.live.values():
                attempt.outdated |= attempt.began is None

    def _apply_drained(self, entry: Drained) -> None:
        self.drained.apply(entry)
        for attempt in self.live.values():
            attempt.nodes_changed = attempt.began is None

    def _apply_submitting(self, entry: Submitting) -> None:
        for record in entry.attempts:
            if record.proposal is not None:
                self.trials[record.trial] = TrialState(record.trial, record.proposal, record.spec_sha256)
            attempt = AttemptState(record.trial, record.attempt, record.name, entry.time, record.after)
            self.trials[record.trial].attempts.append(attempt)
            self.live[attempt.key] = attempt
            self.retries.pop(record.trial, None)

    def _apply_end(self, end: AttemptEnd) -> None:
        attempt = self.live.pop(AttemptKey(end.trial, end.attempt))
        attempt.end = end
        self.ends.append(end)
        if end.first_begin is not None:
            self.first_begin = min(self.first_begin or end.first_begin, end.first_begin)
        self.failures += is_failure(end.reason)
        self.any_epoch = self.any_epoch or end.epochs > 0
        self.node_failures.record(end, self.trials[end.trial].attempts)
        if not end.final:
            self.retries[end.trial] = self.trials[end.trial]
            return
        self.trials[end.trial].end = end
        self.operations += end.ops
        self.epochs += end.epochs
        if end.last_end is not None and end.best_error is not None:
            self.last_end = max(self.last_end or end.last_end, end.last_end)
            if self.best_error is None or end.best_error < self.best_error:
                self.best_error, self.best_trial = end.best_error, end.trial
        self.failure_streak.record(end)


def _shown(key: object) -> str:
    """A key that is missing, for a message."""
    match key:
        case AttemptKey():
            return f"trial {key.trial}, attempt {key.attempt}"
        case int():
            return f"trial {key}"
        case _:
            return str(key)
