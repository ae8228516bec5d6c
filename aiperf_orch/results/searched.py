"""Data of the report's part "What was searched": the winner, its lineage, a sample of trials, learning curves.

The report draws at most a constant number of trials, so that it stays small for any campaign; the numbers of all are
beside those of the drawn ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeVar

from aiperf_orch.campaign.events import best_epoch
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.events import Epoch
from aiperf_orch.results.importance import importance
from aiperf_orch.results.network_blocks import blocks_of
from aiperf_orch.results.result import Result
from aiperf_orch.results.winner import lineage_of, network_of
from aiperf_orch.util.errors import NetworkError

MOST_TRIALS: Final = 200
"""Trials in the family tree and in the pictures of hyperparameters."""
MOST_CURVES: Final = 30
BEST_CURVES: Final = 3
_MOST_EPOCHS: Final = 20  # points of one learning curve
_MOST_STEPS: Final = 40  # rows of the lineage
_MOST_BLOCKS: Final = 400  # of a picture of a network
_MOST_EDITS: Final = 6  # of one trial that are described
_MEASURED: Final = ("dropout", "batch_size", "kernel_size", "layers", "parameters")
_Item = TypeVar("_Item")


def searched(result: Result) -> dict[str, Any] | None:
    """What the search tried and found; None before an epoch has ended."""
    best = {records.trial.trial: epoch for records in result.collected.trials if (epoch := best_epoch(records.epochs))}
    winner = result.best_epoch
    if winner is None:
        return None
    lineage = lineage_of(result.state, winner.trial)
    trials = _sample(result, best, lineage)
    return {
        "measured_trials": len(best),
        "winner": {"trial": winner.trial, "epoch": winner.epoch, "error": winner.error},
        "lineage": _steps(result, best, lineage),
        "left_out_steps": max(len(lineage) - _MOST_STEPS, 0),
        "blocks": _blocks(result, winner.trial),
        "trials": trials,
        "importance": {key: _importance(trials, key) for key in _MEASURED},
        "curves": _curves(result, best),
    }


def evenly(items: Sequence[_Item], number: int) -> list[_Item]:
    """At most this number of the items, at equal distances, the first and the last among them."""
    if len(items) <= number:
        return list(items)
    if number < 2:
        return list(items[:number])
    return [items[index * (len(items) - 1) // (number - 1)] for index in range(number)]


def described(edits: Sequence[Mapping[str, Any]]) -> str:
    """The edits of a trial for readers: `deeper after 3 (5×5), skip_add from 3 to 9`."""  # noqa: RUF002
    texts = [_described_edit(edit) for edit in edits[:_MOST_EDITS]]
    more = len(edits) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")


def _described_edit(value: Mapping[str, Any]) -> str:
    try:
        edit = Edit.from_json(value)
    except NetworkError:
        return "unknown edit"
    match edit.kind:
        case "deeper":
            return f"deeper after {edit.at} ({edit.kernel}×{edit.kernel})"  # noqa: RUF001
        case "wider":
            return f"wider at {edit.at}"
        case _:
            return f"{edit.kind} from {edit.at} to {edit.to}"


def _steps(result: Result, best: Mapping[int, Epoch], lineage: Sequence[int]) -> list[dict[str, Any]]:
    """The trials of the lineage, of a long one the first and the last."""
    if len(lineage) > _MOST_STEPS:
        lineage = [lineage[0], *lineage[1 - _MOST_STEPS :]]
    steps = []
    for trial in lineage:
        proposal, graph = result.state.trials[trial].proposal, network_of(result, trial)
        steps.append(
            {
                "trial": trial,
                "edits": described(proposal.edits),
                "error": best[trial].error if trial in best else None,
                "layers": graph.depth if graph else None,
                "parameters": graph.parameters if graph else None,
                "operations": proposal.operations.forward,
            }
        )
    return steps


def _blocks(result: Result, trial: int) -> list[dict[str, Any]] | None:
    """Blocks of a trial's network; None where its specification cannot be read, or where they are too many to draw."""
    graph = network_of(result, trial)
    blocks = blocks_of(graph) if graph else []
    return [asdict(block) for block in blocks] if 0 < len(blocks) <= _MOST_BLOCKS else None


def _sample(result: Result, best: Mapping[int, Epoch], lineage: Sequence[int]) -> dict[str, list[Any]]:
    """Columns of the trials to draw: the winner's lineage, and others at equal distances in the order of numbers."""
    line = [trial for trial in lineage if trial in best][-MOST_TRIALS:]
    others = sorted(best.keys() - set(line))
    drawn = {*line, *evenly(others, MOST_TRIALS - len(line))}
    columns: dict[str, list[Any]] = {key: [] for key in ("trial", "parent", "ancestor", "seconds", "error", *_MEASURED)}
    for trial in sorted(drawn):
        proposal, graph, epoch = result.state.trials[trial].proposal, network_of(result, trial), best[trial]
        started = result.started or epoch.end
        row = {
            "trial": trial,
            "parent": proposal.parent,
            "ancestor": next((each for each in lineage_of(result.state, trial)[-2::-1] if each in drawn), None),
            "seconds": round((epoch.end - started).total_seconds(), 1),
            "error": round(epoch.error, 6),
            "dropout": round(proposal.hyperparameters.dropout, 4),
            "batch_size": epoch.batch,
            "kernel_size": proposal.used_kernel_size,
            "layers": graph.depth if graph else None,
            "parameters": graph.parameters if graph else None,
        }
        for key, value in row.items():
            columns[key].append(value)
    return columns


def _importance(trials: Mapping[str, list[Any]], key: str) -> float | None:
    pairs = [pair for pair in zip(trials[key], trials["error"], strict=True) if pair[0] is not None]
    return importance([value for value, _ in pairs], [error for _, error in pairs])


def _curves(result: Result, best: Mapping[int, Epoch]) -> list[dict[str, Any]]:
    """Validation errors by epoch: of the best trials, the best first, and others at equal distances of their rank."""
    ranked = sorted(best, key=lambda trial: (best[trial].error, best[trial].epoch, best[trial].end))
    drawn = [*ranked[:BEST_CURVES], *evenly(ranked[BEST_CURVES:], MOST_CURVES - BEST_CURVES)]
    epochs = {records.trial.trial: records.epochs for records in result.collected.trials}
    curves = []
    for trial in drawn:
        ordered = sorted(epochs[trial], key=lambda epoch: epoch.epoch)
        points = sorted({epoch.epoch: epoch for epoch in [*evenly(ordered, _MOST_EPOCHS - 1), best[trial]]}.items())
        curves.append(
            {
                "trial": trial,
                "epochs": [epoch for epoch, _ in points],
                "errors": [round(point.error, 6) for _, point in points],
            }
        )
    return curves
