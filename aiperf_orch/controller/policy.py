"""The failure policy: what follows from the reason of an end."""

from __future__ import annotations

from enum import Enum
from typing import Final

from aiperf_orch.records import EndReason


class Consequence(Enum):
    """What the controller does after an attempt ended for a reason."""

    DONE = "the trial is over"
    RETRY = "the trial gets another attempt, from its checkpoint"
    PAUSE = "the trial is over, and nothing more is submitted until a person has looked"


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
    EndReason.BAD_DATA: Consequence.PAUSE,
    EndReason.SUBMIT_REFUSED: Consequence.PAUSE,
}

CHOSEN: Final = frozenset({EndReason.STOPPED, EndReason.CAMPAIGN_ENDED, EndReason.CANCELLED})
"""Ends that somebody chose, which are no failures."""


def is_final(reason: EndReason, attempt: int, max_attempts: int) -> bool:
    """Whether an attempt that ended so was the trial's last."""
    return CONSEQUENCES[reason] is not Consequence.RETRY or attempt >= max_attempts
