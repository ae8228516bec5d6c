"""The state of a campaign as its journal tells it: a fold over the entries, without opening any other file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import (
    AttemptEnd,
    Began,
    BeganRecord,
    Cancelling,
    Created,
    Ended,
    Entry,
    Finished,
    Missing,
    Opened,
    Paused,
    ProposalRecord,
    Resumed,
    Stopped,
    Submitted,
    Submitting,
)
from aiperf_orch.util.errors import RecordError


class Phase(str, Enum):
    """What the campaign as a whole is doing."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    FINISHED = "finished"


@dataclass
class AttemptState:
    """One attempt. `job` is None between the journal's "submitting" and the scheduler's answer.

    `after` is the name of the job that must have ended before its own may start, None for one that need not wait.
    """

    trial: int
    attempt: int
    name: str
    submitted: datetime
    after: str | None = None
    job: str | None = None
    began: BeganRecord | None = None
    missing_since: datetime | None = None
    cancelling: EndReason | None = None
    cancelling_since: datetime | None = None
    end: AttemptEnd | None = None

    @property
    def unsure(self) -> bool:
        """Whether only the queue can tell how it stands: no id yet, gone from the queue, or told to end."""
        return self.job is None or self.missing_since is not None or self.cancelling is not None

    @property
    def suspects(self) -> frozenset[str]:
        """Nodes that its end speaks against."""
        return frozenset(self.end.hosts) if self.end and self.end.reason in SUSPICIOUS else frozenset()

    @property
    def key(self) -> tuple[int, int]:
        """TrialState and attempt."""
        return self.trial, self.attempt


@dataclass
class TrialState:
    """One trial with its attempts; `end` is that of the attempt that ended it."""

    trial: int
    proposal: ProposalRecord
    spec_sha256: str
    attempts: list[AttemptState] = field(default_factory=list)
    end: AttemptEnd | None = None


@dataclass
class CampaignState:
    """Everything the journal tells.

    `live` holds the attempts that have not ended, by trial and attempt; `retries` the trials that are not over and have
    no live attempt, so that their next one is due; `node_failures` the trials that ended suspiciously on a node since one ended
    well there, without those that fail by themselves wherever they run; `begins` and `ends` every begin and end of an attempt in the journal's order. `operations`,
    `last_end` and `best_error` sum up the trials that are over.
    """

    trials: dict[int, TrialState] = field(default_factory=dict)
    live: dict[tuple[int, int], AttemptState] = field(default_factory=dict)
    retries: dict[int, TrialState] = field(default_factory=dict)
    settings_sha256: str | None = None
    first_begin: datetime | None = None
    phase: Phase = Phase.RUNNING
    phase_reason: str = ""
    by_deadline: bool = False
    opened: Opened | None = None
    begins: list[AttemptState] = field(default_factory=list)
    ends: list[AttemptEnd] = field(default_factory=list)
    operations: int = 0
    last_end: datetime | None = None
    best_error: float | None = None
    any_epoch: bool = False
    node_failures: dict[str, set[int]] = field(default_factory=dict)
    failures_in_a_row: int = 0
    last_failure: AttemptEnd | None = None

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> CampaignState:
        """The state after these entries.

        Raises:
            RecordError: when an entry speaks of a trial or attempt that the entries before it do not know.
        """
        state = cls()
        for entry in entries:
            try:
                state.apply(entry)
            except KeyError as error:
                raise RecordError(
                    f"journal.jsonl:{entry.seq + 1}: {entry.type}: speaks of {error.args[0]}, which the lines before it "
                    "do not know; restore the journal from a copy (nothing was changed)"
                ) from None
        return state

    def deadline(self, duration: float) -> datetime | None:
        """The absolute end of the campaign, `duration` seconds after its first begin; None before that."""
        return None if self.first_begin is None else self.first_begin + timedelta(seconds=duration)

    @property
    def trials_ended(self) -> int:
        """How many trials are over."""
        return len(self.trials) - len(self.live) - len(self.retries)

    def apply(self, entry: Entry) -> None:
        """Fold one more entry in."""
        match entry:
            case Created():
                self.settings_sha256 = entry.settings_sha256
            case Opened():
                self.opened = entry
            case Submitting():
                self._submitting(entry)
            case Submitted():
                for job in entry.jobs:
                    attempt = self.live[job.trial, job.attempt]
                    attempt.job, attempt.missing_since = job.job, None
            case Began():
                for began in entry.attempts:
                    attempt = self.live[began.trial, began.attempt]
                    attempt.began, attempt.missing_since = began, None
                    attempt.job = attempt.job or began.job
                    self.begins.append(attempt)
                    self.first_begin = min(self.first_begin or began.time, began.time)
            case Missing():
                for missing in entry.attempts:
                    self.live[missing.trial, missing.attempt].missing_since = entry.time
            case Cancelling():
                for cancelled in entry.attempts:
                    attempt = self.live[cancelled.trial, cancelled.attempt]
                    attempt.cancelling, attempt.cancelling_since = entry.reason, entry.time
            case Ended():
                for end in entry.attempts:
                    self._ended(end)
            case Paused():
                self.phase, self.phase_reason = Phase.PAUSED, entry.reason
            case Resumed():
                self.phase, self.phase_reason, self.failures_in_a_row = Phase.RUNNING, "", 0
                for attempt in self.live.values():  # who was told to end and did not may go on
                    attempt.cancelling = attempt.cancelling_since = None
            case Stopped():
                self.phase, self.phase_reason = Phase.STOPPED, "stopped by a person"
            case Finished():
                self.phase, self.phase_reason = Phase.FINISHED, entry.reason
                self.by_deadline = entry.by_deadline

    def _submitting(self, entry: Submitting) -> None:
        for record in entry.attempts:
            if record.proposal is not None:
                self.trials[record.trial] = TrialState(record.trial, record.proposal, record.spec_sha256)
            attempt = AttemptState(record.trial, record.attempt, record.name, entry.time, record.after)
            self.trials[record.trial].attempts.append(attempt)
            self.live[attempt.key] = attempt
            self.retries.pop(record.trial, None)

    def _ended(self, end: AttemptEnd) -> None:
        attempt = self.live.pop((end.trial, end.attempt))
        attempt.end = end
        self.ends.append(end)
        if end.first_begin is not None:
            self.first_begin = min(self.first_begin or end.first_begin, end.first_begin)
        self.any_epoch = self.any_epoch or end.epochs > 0
        self._judge_nodes(end)
        if not end.final:
            self.retries[end.trial] = self.trials[end.trial]
            return
        self.trials[end.trial].end = end
        self.operations += end.ops
        if end.last_end is not None and end.best_error is not None:
            self.last_end = max(self.last_end or end.last_end, end.last_end)
            self.best_error = min(end.best_error, 1.0 if self.best_error is None else self.best_error)
        if end.reason in SUCCESSES:
            self.failures_in_a_row, self.last_failure = 0, None
        elif end.reason not in CHOSEN:
            same = self.last_failure is not None and self.last_failure.reason == end.reason
            self.failures_in_a_row = self.failures_in_a_row + 1 if same else 1
            self.last_failure = end

    def _judge_nodes(self, end: AttemptEnd) -> None:
        """A node is suspected for trials that failed there, but not for those whose errors came on other nodes, too."""
        if end.reason in SUCCESSES:
            for host in end.hosts:
                self.node_failures.pop(host, None)
        elif end.reason in SUSPICIOUS:
            for host in end.hosts:
                self.node_failures.setdefault(host, set()).add(end.trial)
        if end.reason is EndReason.TRIAL_ERROR:
            ends = [attempt.end for attempt in self.trials[end.trial].attempts if attempt.end]
            errors = [each.hosts for each in ends if each.reason is EndReason.TRIAL_ERROR and each.hosts]
            if any(set(hosts).isdisjoint(end.hosts) for hosts in errors):
                for host in {host for hosts in errors for host in hosts}:
                    self.node_failures.get(host, set()).discard(end.trial)


SUCCESSES = frozenset({EndReason.COMPLETED, EndReason.EARLY_STOPPED})
CHOSEN = frozenset({EndReason.CAMPAIGN_ENDED, EndReason.STOPPED, EndReason.CANCELLED})
"""Ends that somebody chose: neither successes nor failures."""

SUSPICIOUS = frozenset({EndReason.NODE_FAILURE, EndReason.LOST, EndReason.HUNG, EndReason.TRIAL_ERROR})
"""Ends that may be the node's fault."""
