"""Table of the legal histories of ended attempts: end reason in the journal, and reason on the last run's end line.

The controller and `verify` share this table. The controller takes the journal's reason from `reason_with_end_line` or
`reason_without_end_line`; `verify` reports a fault for every ended attempt whose records match no row.

An attempt's last run always has an end line. The trial writes it, or the controller, when it reclaims the attempt from
a job that is gone, was refused or never existed: that line stands alone in a run of its own, the next free one. Runs
before the last one need no end line: they were interrupted, and their epochs count nevertheless.

An attempt that is placed on agents has the same histories; its agents are then its scheduler, and its process is its
job. The reasons that they give are some of those of batch systems: `TIME_LIMIT` at the end of an agent's allocation,
`PREEMPTED` where the agent was terminated, `NODE_FAILURE` where it is lost, `TRIAL_ERROR` by the exit status, and none
where the agent or the process was killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from aiperf_orch.records.base import EndReason


class Writer(Enum):
    """Writer of an end line."""

    TRIAL = "the trial"
    CONTROLLER = "the controller"


@dataclass(frozen=True, slots=True)
class History:
    """A row: one legal history of an ended attempt. None where either value is legal.

    Attributes:
        reason: end reason in the journal.
        line: reason on the end line of the last run.
        writer: writer of that line; not checked.
        why: cause of the end.
        begun: whether the last run has a begin line.
        job: whether the journal knows a job of the attempt.
        later: whether the last run is not the first, 0.
    """

    reason: EndReason
    line: EndReason
    writer: Writer
    why: str
    begun: bool | None = None
    job: bool | None = None
    later: bool | None = None


@dataclass(frozen=True, slots=True)
class EndRecords:
    """Records of an ended attempt: `reason` in the journal, `line` on the end line, `run` number of the last run."""

    reason: EndReason
    line: EndReason
    begun: bool
    job: bool
    run: int


_OWN: Final = (
    (EndReason.COMPLETED, True, "it trained all its epochs"),
    (EndReason.EARLY_STOPPED, True, "its error did not improve any more"),
    (EndReason.TRAINING_DIVERGED, True, "its loss was not a number"),
    (EndReason.TIME_LIMIT, None, "it was warned that the job's time limit is near"),
    (EndReason.OUT_OF_MEMORY, None, "not even its smallest batch fits"),
    (EndReason.BAD_DATA, None, "the data set cannot be read"),
    (EndReason.NODE_FAILURE, None, "another of its nodes was lost, or this one is damaged"),
    (EndReason.HUNG, None, "no step ended within `training.hang_after`"),
    (EndReason.TRIAL_ERROR, None, "the training raised an error, or a worker ended"),
)
"""Reasons that a trial gives by itself, whether a begin line precedes, and the cause."""

_ORDERS: Final = (
    (EndReason.STOPPED, "the campaign was stopped"),
    (EndReason.CAMPAIGN_ENDED, "the campaign's deadline passed"),
    (EndReason.HUNG, "its job ran for `scheduler.begin_within` without a begin line"),
    (EndReason.HELD, "the scheduler held its job, which would never have run"),
    (EndReason.LOST, "it was considered lost, and its job, if any, was cancelled"),
    (EndReason.RESUBMITTED, "it waited when settings of its job were changed"),
)
"""Reasons for which the controller cancels an attempt's job."""

_BY_QUEUE: Final = (
    (EndReason.CANCELLED, "another user or an administrator cancelled its job"),
    (EndReason.TIME_LIMIT, "its job reached its time limit"),
    (EndReason.NODE_FAILURE, "its node was lost, or taken down"),
    (EndReason.PREEMPTED, "its job was preempted, or left a drained node"),
    (EndReason.OUT_OF_MEMORY, "the scheduler ended its job, which exceeded its memory"),
    (EndReason.TRIAL_ERROR, "its job failed"),
)
"""Reasons that the scheduler gives for the end of a known job; that of a drained node is the controller's."""

HISTORIES: Final[tuple[History, ...]] = (
    *(History(reason, reason, Writer.TRIAL, why, begun=begun) for reason, begun, why in _OWN),
    # a trial that was asked to stop does not know why; the journal has the reason
    *(History(reason, EndReason.STOPPED, Writer.TRIAL, f"{why}; its trial was notified") for reason, why in _ORDERS),
    *(
        History(reason, EndReason.STOPPED, Writer.TRIAL, f"{why}; its trial was notified", job=True)
        for reason, why in _BY_QUEUE
    ),
    History(
        EndReason.CANCELLED,
        EndReason.STOPPED,
        Writer.TRIAL,
        "its trial was asked to stop, and the scheduler does not know by whom",
    ),
    # the trial wrote no end line: the controller reclaimed the attempt
    *(History(reason, reason, Writer.CONTROLLER, f"{why}; no trial was notified") for reason, why in _ORDERS),
    *(
        History(reason, reason, Writer.CONTROLLER, f"{why}; no trial was notified", job=True)
        for reason, why in _BY_QUEUE
    ),
    History(
        EndReason.LOST,
        EndReason.LOST,
        Writer.CONTROLLER,
        "its job, if any, is gone, and the scheduler does not know why",
    ),
    History(
        EndReason.SUBMIT_REFUSED,
        EndReason.SUBMIT_REFUSED,
        Writer.CONTROLLER,
        "the scheduler refused its job",
        job=False,
    ),
    History(
        EndReason.SUBMIT_REFUSED,
        EndReason.SUBMIT_REFUSED,
        Writer.CONTROLLER,
        "the scheduler refused its job, after an earlier submission that seemed to be missing had started",
        later=True,
    ),
)
"""Every legal history. 0.1.0 did not list a refused attempt's events file in the journal: it is searched on disk."""

_KNOWN_TO_QUEUES: Final = frozenset(reason for reason, _ in _BY_QUEUE)


def matching_history(records: EndRecords) -> History | None:
    """The first row that matches these records; None when there is none."""
    return next((row for row in HISTORIES if _agree(row, records)), None)


def describe_mismatch(records: EndRecords) -> str:
    """In words, the differences between records and the most similar legal history."""
    rows = [row for row in HISTORIES if (row.reason, row.line) == (records.reason, records.line)]
    if not rows:
        return "no attempt has this history"
    fewest: list[str] = min((_differences(row, records) for row in rows), key=lambda found: len(found))
    return " and ".join(fewest)


def _agree(row: History, records: EndRecords) -> bool:
    return (row.reason, row.line) == (records.reason, records.line) and not _differences(row, records)


def _differences(row: History, records: EndRecords) -> list[str]:
    """Differences between records and a row with the same reasons."""
    found = []
    if row.begun not in (None, records.begun):
        found.append("its last run has no begin line" if row.begun else "its last run has a begin line")
    if row.job not in (None, records.job):
        found.append("the journal knows no job of it" if row.job else "the journal knows a job of it")
    if row.later and not records.run:
        found.append("it has no earlier run")
    return found


def reason_with_end_line(line: EndReason, order: EndReason | None, queue: EndReason | None = None) -> EndReason:
    """The journal's reason for an attempt that has an end line.

    Args:
        line: reason on the end line.
        order: reason of the cancellation in force; None when the job was not cancelled.
        queue: reason that the scheduler gives for the job's end; None when it gives none.
    """
    if line is not EndReason.STOPPED:
        return line
    return order or (queue if queue in _KNOWN_TO_QUEUES else None) or EndReason.CANCELLED


def reason_without_end_line(order: EndReason | None, queue: EndReason | None, *, unseen: bool = False) -> EndReason:
    """The reason for an attempt whose job ended without an end line: on the controller's line, and in the journal.

    Args:
        order: reason of the cancellation in force; None when the job was not cancelled.
        queue: reason that the scheduler gives for the job's end; None when it gives none.
        unseen: whether the job left the queue in a way that means it was cancelled while pending.
    """
    known = queue if queue in _KNOWN_TO_QUEUES else None
    return order or known or (EndReason.CANCELLED if unseen else EndReason.LOST)
