"""Comparison of a campaign's plan with what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiperf_orch.results.plan_quantities import WRITTEN
from aiperf_orch.results.result import Result


def plan_comparison(result: Result) -> list[dict[str, Any]] | None:
    """A row for each quantity that was predicted and measured; None for a campaign that was made without a plan.

    The keys of a row: `quantity`, `expected`, `low` and `high` (None where the plan has no interval), `measured`, and
    `inside`, whether the measured number lies in the interval (None without one).
    """
    plan = result.state.plan
    if plan is None:
        return None
    measured = dict(_measured(result))
    rows = []
    for name in WRITTEN:
        predicted, value = getattr(plan.quantities, name), measured.get(name)
        if predicted.expected is None or value is None:
            continue
        bounds = (predicted.low, predicted.high)
        inside = None if None in bounds else predicted.low <= value <= predicted.high
        rows.append(
            {
                "quantity": name,
                "expected": predicted.expected,
                "low": predicted.low,
                "high": predicted.high,
                "measured": float(value),
                "inside": inside,
            }
        )
    return rows


def _measured(result: Result) -> Iterator[tuple[str, float | None]]:
    """Quantity and measured number; None where it was not measured."""
    score, start = result.score, result.started
    trials = result.collected.trials
    yield "score", score.score if score.epochs else None
    yield "error", score.error
    yield "regulated_score", score.regulated
    yield "trials", sum(bool(trial.begins) for trial in trials)
    yield "epochs", score.epochs
    yield "node_hours", result.node_hours.given if result.node_hours else None
    yield "energy", result.efficiency.energy
    if start is not None:
        epochs = [epoch.end for epoch in result.collected.epochs[:1]]
        ends = [end.time for trial in trials if trial.epochs for end in trial.ends]
        yield "first_epoch", (epochs[0] - start).total_seconds() if epochs else None
        yield "first_trial", (min(ends) - start).total_seconds() if ends else None
