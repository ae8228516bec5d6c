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
    """Change the proposal in the journal, and what the specification has of it."""

    def change(package: Any, _: Path) -> None:
        package.spec(trial, lambda spec: spec.update({key: fields[key] for key in fields if key in spec}))
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


def change_table(name: str, change: Callable[[list[list[str]]], Any]) -> Change:
    """Change the lines of a table, each a list of cells."""

    def changed(package: Any, _: Path) -> None:
        lines = list(csv.reader(io.StringIO(package.files[name].decode())))
        change(lines)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        package.files[name] = text.getvalue().encode()

    return changed


def repaired(change: Change) -> Change:
    """A change after which sums, begins and tables follow from the events again."""

    def changed(package: Any, folder: Path) -> None:
        change(package, folder)
        events = {name: package.lines(name) for name in sorted(package.files) if name.startswith("events/")}
        package.journal(lambda entries: _repair(entries, events))
        package.restate(folder / "restated")

    return changed


def _repair(entries: list[dict[str, Any]], events: dict[str, list[dict[str, Any]]]) -> None:
    for item in (item for entry in entries if entry["type"] == "began" for item in entry["attempts"]):
        begin = events[f"events/{item['trial']:05d}-{item['attempt']}.{item['run']}.jsonl"][0]
        item.update({key: begin[key] for key in ("time", "hosts", "job")})
    for item in (item for entry in entries if entry["type"] == "ended" for item in entry["attempts"]):
        lines = [line for lines in events.values() for line in lines if line["trial"] == item["trial"]]
        known = [line for line in lines if line["attempt"] <= item["attempt"]]
        epochs: dict[int, dict[str, Any]] = {}
        for epoch in (line for line in known if line["type"] == "epoch"):
            if epoch["epoch"] not in epochs or epoch["end"] < epochs[epoch["epoch"]]["end"]:
                epochs[epoch["epoch"]] = epoch
        best = min(epochs.values(), key=lambda epoch: (epoch["error"], epoch["epoch"]), default={})
        item.update(
            {key: sum(epoch[key] for epoch in epochs.values()) for key in ("train_images", "val_images", "ops")}
        )
        item.update(epochs=len(epochs), best_error=best.get("error"), best_epoch=best.get("epoch"))
        item["last_end"] = max((epoch["end"] for epoch in epochs.values()), default=None)
        begins = [line for line in known if line["type"] == "begin" and line["attempt"] == item["attempt"]]
        if begins:
            item.update(hosts=begins[-1]["hosts"], first_begin=min(begin["time"] for begin in begins))
