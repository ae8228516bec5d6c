"""State of one trial and of one attempt, as the journal describes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import AttemptEnd, BeganRecord, ProposalRecord


class AttemptKey(NamedTuple):
    """Number of a trial, from 0, and of one of its attempts, from 1."""

    trial: int
    attempt: int


@dataclass
class AttemptState:
    """One attempt, as the journal describes it.

    Attributes:
        trial: Number of the trial, from 0.
        attempt: Number of the attempt, from 1.
        name: Name of its job.
        submitted: Time of the journal entry that announces its submission.
        after: Name of the job that must have ended before its own may start; None where it need not wait.
        job: The scheduler's job id; None between that journal entry and the scheduler's answer.
        began: Begin of its latest run; None before the first one.
        missing_since: Time at which the scheduler first did not know its job; None while the scheduler knows it.
        cancelling: Reason for which the controller cancels it; None where it does not.
        cancelling_since: Time of the journal entry of that cancellation.
        outdated: Whether settings of its job changed before it began, so that it is to be submitted again.
        nodes_changed: Whether a node was drained, or one came back, since its job was submitted, and it had not begun:
            the job could get the one, and not the other.
        end: Its end; None for a live attempt.
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
    outdated: bool = False
    nodes_changed: bool = False
    end: AttemptEnd | None = None

    @property
    def is_uncertain(self) -> bool:
        """Whether only the queue knows its state: its job has no id yet, left the queue, or is being cancelled."""
        return self.job is None or self.missing_since is not None or self.cancelling is not None

    @property
    def latest_job(self) -> str | None:
        """The scheduler's id of the job of its latest run (on an agent, of the agent's job); None before it has one."""
        return self.began.job if self.began else self.job

    @property
    def leaves_drained_node(self) -> bool:
        """Whether it is cancelled because a node is drained: only then does the controller cancel for this reason."""
        return self.cancelling is EndReason.PREEMPTED

    @property
    def key(self) -> AttemptKey:
        """Trial and attempt."""
        return AttemptKey(self.trial, self.attempt)


@dataclass
class TrialState:
    """One trial, as the journal describes it.

    Attributes:
        trial: Number of the trial, from 0.
        proposal: What the search proposed for it.
        spec_sha256: SHA-256 of its specification.
        attempts: Its attempts in the order of their numbers.
        end: The end of its last attempt; None while the trial is not over.
    """

    trial: int
    proposal: ProposalRecord
    spec_sha256: str
    attempts: list[AttemptState] = field(default_factory=list)
    end: AttemptEnd | None = None
