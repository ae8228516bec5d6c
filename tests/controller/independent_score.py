"""A second scorer, from the event files alone, by docs/benchmark/counting.md; it shares no code with the package.

Lines that are no JSON are torn; everything else counts, each epoch of a trial once, by the earlier of two ends.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class IndependentScore:
    """Result of a campaign by its events; `error` is None where no epoch has ended."""

    operations: int
    seconds: float
    score: float
    error: float | None
    epochs: frozenset[tuple[int, int]]


def score_events(campaign: Path, duration: timedelta) -> IndependentScore:
    """Score the events of a campaign directory that lasts for `duration`."""
    lines = list(_lines(campaign / "events"))
    begins = [_time(line["time"]) for line in lines if line["type"] == "begin"]
    if not begins:
        return IndependentScore(0, 0.0, 0.0, None, frozenset())
    start = min(begins)
    counted: dict[tuple[int, int], dict[str, Any]] = {}
    for line in lines:
        if line["type"] != "epoch" or _time(line["end"]) > start + duration:
            continue
        key = (line["trial"], line["epoch"])
        if key not in counted or _time(line["end"]) < _time(counted[key]["end"]):
            counted[key] = line
    if not counted:
        return IndependentScore(0, 0.0, 0.0, None, frozenset())
    measured = max(_time(line["end"]) for line in counted.values()) - start
    operations = sum(line["ops"] for line in counted.values())
    seconds = Fraction(measured // timedelta(milliseconds=1), 1000)
    score = float(operations / seconds) if seconds else 0.0
    error = min(line["error"] for line in counted.values())
    return IndependentScore(operations, float(seconds), score, error, frozenset(counted))


def check_result(campaign: Path, duration: timedelta) -> IndependentScore:
    """Compare result.csv with this scorer's result; returns it.

    Raises:
        AssertionError: They differ, or an epoch is lost or counts twice.
    """
    found = score_events(campaign, duration)
    with (campaign / "result.csv").open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert int(row["operations"]) == found.operations, (row["operations"], found)
    assert math.isclose(float(row["seconds"]), found.seconds, abs_tol=1e-9), (row["seconds"], found)
    assert math.isclose(float(row["score"]), found.score, rel_tol=1e-12), (row["score"], found)
    assert (float(row["error"]) if row["error"] else None) == found.error, (row["error"], found)
    return found


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.iterdir()):
        for line in path.read_bytes().split(b"\n")[:-1]:
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
