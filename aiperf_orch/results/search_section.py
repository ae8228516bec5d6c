"""Part "What was searched" of the report's page: texts and pictures, made of its data alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from aiperf_orch.results.network_picture import network_picture
from aiperf_orch.results.search_pictures import against_error, family_tree, learning_curves, percent
from aiperf_orch.results.searched import BEST_CURVES

_NAMES: Final = {
    "dropout": "dropout",
    "batch_size": "batch size of a worker",
    "kernel_size": "kernel size of added convolutions",
    "layers": "number of layers",
    "parameters": "number of parameters",
}
_LINES: Final = ("solid", "dashed", "dotted")


def search_section(data: Mapping[str, Any] | None, unit: tuple[str, float]) -> dict[str, Any] | None:
    """Fields of the template.

    Args:
        data: Of `searched`; None before an epoch has ended.
        unit: Name of the unit of time, and its length in seconds.
    """
    if data is None:
        return None
    trials, winner, curves = data["trials"], data["winner"]["trial"], data["curves"]
    known = set(trials["trial"])
    line = [step["trial"] for step in data["lineage"] if step["trial"] in known]
    return {
        "winner": data["winner"],
        "last": data["lineage"][-1],
        "network": network_picture(data["blocks"], f"Network of trial {winner}") if data["blocks"] else None,
        "has_skips": any(len(block["inputs"]) > 1 for block in data["blocks"] or ()),
        "lineage": _steps(data["lineage"], has_gap=data["left_out_steps"] > 0),
        "left_out_steps": data["left_out_steps"],
        "measured": data["measured_trials"],
        "drawn": len(trials["trial"]),
        "tree": family_tree(trials, line, unit),
        "curves": learning_curves(curves, BEST_CURVES),
        "drawn_curves": len(curves),
        "best": [
            f"{name}: trial {curve['trial']}, {percent(min(curve['errors']))}"
            for name, curve in zip(_LINES, curves, strict=False)
        ],
        "panels": [_panel(data, key, winner) for key in _NAMES if len(_values(trials, key)) > 1],
        "constant": [
            f"{_NAMES[key]}: {value:g}"
            for key in _NAMES
            for value in _values(trials, key)
            if len(_values(trials, key)) == 1
        ],
    }


def _steps(lineage: list[dict[str, Any]], *, has_gap: bool) -> list[dict[str, Any]]:
    """Rows of the lineage, each with the change of the error against its parent; a gap is after the first."""
    changes: list[float | None] = [None]
    for earlier, later in pairwise(lineage):
        errors = earlier["error"], later["error"]
        changes.append(None if None in errors else 100 * (later["error"] - earlier["error"]))
    if has_gap:
        changes[1] = None
    return [step | {"change": change} for step, change in zip(lineage, changes, strict=True)]


def _values(trials: Mapping[str, list[Any]], key: str) -> set[float]:
    """The different values of a hyperparameter."""
    return {value for value in trials[key] if value is not None}


def _points(trials: Mapping[str, list[Any]], key: str) -> list[tuple[float, int, float]]:
    """Value, trial and error of the trials that have a value."""
    rows = zip(trials[key], trials["trial"], trials["error"], strict=True)
    return [row for row in rows if row[0] is not None]


def _panel(data: Mapping[str, Any], key: str, winner: int) -> dict[str, Any]:
    share = data["importance"][key]
    return {
        "name": _NAMES[key],
        "importance": None if share is None else f"{100 * share:.0f} %",
        "picture": against_error(_points(data["trials"], key), _NAMES[key], winner, is_log=key == "parameters"),
    }
