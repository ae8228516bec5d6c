"""How a running campaign stands, from what its controller has in memory; the score proper is `results`'."""

from __future__ import annotations

from dataclasses import dataclass

from aiperf_orch.campaign.events import count_epochs
from aiperf_orch.controller.controller import Controller


@dataclass(frozen=True, slots=True)
class Progress:
    """Operations per second and the best error so far (None before any epoch ended)."""

    ops: float
    best_error: float | None


def progress_of(controller: Controller) -> Progress:
    """The progress of a controller's campaign, by the score's arithmetic.

    Every epoch counts once, with the earlier of two ends, and none that ended past the deadline: those of trials that
    are over, of trials whose next attempt is due, and of trials that run, each with all its attempts.
    """
    state, deadline = controller.state, controller.deadline
    running = [
        epoch
        for watched in controller.live_attempts.values()
        for epoch in count_epochs(watched.epochs, deadline).values()
    ]
    # the end of an attempt holds the totals of its whole trial
    due = [trial.attempts[-1].end for trial in state.retries.values()]
    waiting = [end for end in due if end is not None]
    operations = state.operations + sum(epoch.ops for epoch in running) + sum(end.ops for end in waiting)
    last_ends = [state.last_end, *(epoch.end for epoch in running), *(end.last_end for end in waiting)]
    errors = [state.best_error, *(epoch.error for epoch in running), *(end.best_error for end in waiting)]
    last = max((end for end in last_ends if end is not None), default=None)
    seconds = (last - state.first_begin).total_seconds() if last and state.first_begin else 0.0
    return Progress(
        operations / seconds if seconds > 0 else 0.0,
        min((error for error in errors if error is not None), default=None),
    )
