"""Rows and files of result.csv for tests of a committee's commands."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

HASHES = [digit * 64 for digit in "0123456789abcdef"]


def cells(**changes: Any) -> dict[str, Any]:
    """The cells of a rankable result.csv; score and regulated score follow from the other cells."""
    cells: dict[str, Any] = {
        "system": "a machine", "submitter": "a site", "campaign": "abcde", "error": 0.25, "rankable": "yes",
        "missed_rules": "", "rules": "aiperf-1.1", "simulated": "no", "operations": 10**18, "seconds": 4000.0,
        "started": "2026-01-02T03:04:05.678Z", "duration_limit": 4000.0, "state": "finished", "data": "imagenet",
        "precision": "bf16", "concurrency": 8, "counting": "aiperf-1.0", "aiperf_orch": "0.1.0",
        "settings_sha256": HASHES[0], "number_of_nodes": 4, "accelerators_per_node": 8,
    }  # fmt: skip
    cells |= {
        key: value
        for key, value in changes.items()
        if key in cells and not (isinstance(value, str) and isinstance(cells[key], int | float))
    }
    cells["score"] = cells["operations"] / cells["seconds"]
    cells["regulated_score"] = cells["score"] * math.log(1 / cells["error"]) if cells["error"] else ""
    return cells | changes


def write(path: Path, **changes: Any) -> Path:
    row = cells(**changes)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerow(row)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path
