"""The failure policy: what follows from the reason of an end."""

from __future__ import annotations

from enum import Enum
from typing import Final

from aiperf_orch.campaign.state import Trial
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

MOST_ATTEMPTS: Final = 99
"""What a job's name of 15 characters has room for."""


def is_final(reason: EndReason, trial: Trial, max_attempts: int) -> bool:
    """Whether a trial is over when its latest attempt ends so.

    Attempts that no job ever was known of (the controller was killed while it submitted) are not held against it.
    """
    spent = sum(1 for attempt in trial.attempts if attempt.job is not None)
    spent_all = spent >= max_attempts or len(trial.attempts) >= MOST_ATTEMPTS
    return CONSEQUENCES[reason] is not Consequence.RETRY or spent_all
