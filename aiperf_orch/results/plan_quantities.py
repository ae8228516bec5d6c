"""Quantities of a plan for readers: their names and how their numbers are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiperf_orch.util.units import format_bytes, format_duration, format_number, format_ops


def _whole(value: float) -> str:
    return f"{value:,.0f}"


WRITTEN: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "score": ("score", format_ops),
    "error": ("error", "{:.2%}".format),
    "regulated_score": ("regulated score", format_ops),
    "trials": ("trials", _whole),
    "epochs": ("epochs", _whole),
    "node_hours": ("node-hours", format_number),
    "energy": ("energy", lambda joules: f"{format_number(joules / 3.6e6)} kWh"),
    "files": ("files", _whole),
    "bytes": ("bytes", format_bytes),
    "first_epoch": ("first epoch ends after", format_duration),
    "first_trial": ("first trial ends after", format_duration),
}
"""Quantity of a plan -> its name for readers, and how its numbers are written."""
PARTS: Final = {
    "start_up": "start-up of trials",
    "staging": "staging of data",
    "training": "training",
    "validation": "validation",
    "lost": "epochs cut off, ends",
    "idle": "idle",
}
"""Part of the time of the slots -> its name for readers."""
