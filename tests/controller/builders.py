"""Attempts, trials and ends for tests of pure decisions."""

from datetime import datetime, timezone

from aiperf_orch.campaign.trial_state import AttemptState, TrialState
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import AttemptEnd, BeganRecord, ProposalRecord
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import Hyperparameters

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
PROPOSAL = ProposalRecord(
    round=0,
    parent=None,
    edits=[],
    network_hash="0" * 64,
    operations=OperationsPerImage(forward=10, train=30),
    hyperparameters=Hyperparameters(kernel_size=3, dropout=0.0, batch_size=32),
)


class Clock:
    """A monotonic clock that the test sets: `clock.time += 5`."""

    def __init__(self):
        self.time = 1e6

    def __call__(self):
        return self.time


def end_of(reason, trial=0, attempt=1, *, final=True, **fields):
    """The journal's record of an end."""
    return AttemptEnd(trial=trial, attempt=attempt, reason=EndReason(reason), message="", final=final, **fields)


def attempt_state(trial=0, attempt=1, *, job="7", began=False, reason=None, hosts=(), progressed=False, **fields):
    """The journal state of an attempt, ended for a reason where one is given."""
    state = AttemptState(trial, attempt, f"qk3f9-{trial:05d}-{attempt}", NOW, job=job, **fields)
    if began:
        state.began = BeganRecord(trial=trial, attempt=attempt, run=0, time=NOW, hosts=["n1"], job=job or "7")
    if reason is not None:
        state.end = end_of(reason, trial, attempt, final=False, hosts=list(hosts), progressed=progressed)
    return state


def trial_state(trial, attempts=()):
    """The journal state of a trial with these attempts."""
    return TrialState(trial, PROPOSAL, "0" * 64, list(attempts))


def live_attempt(attempt=None, **fields):
    """A live attempt without events."""
    attempt = attempt or attempt_state()
    times = {"last_sign": 0.0, "next_poll": 0.0}
    return LiveAttempt(attempt, trial=trial_state(attempt.trial, [attempt]), planned=None, **times | fields)
