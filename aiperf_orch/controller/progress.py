"""Score and best error of a running campaign so far, from what its controller, or a reader, holds in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from aiperf_orch.campaign import score_arithmetic
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import count_epochs
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import AttemptKey
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.settings.models import SiteSettings


class FollowedCampaign(Protocol):
    """A campaign whose journal and events are followed: by its controller, or by a reader."""

    @property
    def directory(self) -> CampaignDirectory:
        """The campaign directory."""

    @property
    def state(self) -> CampaignState:
        """Its state by the journal."""

    @property
    def settings(self) -> SiteSettings:
        """Its settings in force."""

    @property
    def live_attempts(self) -> Mapping[AttemptKey, LiveAttempt]:
        """Its attempts that have not ended."""

    @property
    def deadline(self) -> datetime | None:
        """Its end; None before the first begin of any trial."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What counts so far.

    Attributes:
        ops: Score so far, in operations per second.
        operations: Operations of the epochs that count.
        epochs: Number of these epochs.
        best_error: Best error; None before any epoch ended.
        best_trial: Its trial.
    """

    ops: float
    operations: int
    epochs: int
    best_error: float | None
    best_trial: int | None


def progress_of(campaign: FollowedCampaign) -> Progress:
    """The progress of a campaign, by the arithmetic of the score.

    Each epoch counts once, with the earlier of two ends, unless it ended after the deadline. Epochs of three kinds of
    trials count: those that are over, those whose next attempt is due, and those with a live attempt, each with all
    attempts.
    """
    state, deadline = campaign.state, campaign.deadline
    running = [
        (live.attempt.trial, epoch)
        for live in campaign.live_attempts.values()
        for epoch in count_epochs(live.epochs, deadline).values()
    ]
    # the end of an attempt holds the totals of its whole trial
    due = [trial.attempts[-1].end for trial in state.retries.values()]
    waiting = [end for end in due if end is not None]
    operations = state.operations + sum(epoch.ops for _, epoch in running) + sum(end.ops for end in waiting)
    epochs = state.epochs + len(running) + sum(end.epochs for end in waiting)
    last_ends = [state.last_end, *(epoch.end for _, epoch in running), *(end.last_end for end in waiting)]
    errors = [
        (state.best_error, state.best_trial),
        *((epoch.error, trial) for trial, epoch in running),
        *((end.best_error, end.trial) for end in waiting),
    ]
    best = min(((error, trial) for error, trial in errors if error is not None), default=(None, None))
    last = max((end for end in last_ends if end is not None), default=None)
    measured = last - state.first_begin if last and state.first_begin else timedelta(0)
    return Progress(score_arithmetic.score(operations, measured), operations, epochs, *best)
