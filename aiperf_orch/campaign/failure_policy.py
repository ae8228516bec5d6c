"""The failure policy: what follows from an end reason for the trial, for the nodes, and for the campaign.

The fold over the journal (`campaign.state`) counts node failures and failure streaks with it, the controller decides
with it, and results classify ends with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from aiperf_orch.campaign.trial_state import AttemptState, TrialState
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import AttemptEnd

CAUSES: Final[Mapping[EndReason, str]] = {
    EndReason.COMPLETED: "it trained all its epochs",
    EndReason.EARLY_STOPPED: "its error did not improve any more",
    EndReason.CAMPAIGN_ENDED: "the campaign's time limit passed",
    EndReason.STOPPED: "the campaign was stopped",
    EndReason.CANCELLED: "another user or an administrator cancelled its job",
    EndReason.OUT_OF_MEMORY: "not even the smallest batch fits, or its job exceeded the memory that it had requested",
    EndReason.TRAINING_DIVERGED: "its loss was not a number",
    EndReason.TIME_LIMIT: "its job reached its time limit",
    EndReason.PREEMPTED: "its job was preempted, or left a drained node",
    EndReason.NODE_FAILURE: "a node failed, or shows fewer GPUs than requested",
    EndReason.TRIAL_ERROR: "its job failed; the job's log says why",
    EndReason.LOST: "its job is gone, and the scheduler does not know why",
    EndReason.HUNG: "it never began, or no step ended within `training.hang_after`",
    EndReason.HELD: "the scheduler holds its job permanently",
    EndReason.RESUBMITTED: "it waited when settings of its job were changed; it does not count as an attempt",
    EndReason.BAD_DATA: "the data set cannot be used",
    EndReason.SUBMIT_REFUSED: "the scheduler refuses its job",
}
"""Why an attempt ends for a reason, for readers."""


class Consequence(Enum):
    """What follows for a trial and its campaign when an attempt ends for a reason."""

    DONE = "the trial is over"
    RETRY = "the trial gets another attempt, from its checkpoint"
    PAUSE = "the trial is over, and the campaign submits nothing until an administrator resumes it"


CONSEQUENCES: Final[dict[EndReason, Consequence]] = {
    EndReason.COMPLETED: Consequence.DONE,
    EndReason.EARLY_STOPPED: Consequence.DONE,
    EndReason.CAMPAIGN_ENDED: Consequence.DONE,
    EndReason.STOPPED: Consequence.DONE,
    EndReason.CANCELLED: Consequence.DONE,
    EndReason.OUT_OF_MEMORY: Consequence.DONE,
    EndReason.TRAINING_DIVERGED: Consequence.DONE,
    EndReason.HELD: Consequence.RETRY,
    EndReason.TIME_LIMIT: Consequence.RETRY,
    EndReason.NODE_FAILURE: Consequence.RETRY,
    EndReason.PREEMPTED: Consequence.RETRY,
    EndReason.LOST: Consequence.RETRY,
    EndReason.HUNG: Consequence.RETRY,
    EndReason.TRIAL_ERROR: Consequence.RETRY,
    EndReason.RESUBMITTED: Consequence.RETRY,
    EndReason.BAD_DATA: Consequence.PAUSE,
    EndReason.SUBMIT_REFUSED: Consequence.PAUSE,
}

SUCCESSES: Final = frozenset({EndReason.COMPLETED, EndReason.EARLY_STOPPED})

DELIBERATE: Final = frozenset({EndReason.CAMPAIGN_ENDED, EndReason.STOPPED, EndReason.CANCELLED, EndReason.RESUBMITTED})
"""Ends that the controller or a user wanted: neither successes nor failures."""

NODE_SUSPECTED: Final = frozenset({EndReason.NODE_FAILURE, EndReason.LOST, EndReason.HUNG, EndReason.TRIAL_ERROR})
"""Ends that the node may have caused."""

_LOSSES: Final = frozenset({EndReason.NODE_FAILURE, EndReason.LOST})
"""Ends by the loss of a node or of an agent."""

UNCOUNTED_WITH_PROGRESS: Final = frozenset({EndReason.TIME_LIMIT, EndReason.PREEMPTED})
"""Ends that do not count against `campaign.max_attempts` where the attempt completed a new epoch."""

MAX_ATTEMPT_NUMBER: Final = 99
"""Largest number of an attempt: a job name of 15 characters holds two digits of it."""

EXCLUDING_FAILURES: Final = 2
"""Number of different trials that must fail on a node, without a success in between, before it is excluded."""


def is_failure(reason: EndReason) -> bool:
    """Whether an end is neither a success nor deliberate."""
    return reason not in SUCCESSES and reason not in DELIBERATE


def is_final(reason: EndReason, attempts: Sequence[AttemptState], max_attempts: int, *, progressed: bool) -> bool:
    """Whether a trial is over when its latest attempt ends for this reason.

    Four kinds of attempts do not count against `max_attempts`: those of which no job was ever known (the controller
    was killed during the submission), those that were stopped before they began, those that are submitted again as
    settings have changed or left a drained node, and those that completed a new epoch before their time limit or a
    preemption.

    Args:
        reason: Why the latest attempt ends.
        attempts: All attempts of the trial; the last one is the one that ends.
        max_attempts: The setting `campaign.max_attempts`.
        progressed: Whether the attempt completed an epoch that no earlier one had completed.
    """
    attempt = attempts[-1]
    is_stopped_before_begin = reason is EndReason.STOPPED and attempt.began is None and not progressed
    if is_stopped_before_begin or reason is EndReason.RESUBMITTED:
        return len(attempts) >= MAX_ATTEMPT_NUMBER
    if CONSEQUENCES[reason] is not Consequence.RETRY or len(attempts) >= MAX_ATTEMPT_NUMBER:
        return True
    counted = sum(_counts(each) for each in attempts[:-1])
    if attempt.job is not None and not _is_free(attempt, reason, progressed=progressed):
        counted += 1
    return counted >= max_attempts


def _counts(attempt: AttemptState) -> bool:
    """Whether an attempt that has ended counts against the maximum number of attempts of its trial."""
    if attempt.job is None or attempt.end is None or attempt.end.reason is EndReason.RESUBMITTED:
        return False
    if attempt.end.reason is EndReason.STOPPED:
        return attempt.began is not None
    return not _is_free(attempt, attempt.end.reason, progressed=attempt.end.progressed)


def _is_free(attempt: AttemptState, reason: EndReason, *, progressed: bool) -> bool:
    """Whether an attempt with a job does not count, for the reason of its end."""
    return _left_drained_node(attempt, reason) or (progressed and reason in UNCOUNTED_WITH_PROGRESS)


def _left_drained_node(attempt: AttemptState, reason: EndReason) -> bool:
    """Whether an attempt ends for this reason because the controller cancelled it on a drained node."""
    return reason is EndReason.PREEMPTED and attempt.leaves_drained_node


@dataclass
class NodeFailures:
    """Failures of trials by node, folded over the ends of attempts.

    Attributes:
        trials: node -> trials that failed on it since its last success; trials that failed on other nodes too are left
            out. Of trials that were lost together with their one agent a single one is in it.
    """

    trials: dict[str, set[int]] = field(default_factory=dict)
    _losses: set[tuple[str, str]] = field(default_factory=set)
    """Jobs of which an attempt was lost, by node. Agents that attempts were placed on count as one job."""

    def record(self, end: AttemptEnd, attempts: Sequence[AttemptState]) -> None:
        """Count one more end.

        Args:
            end: The end of an attempt.
            attempts: All attempts of its trial, the one that ended included.
        """
        if end.reason in SUCCESSES:
            for host in end.hosts:
                self.trials.pop(host, None)
        elif end.reason in NODE_SUSPECTED:
            for host in end.hosts:
                if not self._is_lost_with_others(end, host, attempts):
                    self.trials.setdefault(host, set()).add(end.trial)
        if end.reason is EndReason.TRIAL_ERROR:
            ends = [attempt.end for attempt in attempts if attempt.end]
            errors = [each.hosts for each in ends if each.reason is EndReason.TRIAL_ERROR and each.hosts]
            if any(set(hosts).isdisjoint(end.hosts) for hosts in errors):  # the trial fails on any node
                for host in {host for hosts in errors for host in hosts}:
                    self.trials.get(host, set()).discard(end.trial)

    def _is_lost_with_others(self, end: AttemptEnd, host: str, attempts: Sequence[AttemptState]) -> bool:
        """Whether an attempt ended by the loss of an agent, which has been counted for another trial."""
        job = attempts[end.attempt - 1].job
        if end.reason not in _LOSSES or job is None:
            return False
        known = (host, job) in self._losses
        self._losses.add((host, job))
        return known

    def excluded(self) -> set[str]:
        """Nodes that no trial may get."""
        return {node for node, trials in self.trials.items() if len(trials) >= EXCLUDING_FAILURES}

    def newly_excluded(self, records: Iterable[AttemptEnd]) -> list[str]:
        """Nodes that these ends, which have been recorded, caused to be excluded, sorted by name."""
        hosts = {host for record in records if record.reason in NODE_SUSPECTED for host in record.hosts}
        return sorted(host for host in hosts if len(self.trials.get(host, ())) == EXCLUDING_FAILURES)


def excluded_nodes(node_failures: NodeFailures, trial: TrialState) -> tuple[str, ...]:
    """Nodes that the next attempt of a trial must not get: those excluded for all, and those that it failed on."""
    nodes = node_failures.excluded()
    for attempt in trial.attempts:
        if attempt.end is not None and attempt.end.reason in NODE_SUSPECTED:
            nodes.update(attempt.end.hosts)
    return tuple(sorted(nodes))


@dataclass
class FailureStreak:
    """Number of consecutive trials that failed for the same reason, and the last of these ends."""

    count: int = 0
    last: AttemptEnd | None = None

    def record(self, end: AttemptEnd) -> None:
        """Count the end of one more trial; a deliberate end leaves the streak as it is."""
        if end.reason in SUCCESSES:
            self.count, self.last = 0, None
        elif is_failure(end.reason):
            same = self.last is not None and self.last.reason == end.reason
            self.count = self.count + 1 if same else 1
            self.last = end

    def reset(self) -> None:
        """Count from 0 again, as a campaign does that is resumed."""
        self.count = 0


def pause_reason(
    records: Iterable[AttemptEnd],
    trials: Mapping[int, TrialState],
    streak: FailureStreak,
    limit: int,
    *,
    proven: bool,
) -> str | None:
    """Why the campaign should pause after these ends; None where it should not.

    Args:
        records: Ends that `trials` and `streak` already contain.
        trials: All trials of the campaign.
        streak: Consecutive failures for the same reason.
        limit: The setting `campaign.pause_after_failures`.
        proven: Whether any trial has completed an epoch; before that every failure of a job pauses the campaign.
    """
    for record in records:
        failed = record.best_error is None and record.reason not in DELIBERATE
        attempt = trials[record.trial].attempts[-1]
        ran = attempt.job is not None and not _left_drained_node(attempt, record.reason)
        if CONSEQUENCES[record.reason] is Consequence.PAUSE or (failed and ran and not proven):
            return f"trial {record.trial} ended {record.reason.value}: {record.message or 'no message'}"
        if streak.count >= limit:
            return (
                f"{streak.count} trials in a row ended {record.reason.value}; "
                f"the last one, {record.trial}: {record.message or 'no message'}"
            )
    return None
