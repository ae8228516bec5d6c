"""How a running campaign stands, from what its controller has in memory; the score proper is `results`'."""

from __future__ import annotations

from dataclasses import dataclass

from aiperf_orch.controller.controller import Controller


@dataclass(frozen=True, slots=True)
class Progress:
    """Operations per second and the best error so far (None before any epoch ended)."""

    ops: float
    best_error: float | None


def progress_of(controller: Controller) -> Progress:
    """The progress of a controller's campaign: trials that are over, and the epochs of those that run."""
    state = controller.state
    epochs = [epoch for watched in controller.watched.values() for epoch in watched.epochs]
    operations = state.operations + sum(epoch.ops for epoch in epochs)
    ends = [epoch.end for epoch in epochs] + ([state.last_end] if state.last_end else [])
    errors = [epoch.error for epoch in epochs] + ([] if state.best_error is None else [state.best_error])
    seconds = (max(ends) - state.first_begin).total_seconds() if ends and state.first_begin else 0.0
    return Progress(operations / seconds if seconds > 0 else 0.0, min(errors, default=None))
