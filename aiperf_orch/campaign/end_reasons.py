"""The legal histories of attempts: why one ended by the journal, and what its last run's end line says of it.

Controller and verifier share this table. The controller takes the journal's reason from `reason_with_end_line` or
`reason_without_end_line`; `verify` finds a fault in every ended attempt whose records `legal` does not find here.

An attempt's last run always ends with an end line. The trial writes it, or the controller, when it takes the attempt from a
job that is gone, was refused or never existed: its line stands alone in a run of its own, the next one that was free. Runs
before the last one need no end line: they were cut off, and their epochs count all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from aiperf_orch.records.base import EndReason


class Writer(Enum):
    """Who wrote an end line."""

    TRIAL = "the trial"
    CONTROLLER = "the controller"


@dataclass(frozen=True, slots=True)
class History:
    """A row: one legal way for an attempt to have ended. None where either is legal.

    Attributes:
        reason: the journal's.
        line: the reason on the end line of the last run.
        writer: of that line. The controller's stands in a run of its own; nothing hangs on that, and it is not checked.
        why: how that comes about.
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
class Records:
    """What an ended attempt's records say; `run` is the number of its last run."""

    reason: EndReason
    line: EndReason
    begun: bool
    job: bool
    run: int


_OWN: Final = (
    (EndReason.COMPLETED, True, "it trained all its epochs"),
    (EndReason.EARLY_STOPPED, True, "its error did not improve any more"),
    (EndReason.TRAINING_DIVERGED, True, "its loss was no number"),
    (EndReason.TIME_LIMIT, None, "it was warned that the job's time limit is near"),
    (EndReason.OUT_OF_MEMORY, None, "not even its smallest batch fits"),
    (EndReason.BAD_DATA, None, "the data set cannot be read"),
    (EndReason.NODE_FAILURE, None, "another node of its own was lost, or this one is damaged"),
    (EndReason.HUNG, None, "no step ended for `training.hang_after`"),
    (EndReason.TRIAL_ERROR, None, "the training raised an error, or a worker ended"),
)
"""Reasons that a trial gives by itself, whether a begin line stands before it, and when it gives them."""

_ORDERS: Final = (
    (EndReason.STOPPED, "the campaign was stopped"),
    (EndReason.CAMPAIGN_ENDED, "the campaign's deadline passed"),
    (EndReason.HUNG, "its job ran for `scheduler.begin_within` without a begin line"),
    (EndReason.HELD, "the scheduler held its job, which would never have run"),
    (EndReason.LOST, "it was given up for lost, and its job told to end, wherever that might be"),
)
"""Reasons for which the controller orders an attempt's job to end."""

_BY_QUEUE: Final = (
    (EndReason.CANCELLED, "somebody else cancelled its job"),
    (EndReason.TIME_LIMIT, "its job reached its time limit"),
    (EndReason.NODE_FAILURE, "its node was lost, or taken down under it"),
    (EndReason.PREEMPTED, "its job was preempted"),
    (EndReason.OUT_OF_MEMORY, "the scheduler ended its job, which took more memory than it may"),
    (EndReason.TRIAL_ERROR, "its job failed"),
)
"""Reasons that a queue, asked for a known job, gives for its end."""

HISTORIES: Final[tuple[History, ...]] = (
    *(History(reason, reason, Writer.TRIAL, why, begun=begun) for reason, begun, why in _OWN),
    # told to end, a trial knows no more than that: the journal says by whom, and why
    *(History(reason, EndReason.STOPPED, Writer.TRIAL, f"{why}; its trial heard of it") for reason, why in _ORDERS),
    *(
        History(reason, EndReason.STOPPED, Writer.TRIAL, f"{why}; its trial heard of it", job=True)
        for reason, why in _BY_QUEUE
    ),
    History(
        EndReason.CANCELLED, EndReason.STOPPED, Writer.TRIAL, "its trial was told to end, and no queue knows by whom"
    ),
    # the trial wrote no end line: the controller took the attempt from its job
    *(History(reason, reason, Writer.CONTROLLER, f"{why}; no trial heard of it") for reason, why in _ORDERS),
    *(
        History(reason, reason, Writer.CONTROLLER, f"{why}; no trial heard of it", job=True)
        for reason, why in _BY_QUEUE
    ),
    History(
        EndReason.LOST,
        EndReason.LOST,
        Writer.CONTROLLER,
        "its job, if there was one, is gone, and no queue knows why",
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
        "the scheduler refused its job, after one that was submitted before and seemed not to be there had started",
        later=True,
    ),
)
"""Every legal history. 0.1.0 did not list a refused attempt's events file in the journal: it is looked for on disk."""

_KNOWN_TO_QUEUES: Final = frozenset(reason for reason, _ in _BY_QUEUE)


def legal(records: Records) -> History | None:
    """The first row that these records agree with; None when there is none."""
    return next((row for row in HISTORIES if _agree(row, records)), None)


def what_is_wrong(records: Records) -> str:
    """In words, what keeps records from being a legal history: against the row that they come nearest to."""
    rows = [row for row in HISTORIES if (row.reason, row.line) == (records.reason, records.line)]
    if not rows:
        return "no attempt ends so"
    fewest: list[str] = min((_differences(row, records) for row in rows), key=lambda found: len(found))
    return " and ".join(fewest)


def _agree(row: History, records: Records) -> bool:
    return (row.reason, row.line) == (records.reason, records.line) and not _differences(row, records)


def _differences(row: History, records: Records) -> list[str]:
    """What a row of the same reasons says otherwise."""
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
        line: the reason on it.
        order: the order to end the attempt that is in force.
        queue: what the queue says of the job's end.
    """
    if line is not EndReason.STOPPED:
        return line
    return order or (queue if queue in _KNOWN_TO_QUEUES else None) or EndReason.CANCELLED


def reason_without_end_line(order: EndReason | None, queue: EndReason | None, *, unseen: bool = False) -> EndReason:
    """The reason for an attempt whose job is gone and left no end line: on the controller's line, and in the journal.

    Args:
        order: the order to end the attempt that is in force.
        queue: what the queue says of the job's end.
        unseen: whether the job left the queue as only one does that is cancelled while it waits.
    """
    known = queue if queue in _KNOWN_TO_QUEUES else None
    return order or known or (EndReason.CANCELLED if unseen else EndReason.LOST)
