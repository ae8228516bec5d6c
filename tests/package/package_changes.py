"""Changes of packages, from which manipulations are composed; each takes a `TamperedPackage` and a folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

Change = Callable[[Any, Path], Any]
TIMES = ("time", "start", "end")


def shift(lines: list[dict[str, Any]], seconds: float, keys: tuple[str, ...] = TIMES) -> None:
    for line in lines:
        for key in keys:
            if key in line:
                line[key] = (datetime.fromisoformat(line[key]) + timedelta(seconds=seconds)).isoformat()


def replace_text(name: str, was: str, now: str) -> Change:
    def change(package: Any, _: Path) -> None:
        assert was in package.files[name].decode()
        package.files[name] = package.files[name].decode().replace(was, now, 1).encode()

    return change


def change_events(name: str, change: Callable[[list[dict[str, Any]]], Any]) -> Change:
    return lambda package, _: package.events(name, change)


def change_spec(trial: int, change: Callable[[dict[str, Any]], Any]) -> Change:
    return lambda package, _: package.spec(trial, change)


def change_journal(change: Callable[[list[dict[str, Any]]], Any]) -> Change:
    return lambda package, _: package.journal(change)


def set_proposal(trial: int, **fields: Any) -> Change:
    """Change the proposal in the journal and in the specification."""

    def change(package: Any, _: Path) -> None:
        package.spec(trial, lambda spec: spec.update(fields))
        package.each(
            "submitting",
            lambda item: item["proposal"].update(fields) if (item["trial"], item["attempt"]) == (trial, 1) else None,
        )

    return change


def change_cell(name: str, line: int, column: str, value: str) -> Change:
    def change(package: Any, _: Path) -> None:
        rows = [row.split(",") for row in package.files[name].decode().splitlines()]
        rows[line - 1][rows[0].index(column)] = value
        package.files[name] = ("\n".join(map(",".join, rows)) + "\n").encode()

    return change


def without_columns(name: str, *columns: str) -> Change:
    def change(package: Any, _: Path) -> None:
        rows = list(csv.DictReader(io.StringIO(package.files[name].decode())))
        text = io.StringIO()
        kept = [column for column in rows[0] if column not in columns]
        writer = csv.DictWriter(text, kept, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        package.files[name] = text.getvalue().encode()

    return change
