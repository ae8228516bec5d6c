"""Manipulations of packages, each with the fault that `verify` must find.

The manipulations hide their traces: the manifest lists the changed files, and the hash chain, the hashes of events and
specifications and, where relevant, the tables are updated. `verify` finds the remaining contradiction.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from package.package_changes import (
    Change,
    change_cell,
    change_events,
    change_journal,
    change_spec,
    change_table,
    replace_text,
    set_proposal,
    shift,
    without_columns,
)


def _drop_failed_attempt(package: Any, _: Path) -> None:
    del package.files["events/00001-1.0.jsonl"], package.files["jobs/00001-1/job.sh"]

    def change(entries: list[dict[str, Any]]) -> None:
        proposal = next(e["attempts"][0]["proposal"] for e in entries if _about(e, 1, 1))
        entries[:] = [entry for entry in entries if not _about(entry, 1, 1)]
        next(entry for entry in entries if _about(entry, 1, 2))["attempts"][0]["proposal"] = proposal

    package.journal(change)


def _drop_trial(package: Any, _: Path) -> None:
    for name in [name for name in package.files if "/00001" in name]:
        del package.files[name]
    package.journal(lambda entries: entries.__setitem__(slice(None), [e for e in entries if not _about(e, 1)]))


def _about(entry: dict[str, Any], trial: int, attempt: int | None = None) -> bool:
    items = [*entry.get("attempts", []), *entry.get("jobs", [])]
    return any(item["trial"] == trial and attempt in (None, item["attempt"]) for item in items)


def _add_column(name: str) -> Change:
    def change(lines: list[list[str]]) -> None:
        lines[0].append(name)
        lines[1].append("9e15")

    return change_table("result.csv", change)


def _cut_journal(package: Any, _: Path) -> None:
    package.journal(lambda entries: entries.__setitem__(slice(None), [e for e in entries if not _about(e, 3)]))


def _all_faster(package: Any, _: Path) -> None:
    """The first trial begins later, which shortens the measured time."""
    package.events("00000-1.0.jsonl", lambda lines: shift(lines[:1], 0.05))


def _swap_networks(package: Any, _: Path) -> None:
    one, other = (json.loads(package.files[f"trials/0000{trial}.json"])["network"] for trial in (2, 3))
    package.spec(2, lambda spec: spec.update(network=other))
    package.spec(3, lambda spec: spec.update(network=one))


def _more_operations(package: Any, folder: Path) -> None:
    """Operations are increased in the proposal, the specification, the events, the sums and the tables."""
    set_proposal(3, operations={"forward": 10**7, "train": 10**8})(package, folder)
    ops = 1437 * 10**8 + 360 * 10**7
    package.events("00003-1.0.jsonl", lambda lines: [line.update(ops=ops) for line in lines if "epoch" in line])
    package.each("ended", lambda item: item.update(ops=3 * ops) if item["trial"] == 3 else None)
    package.restate(folder / "restated")


def _better_error(package: Any, folder: Path) -> None:
    """A lower error in the events, the end line, the sums and the tables."""

    def change(lines: list[dict[str, Any]]) -> None:
        lines[3]["error"] = 0.001
        lines[-1].update(best_error=0.001)

    package.events("00003-1.0.jsonl", change)
    package.each("ended", lambda item: item.update(best_error=0.001) if item["trial"] == 3 else None)
    package.restate(folder / "restated")


def _more_images(package: Any, folder: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        spec = json.loads(package.files["trials/00000.json"])["operations"]
        lines[1]["train_images"] = 50_000
        lines[1]["ops"] = 50_000 * spec["train"] + 360 * spec["forward"]

    package.events("00000-1.0.jsonl", change)
    package.restate(folder / "restated")


def _names_with_scripts(package: Any, _: Path) -> None:
    host = "<script>alert(1)</script>"
    package.events("00000-1.0.jsonl", lambda lines: lines[0].update(hosts=[host]))
    package.each("began", lambda item: item.update(hosts=[host]) if item["trial"] == 0 else None)


def _more_hosts(package: Any, _: Path) -> None:
    for name, host in (("00000-1.0.jsonl", "n7"), ("00003-1.0.jsonl", "n8")):
        package.events(name, lambda lines, host=host: lines[0].update(hosts=[host]))
        trial = int(name[:5])
        package.each("began", lambda item, t=trial, h=host: item.update(hosts=[h]) if item["trial"] == t else None)


def _impossible_speed(package: Any, _: Path) -> None:
    package.settings("accelerator_peak_ops: 1000000000000.0", "accelerator_peak_ops: 1000000.0")


def _nan(package: Any, _: Path) -> None:
    data = package.files["events/00000-1.0.jsonl"].replace(b'"loss":1.0', b'"loss":NaN', 1)
    package.raw_events("00000-1.0.jsonl", data)


def _key_twice(package: Any, _: Path) -> None:
    data = package.files["events/00000-1.0.jsonl"].replace(b'"loss":1.0', b'"loss":9.5,"loss":1.0', 1)
    package.raw_events("00000-1.0.jsonl", data)


def _drop_last_row(package: Any, _: Path) -> None:
    rows = package.files["leaderboard.csv"].split(b"\n")
    package.files["leaderboard.csv"] = b"\n".join(rows[:-2])


def _without_new_hashes(change: Change) -> Change:
    """A change after which the manifest keeps its hashes."""

    def changed(package: Any, path: Path) -> None:
        package.hashed = False
        change(package, path)

    return changed


MANIPULATIONS: dict[str, tuple[Change, str, str, str]] = {
    # the manifest
    "a file of another content": (
        _without_new_hashes(replace_text("series.csv", "0.0", "9.9")),
        "manifest.hash", "series.csv", "is not the file that the manifest lists",
    ),
    "a file is gone from the package": (
        _without_new_hashes(lambda package, _: package.files.pop("jobs/00001-1/job.sh")),
        "manifest.missing", "jobs/00001-1/job.sh", "is in the manifest, and not in the package",
    ),
    "a file was added": (
        _without_new_hashes(lambda package, _: package.files.update({"jobs/00009-1/job.sh": b""})),
        "manifest.unlisted", "jobs/00009-1/job.sh", "and not in the manifest",
    ),
    "another format": (
        lambda package, _: package.manifest.update(format="other"), "manifest.format", "manifest.json", "must have",
    ),
    "an unknown key in the manifest": (
        lambda package, _: package.manifest.update(verified=True), "manifest.format", "manifest.json", "verified: ",
    ),
    "other rules": (
        lambda package, _: package.manifest.update(rules={"version": "aiperf-1.0", "sha256": "0" * 64}),
        "manifest.contents", "manifest.json", "rules: ",
    ),
    "other weights": (
        lambda package, _: package.manifest.update(best_weights={"trial": 3, "sha256": "0" * 64}),
        "manifest.contents", "manifest.json", "best_weights: ",
    ),
    # JSON
    "no number": (_nan, "json.strict", "events/00000-1.0.jsonl:2", "NaN"),
    "a key twice": (_key_twice, "json.strict", "events/00000-1.0.jsonl:2", "the key 'loss' occurs twice"),
    "deep nesting": (
        lambda package, _: package.files.update({"system.json": b"[" * 400 + b"]" * 400}),
        "json.strict", "system.json:1", "nested too deeply",
    ),
    "garbage among the events": (
        lambda package, _: package.raw_events("00000-1.0.jsonl", package.files["events/00000-1.0.jsonl"] + b"#\n"),
        "json.strict", "events/00000-1.0.jsonl:6", "not JSON",
    ),
    "a torn line": (
        lambda package, _: package.files.update({"journal.jsonl": package.files["journal.jsonl"] + b"{"}),
        "json.strict", "journal.jsonl:24", "torn",
    ),
    # settings
    "a longer campaign": (
        replace_text("campaign.yaml", "duration: 3600s", "duration: 7200s"), "settings.hash", "campaign.yaml",
        "was changed after the campaign was made",
    ),
    "settings that are none": (
        replace_text("campaign.yaml", "duration: 3600s", "duration: soon"), "settings.format", "campaign.yaml", "soon",
    ),
    "trained where it was simulated": (
        lambda package, _: package.settings("trainer: simulated", "trainer: torch"),
        "trial.recipe", "trials/00000.json", "training: ",
    ),
    "limits that its networks exceed": (
        lambda package, _: package.settings("max_layers: 60", "max_layers: 21"),
        "network.limits", "trials/00001.json", "max_layers: ",
    ),
    # the journal
    "a line changed, the chain not mended": (
        replace_text("journal.jsonl", '"reason":"LOST"', '"reason":"COMPLETED"'), "journal.chain", "journal.jsonl:",
        "a line was changed, removed or added manually",
    ),
    "a line removed, the chain not mended": (
        lambda package, _: package.files.update(
            {"journal.jsonl": b"\n".join([*package.files["journal.jsonl"].split(b"\n")[:5], b""])
             + b"\n".join(package.files["journal.jsonl"].split(b"\n")[6:])}
        ),
        "journal.chain", "journal.jsonl:6", "does not follow from the line before it",
    ),
    "a first line that is missing": (
        change_journal(lambda entries: entries.pop(0)), "journal.order", "journal.jsonl", "campaign's creation",
    ),
    "an end of nothing": (
        change_journal(lambda entries: entries.pop(2)), "journal.order", "journal.jsonl:3", "do not know",
    ),
    "the journal's end cut off": (
        _cut_journal, "journal.complete", "journal.jsonl", "ends before the attempt that wrote",
    ),
    "a failed attempt dropped": (
        _drop_failed_attempt, "journal.complete", "journal.jsonl",
        "ends before the attempt that wrote events/00001-2.0",
    ),
    "a first attempt that is called the second": (
        lambda package, _: package.each(
            "submitting", lambda item: item.update(attempt=2) if (item["trial"], item["attempt"]) == (3, 1) else None
        ),
        "journal.order",
        "journal.jsonl:20",
        "do not know",
    ),
    "a failed attempt's events dropped": (
        lambda package, _: package.files.pop("events/00001-1.0.jsonl"),
        "events.missing", "events/00001-1.0.jsonl", "is missing",
    ),
    "a trial dropped": (_drop_trial, "journal.trials", "journal.jsonl", "trial 1 is missing"),
    "the journal's clock turned back": (
        change_journal(lambda entries: shift(entries[6:], -3600)), "journal.time", "journal.jsonl:7", "is earlier than",
    ),
    "more operations in the sums": (
        lambda package, _: package.each("ended", lambda item: item.update(ops=item["ops"] * 2)),
        "attempt.sums", "journal.jsonl:6", "trial 0: ops: ",
    ),
    "a failure called a success": (
        lambda package, _: package.each(
            "ended", lambda item: item.update(reason="EARLY_STOPPED") if item["reason"] == "LOST" else None
        ),
        "attempt.reason", "events/00001-1.0.jsonl:4", "reason: LOST, and journal.jsonl:10 says EARLY_STOPPED",
    ),
    "another specification for the second attempt": (
        lambda package, _: package.each(
            "submitting", lambda item: item.update(spec_sha256="0" * 64) if item["attempt"] == 2 else None
        ),
        "journal.specification", "journal.jsonl:11", "has another specification",
    ),
    # specifications and networks
    "a specification dropped": (
        lambda package, _: package.files.pop("trials/00002.json"), "trial.missing", "trials/00002.json", "is missing",
    ),
    "a specification that no trial has": (
        lambda package, _: package.files.update({"trials/00009.json": package.files["trials/00002.json"]}),
        "trial.unlisted", "trials/00009.json", "is not in the journal",
    ),
    "a specification changed": (
        replace_text("trials/00002.json", '"seed":1963819746', '"seed":8'), "trial.hash", "trials/00002.json",
        "SHA-256 differs",
    ),
    "a specification of no form": (
        change_spec(2, lambda spec: spec.pop("patience")), "trial.format", "trials/00002.json", "patience: ",
    ),
    "more epochs than the settings give": (
        change_spec(2, lambda spec: spec.update(epochs=30)), "trial.recipe", "trials/00002.json", "epochs: ",
    ),
    "a batch that was not proposed": (
        change_spec(2, lambda spec: spec["hyperparameters"].update(batch_size=99)),
        "trial.proposal", "trials/00002.json", "hyperparameters: ",
    ),
    "a parent with a better error": (
        change_spec(2, lambda spec: spec.update(parent_error=0.01)), "trial.recipe", "trials/00002.json",
        "parent_error: ",
    ),
    "two networks swapped": (
        _swap_networks, "network.rebuilt", "trials/00002.json",
        "does not follow from its parent's network and its edits",
    ),
    "a number in a network that is true": (
        change_spec(2, lambda spec: spec["network"]["layers"][1].update(stride=True)), "network.rebuilt",
        "trials/00002.json", "does not follow from its parent's network and its edits",
    ),
    "a number in a network with a fraction of zero": (
        change_spec(2, lambda spec: spec["network"]["layers"][1].update(inputs=[0.0])), "network.rebuilt",
        "trials/00002.json", "does not follow from its parent's network and its edits",
    ),
    "another edit": (
        set_proposal(1, edits=[{"kind": "deeper", "at": 3, "kernel": 7}]),
        "network.hash", "trials/00001.json", "network_hash",
    ),
    "an edit that is impossible": (
        set_proposal(1, edits=[{"kind": "wider", "at": 99}]), "network.edits", "journal.jsonl:7", "trial 1: ",
    ),
    "an edit that is none": (
        set_proposal(1, edits=[{"kind": "smaller"}]), "network.edits", "journal.jsonl:7", "not an edit",
    ),
    "another hash": (
        set_proposal(2, network_hash="0" * 64), "network.hash", "trials/00002.json", "network_hash",
    ),
    "another number of layers": (
        set_proposal(2, layers=2), "network.size", "trials/00002.json", "layers: 2 stated, and its network has ",
    ),
    "another number of parameters": (
        set_proposal(2, parameters=1), "network.size", "trials/00002.json", "parameters: 1 stated, and its network has",
    ),
    "other operations of matrix products": (
        set_proposal(2, tensor_operations={"forward": 1, "train": 2}), "network.size", "trials/00002.json",
        "tensor_operations: ",
    ),
    "a parent that comes later": (
        set_proposal(2, parent=3), "network.parent", "journal.jsonl:15", "descends from trial 3",
    ),
    "more operations everywhere": (
        _more_operations, "network.operations", "trials/00003.json",
        "100000000 operations stated, and its network needs",
    ),
    # events
    "more operations of an epoch": (
        change_events("00000-1.0.jsonl", lambda lines: lines[2].update(ops=lines[2]["ops"] + 1)),
        "epoch.operations", "events/00000-1.0.jsonl:3", "but its images need",
    ),
    "an error that no image count gives": (
        _better_error, "epoch.error", "events/00003-1.0.jsonl:4", "0.001 is not a whole",
    ),
    "more images than there are": (_more_images, "epoch.images", "events/00000-1.0.jsonl:2", "50000 and 360 images"),
    "epochs out of order": (
        change_events("00000-1.0.jsonl", lambda lines: lines.insert(1, lines.pop(2))),
        "epoch.order", "events/00000-1.0.jsonl:3", "out of order",
    ),
    "an epoch twice": (
        change_events("00000-1.0.jsonl", lambda lines: lines.insert(2, lines[1])),
        "epoch.order", "events/00000-1.0.jsonl:3", "out of order",
    ),
    "an epoch too many": (
        change_events("00002-1.0.jsonl", lambda lines: lines.insert(3, lines[2] | {"epoch": 4})),
        "epoch.order", "events/00002-1.0.jsonl:4", "beyond the 3 epochs",
    ),
    "epochs that overlap": (
        change_events("00000-1.0.jsonl", lambda lines: shift(lines[2:3], -5, ("start",))),
        "epoch.overlap", "events/00000-1.0.jsonl:3", "starts before the epoch before it has ended",
    ),
    "an epoch that ends before it starts": (
        change_events("00000-1.0.jsonl", lambda lines: shift(lines[3:4], -15, ("end",))),
        "epoch.time", "events/00000-1.0.jsonl:4", "ends before it starts",
    ),
    "an epoch after the attempt's end": (
        change_events("00000-1.0.jsonl", lambda lines: shift(lines[-1:], -3)),
        "epoch.time", "events/00000-1.0.jsonl:4", "ends after its attempt",
    ),
    "a shifted clock": (
        change_events("00002-1.0.jsonl", lambda lines: shift(lines, -60)),
        "attempt.time", "events/00002-1.0.jsonl:1", "before journal.jsonl:15 submitted it",
    ),
    "a clock shifted forward": (
        change_events("00002-1.0.jsonl", lambda lines: shift(lines, 60)),
        "attempt.time", "events/00002-1.0.jsonl:4", "after journal.jsonl:18 recorded its end",
    ),
    "a campaign that began later": (_all_faster, "attempt.began", "events/00000-1.0.jsonl:1", "time: "),
    "another trial's events": (
        change_events("00002-1.0.jsonl", lambda lines: lines[1].update(trial=3)),
        "events.place", "events/00002-1.0.jsonl:2", "stand in the file of another run",
    ),
    "events of another specification": (
        change_events("00002-1.0.jsonl", lambda lines: lines[0].update(spec_sha256="0" * 64)),
        "events.specification", "events/00002-1.0.jsonl:1", "its specification is not the one in the journal",
    ),
    "events changed, the journal not": (
        replace_text("events/00002-1.0.jsonl", '"loss":1.0', '"loss":1.1'), "events.hash", "events/00002-1.0.jsonl",
        "is not what the journal recorded",
    ),
    "an event of no form": (
        change_events("00002-1.0.jsonl", lambda lines: lines[1].update(ops=-1)),
        "events.line", "events/00002-1.0.jsonl:2", "not an event",
    ),
    "an attempt without its end": (
        change_events("00002-1.0.jsonl", lambda lines: lines.pop()), "attempt.end", "journal.jsonl:18",
        "has no end line",
    ),
    "a line after the end": (
        change_events("00002-1.0.jsonl", lambda lines: lines.append(lines[1] | {"epoch": 3})),
        "events.order", "events/00002-1.0.jsonl:5", "stands after the end line",
    ),
    "other data": (
        change_events("00002-1.0.jsonl", lambda lines: lines[0].update(data_sha256="1" * 64)),
        "data.digest", "events/00002-1.0.jsonl:1", "and trial 0 read None",
    ),
    "a better best": (
        change_events("00000-1.0.jsonl", lambda lines: lines[-1].update(best_error=0.0, best_epoch=1)),
        "attempt.best", "events/00000-1.0.jsonl", "best_error 0.0 at epoch 1 stated",
    ),
    # the system
    "faster than its accelerators": (
        _impossible_speed, "speed.peak", "events/00000-1.0.jsonl:2", "the peak of its accelerators is 4 Mega-OPS",
    ),
    "a system faster than its accelerators": (
        _impossible_speed, "speed.system", "result.csv:2", "the peak of the system is",
    ),
    "more hosts than nodes": (_more_hosts, "system.nodes", "campaign.yaml", "number_of_nodes: 2"),
    "another system": (
        lambda package, _: package.files.update({"system.json": b"{}"}),
        "system.contents", "system.json", "does not follow",
    ),
    "no system": (
        lambda package, _: package.files.pop("system.json"), "system.missing", "system.json", "has no system",
    ),
    "a script for a name": (_names_with_scripts, "name.markup", "events/00000-1.0.jsonl", "<script>"),
    # tables
    "a higher score": (
        change_cell("result.csv", 2, "score", "9.9e15"), "table.result", "result.csv:2", "score: '9.9e15' stated",
    ),
    "nodes that no entry drains": (
        change_cell("result.csv", 2, "drained_nodes", "1"), "table.result", "result.csv:2", "drained_nodes: '1' stated",
    ),
    "invented energy": (
        change_cell("result.csv", 2, "energy_joules", "1.0"), "table.result", "result.csv:2",
        "energy_joules: '1.0' stated",
    ),
    "one column less": (without_columns("result.csv", "energy_of"), "table.format", "result.csv:1", "columns"),
    "a rankable result": (
        change_cell("result.csv", 2, "rankable", "yes"), "table.result", "result.csv:2", "rankable: 'yes'",
    ),
    "a better trial": (
        change_cell("leaderboard.csv", 3, "error", "0.001"), "table.leaderboard", "leaderboard.csv:3", "error: '0.001'",
    ),
    "a better series": (
        change_cell("series.csv", 9, "operations", "1"), "table.series", "series.csv:9", "operations: '1'",
    ),
    "a row dropped": (
        _drop_last_row,
        "table.leaderboard", "leaderboard.csv", "has 3 rows; by the records there are 4",
    ),
    "a formula": (
        change_cell("result.csv", 2, "submitter", "=HYPERLINK(1)"), "table.formula", "result.csv:2",
        "would be a formula",
    ),
    "another column": (replace_text("result.csv", "score", "mark"), "table.format", "result.csv:1", "columns"),
    "columns in another order": (
        change_table("result.csv", lambda lines: lines.__setitem__(slice(None), [line[::-1] for line in lines])),
        "table.format", "result.csv:1", "not in the order",
    ),
    "a second score": (
        _add_column("score"),
        "table.format", "result.csv:1", "the column 'score' occurs twice",
    ),
    "a column beside the score": (
        _add_column("Score"),
        "table.format", "result.csv:1", "its columns are not those",
    ),
    "a cell beside the row": (
        change_table("result.csv", lambda lines: lines[1].append("9e15")),
        "table.format", "result.csv:2", "has 59 cells, and the table has 58 columns",
    ),
    "an empty line": (
        change_table("series.csv", lambda lines: lines.insert(3, [])), "table.format", "series.csv:4", "has 0 cells",
    ),
    "another speed of a node": (
        change_cell("nodes.csv", 2, "images_per_second", "9.0"), "table.nodes", "nodes.csv:2", "images_per_second",
    ),
    "a node that is called slow": (
        change_cell("nodes.csv", 2, "slow", "yes"), "table.nodes", "nodes.csv:2", "slow: 'yes' stated",
    ),
    "no table of nodes": (
        lambda package, _: package.files.pop("nodes.csv"), "table.missing", "nodes.csv", "no such table",
    ),
    "no table": (lambda package, _: package.files.pop("series.csv"), "table.missing", "series.csv", "no such table"),
}  # fmt: skip
