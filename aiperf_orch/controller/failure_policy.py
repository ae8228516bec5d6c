"""The failure policy: what follows from the reason of an end."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from aiperf_orch.campaign.state import CHOSEN, SUSPICIOUS, AttemptState, CampaignState, TrialState
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import AttemptEnd


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


NODE_FAILURES: Final = 2
"""So many trials that ended suspiciously on a node, none of them followed by a good end, and it is avoided."""


def hopeless(records: Iterable[AttemptEnd], state: CampaignState, limit: int, *, proven: bool) -> str | None:
    """Why the campaign should pause after these ends, or None.

    Args:
        records: ends that the state knows of already.
        state: of the campaign.
        limit: so many trials in a row that ended alike are too many.
        proven: whether any trial ever ended an epoch; before that no failure of a job is forgiven.
    """
    for record in records:
        failed = record.best_error is None and record.reason not in CHOSEN
        ran = state.trials[record.trial].attempts[-1].job is not None
        if CONSEQUENCES[record.reason] is Consequence.PAUSE or (failed and ran and not proven):
            return f"trial {record.trial} ended {record.reason.value}: {record.message or 'no message'}"
        if state.failures_in_a_row >= limit and state.last_failure:
            return (
                f"{state.failures_in_a_row} trials in a row ended {record.reason.value}; "
                f"the last one, {record.trial}: {record.message or 'no message'}"
            )
    return None


def nodes_given_up(records: Iterable[AttemptEnd], state: CampaignState) -> list[str]:
    """Nodes that are avoided since these ends, which the state knows of already."""
    hosts = {host for record in records if record.reason in SUSPICIOUS for host in record.hosts}
    return sorted(host for host in hosts if len(state.node_failures.get(host, ())) == NODE_FAILURES)


def is_final(reason: EndReason, trial: TrialState, max_attempts: int, *, progressed: bool) -> bool:
    """Whether a trial is over when its latest attempt ends so.

    Not held against it are attempts that no job ever was known of (the controller was killed while it submitted), those
    that were stopped before they began, and those that came forward until their time limit or a preemption.

    Args:
        reason: why the attempt ended.
        trial: with the attempt as its last.
        max_attempts: as the site allows.
        progressed: whether the attempt ended an epoch that no earlier one had.
    """
    attempt = trial.attempts[-1]
    if reason is EndReason.STOPPED and attempt.began is None and not progressed:
        return len(trial.attempts) >= MOST_ATTEMPTS
    if CONSEQUENCES[reason] is not Consequence.RETRY or len(trial.attempts) >= MOST_ATTEMPTS:
        return True
    spent = sum(1 for each in trial.attempts[:-1] if _is_spent(each))
    mild = progressed and reason in _MILD
    return spent + (attempt.job is not None and not mild) >= max_attempts


_MILD: Final = frozenset({EndReason.TIME_LIMIT, EndReason.PREEMPTED})


def _is_spent(attempt: AttemptState) -> bool:
    """Whether an attempt that ended counts against its trial's number of attempts."""
    if attempt.job is None or attempt.end is None:
        return False
    if attempt.end.reason is EndReason.STOPPED:
        return attempt.began is not None
    return attempt.end.reason not in _MILD or not attempt.end.progressed
