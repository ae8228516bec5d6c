"""Manipulated packages: each is found, with the fault that says what was done and where.

Whoever manipulates here covers the traces: the manifest lists the changed files, the chain and the hashes of events and
specifications are made right, and where it matters the tables too. What is found is the contradiction that is left.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.package import reading
from aiperf_orch.package.verify import verify
from aiperf_orch.results.tables import LATER_COLUMNS

Change = Callable[[Any, Path], Any]
_TIMES = ("time", "start", "end")


def _shift(lines: list[dict[str, Any]], seconds: float, keys: tuple[str, ...] = _TIMES) -> None:
    for line in lines:
        for key in keys:
            if key in line:
                line[key] = (datetime.fromisoformat(line[key]) + timedelta(seconds=seconds)).isoformat()


def _replace(name: str, was: str, now: str) -> Change:
    def change(package: Any, _: Path) -> None:
        assert was in package.files[name].decode()
        package.files[name] = package.files[name].decode().replace(was, now, 1).encode()

    return change


def _events(name: str, change: Callable[[list[dict[str, Any]]], Any]) -> Change:
    return lambda package, _: package.events(name, change)


def _spec(trial: int, change: Callable[[dict[str, Any]], Any]) -> Change:
    return lambda package, _: package.spec(trial, change)


def _journal(change: Callable[[list[dict[str, Any]]], Any]) -> Change:
    return lambda package, _: package.journal(change)


def _set_proposal(trial: int, **fields: Any) -> Change:
    """In the journal and in the specification alike."""

    def change(package: Any, _: Path) -> None:
        package.spec(trial, lambda spec: spec.update(fields))
        package.each(
            "submitting",
            lambda item: item["proposal"].update(fields) if (item["trial"], item["attempt"]) == (trial, 1) else None,
        )

    return change


def _cell(name: str, line: int, column: str, value: str) -> Change:
    def change(package: Any, _: Path) -> None:
        rows = [row.split(",") for row in package.files[name].decode().splitlines()]
        rows[line - 1][rows[0].index(column)] = value
        package.files[name] = ("\n".join(map(",".join, rows)) + "\n").encode()

    return change


def _without(name: str, *columns: str) -> Change:
    def change(package: Any, _: Path) -> None:
        rows = list(csv.DictReader(io.StringIO(package.files[name].decode())))
        text = io.StringIO()
        kept = [column for column in rows[0] if column not in columns]
        writer = csv.DictWriter(text, kept, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        package.files[name] = text.getvalue().encode()

    return change


# the journal and the package as a whole


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


def _cut_journal(package: Any, _: Path) -> None:
    package.journal(lambda entries: entries.__setitem__(slice(None), [e for e in entries if not _about(e, 3)]))


def _all_faster(package: Any, _: Path) -> None:
    """The first trial begins later, so that the campaign took less time."""
    package.events("00000-1.0.jsonl", lambda lines: _shift(lines[:1], 0.05))


def _swap_networks(package: Any, _: Path) -> None:
    one, other = (json.loads(package.files[f"trials/0000{trial}.json"])["network"] for trial in (2, 3))
    package.spec(2, lambda spec: spec.update(network=other))
    package.spec(3, lambda spec: spec.update(network=one))


def _more_operations(package: Any, folder: Path) -> None:
    """Operations are raised everywhere: in the proposal, the specification, the events, the sums and the tables."""
    _set_proposal(3, operations={"forward": 10**7, "train": 10**8})(package, folder)
    ops = 1437 * 10**8 + 360 * 10**7
    package.events("00003-1.0.jsonl", lambda lines: [line.update(ops=ops) for line in lines if "epoch" in line])
    package.each("ended", lambda item: item.update(ops=3 * ops) if item["trial"] == 3 else None)
    package.restate(folder / "restated")


def _better_error(package: Any, folder: Path) -> None:
    """A better error in the events, with its end line, the sums and the tables."""

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
    data = package.files["events/00000-1.0.jsonl"].replace(b'"loss":1.5', b'"loss":NaN', 1)
    package.raw_events("00000-1.0.jsonl", data)


def _key_twice(package: Any, _: Path) -> None:
    data = package.files["events/00000-1.0.jsonl"].replace(b'"loss":1.5', b'"loss":9.5,"loss":1.5', 1)
    package.raw_events("00000-1.0.jsonl", data)


MANIPULATIONS: dict[str, tuple[Change, str, str, str]] = {
    # the manifest
    "a file of another content": (
        lambda package, _: setattr(package, "hashed", False) or _replace("series.csv", "0.0", "9.9")(package, _),
        "manifest.hash", "series.csv", "is not the file that the manifest lists",
    ),
    "a file is gone from the package": (
        lambda package, _: setattr(package, "hashed", False) or package.files.pop("jobs/00001-1/job.sh"),
        "manifest.missing", "jobs/00001-1/job.sh", "stands in the manifest, and is not in the package",
    ),
    "a file was added": (
        lambda package, _: setattr(package, "hashed", False) or package.files.update({"jobs/00009-1/job.sh": b""}),
        "manifest.unlisted", "jobs/00009-1/job.sh", "does not stand in the manifest",
    ),
    "another format": (
        lambda package, _: package.manifest.update(format="other"), "manifest.format", "manifest.json", "must say",
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
        _replace("campaign.yaml", "duration: 3600s", "duration: 7200s"), "settings.hash", "campaign.yaml",
        "was changed after the campaign was made",
    ),
    "settings that are none": (
        _replace("campaign.yaml", "duration: 3600s", "duration: soon"), "settings.format", "campaign.yaml", "soon",
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
        _replace("journal.jsonl", '"reason":"LOST"', '"reason":"COMPLETED"'), "journal.chain", "journal.jsonl:",
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
        _journal(lambda entries: entries.pop(0)), "journal.order", "journal.jsonl", "campaign's creation",
    ),
    "an end of nothing": (
        _journal(lambda entries: entries.pop(2)), "journal.order", "journal.jsonl:3", "do not know",
    ),
    "the journal's end cut off": (_cut_journal, "journal.complete", "journal.jsonl", "ends before the attempt that wrote"),
    "a failed attempt dropped": (
        _drop_failed_attempt, "journal.complete", "journal.jsonl", "ends before the attempt that wrote events/00001-2.0",
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
        _journal(lambda entries: _shift(entries[6:], -3600)), "journal.time", "journal.jsonl:7", "is earlier than",
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
        "trial.unlisted", "trials/00009.json", "does not know",
    ),
    "a specification changed": (
        _replace("trials/00002.json", '"seed":7', '"seed":8'), "trial.hash", "trials/00002.json", "SHA-256 differs",
    ),
    "a specification of no form": (
        _spec(2, lambda spec: spec.pop("patience")), "trial.format", "trials/00002.json", "patience: ",
    ),
    "more epochs than the settings give": (
        _spec(2, lambda spec: spec.update(epochs=30)), "trial.recipe", "trials/00002.json", "epochs: ",
    ),
    "a batch that was not proposed": (
        _spec(2, lambda spec: spec["hyperparameters"].update(batch_size=99)),
        "trial.proposal", "trials/00002.json", "hyperparameters: ",
    ),
    "a parent with a better error": (
        _spec(2, lambda spec: spec.update(parent_error=0.01)), "trial.recipe", "trials/00002.json", "parent_error: ",
    ),
    "two networks swapped": (_swap_networks, "network.rebuilt", "trials/00002.json", "not what its edits make"),
    "another edit": (
        _set_proposal(1, edits=[{"kind": "deeper", "at": 3, "kernel": 7}]),
        "network.hash", "trials/00001.json", "network_hash",
    ),
    "an edit that is impossible": (
        _set_proposal(1, edits=[{"kind": "wider", "at": 99}]), "network.edits", "journal.jsonl:7", "trial 1: ",
    ),
    "an edit that is none": (
        _set_proposal(1, edits=[{"kind": "smaller"}]), "network.edits", "journal.jsonl:7", "not an edit",
    ),
    "another hash": (
        _set_proposal(2, network_hash="0" * 64), "network.hash", "trials/00002.json", "network_hash",
    ),
    "a parent that comes later": (
        _set_proposal(2, parent=3), "network.parent", "journal.jsonl:15", "descends from trial 3",
    ),
    "more operations everywhere": (
        _more_operations, "network.operations", "trials/00003.json", "100000000 operations stated, and its network needs",
    ),
    # events
    "more operations of an epoch": (
        _events("00000-1.0.jsonl", lambda lines: lines[2].update(ops=lines[2]["ops"] + 1)),
        "epoch.operations", "events/00000-1.0.jsonl:3", "but its images need",
    ),
    "an error that no image count gives": (_better_error, "epoch.error", "events/00003-1.0.jsonl:4", "0.001 is not a whole"),
    "more images than there are": (_more_images, "epoch.images", "events/00000-1.0.jsonl:2", "50000 and 360 images"),
    "epochs out of order": (
        _events("00000-1.0.jsonl", lambda lines: lines.insert(1, lines.pop(2))),
        "epoch.order", "events/00000-1.0.jsonl:3", "out of order",
    ),
    "an epoch twice": (
        _events("00000-1.0.jsonl", lambda lines: lines.insert(2, lines[1])),
        "epoch.order", "events/00000-1.0.jsonl:3", "out of order",
    ),
    "an epoch too many": (
        _events("00002-1.0.jsonl", lambda lines: lines.insert(3, lines[2] | {"epoch": 5})),
        "epoch.order", "events/00002-1.0.jsonl:4", "beyond the 4 epochs",
    ),
    "epochs that overlap": (
        _events("00000-1.0.jsonl", lambda lines: _shift(lines[2:3], -5, ("start",))),
        "epoch.overlap", "events/00000-1.0.jsonl:3", "starts before the epoch before it has ended",
    ),
    "an epoch that ends before it starts": (
        _events("00000-1.0.jsonl", lambda lines: _shift(lines[3:4], -15, ("end",))),
        "epoch.time", "events/00000-1.0.jsonl:4", "ends before it starts",
    ),
    "an epoch after the attempt's end": (
        _events("00000-1.0.jsonl", lambda lines: _shift(lines[-1:], -3)),
        "epoch.time", "events/00000-1.0.jsonl:4", "ends after its attempt",
    ),
    "a shifted clock": (
        _events("00002-1.0.jsonl", lambda lines: _shift(lines, -60)),
        "attempt.time", "events/00002-1.0.jsonl:1", "before journal.jsonl:15 submitted it",
    ),
    "a clock shifted forward": (
        _events("00002-1.0.jsonl", lambda lines: _shift(lines, 60)),
        "attempt.time", "events/00002-1.0.jsonl:4", "after journal.jsonl:18 saw it end",
    ),
    "a campaign that began later": (_all_faster, "attempt.began", "events/00000-1.0.jsonl:1", "time: "),
    "another trial's events": (
        _events("00002-1.0.jsonl", lambda lines: lines[1].update(trial=3)),
        "events.place", "events/00002-1.0.jsonl:2", "stand in the file of another run",
    ),
    "events of another specification": (
        _events("00002-1.0.jsonl", lambda lines: lines[0].update(spec_sha256="0" * 64)),
        "events.specification", "events/00002-1.0.jsonl:1", "its specification is not the one in the journal",
    ),
    "events changed, the journal not": (
        _replace("events/00002-1.0.jsonl", '"loss":1.5', '"loss":1.4'), "events.hash", "events/00002-1.0.jsonl",
        "is not what the journal recorded",
    ),
    "an event of no form": (
        _events("00002-1.0.jsonl", lambda lines: lines[1].update(ops=-1)),
        "events.line", "events/00002-1.0.jsonl:2", "not an event",
    ),
    "an attempt without its end": (
        _events("00002-1.0.jsonl", lambda lines: lines.pop()), "attempt.end", "journal.jsonl:18", "has no end line",
    ),
    "a line after the end": (
        _events("00002-1.0.jsonl", lambda lines: lines.append(lines[1] | {"epoch": 3})),
        "events.order", "events/00002-1.0.jsonl:5", "stands after the end line",
    ),
    "other data": (
        _events("00002-1.0.jsonl", lambda lines: lines[0].update(data_sha256="1" * 64)),
        "data.digest", "events/00002-1.0.jsonl:1", "and trial 0 read None",
    ),
    "a better best": (
        _events("00000-1.0.jsonl", lambda lines: lines[-1].update(best_error=0.0, best_epoch=1)),
        "attempt.best", "events/00000-1.0.jsonl:5", "best_error 0.0 at epoch 1 stated",
    ),
    # the system
    "faster than its accelerators": (_impossible_speed, "speed.peak", "events/00000-1.0.jsonl:2", "reach 4 Mega-OPS at best"),
    "a system faster than its accelerators": (_impossible_speed, "speed.system", "result.csv:2", "the system reaches"),
    "more hosts than nodes": (_more_hosts, "system.nodes", "campaign.yaml", "number_of_nodes: 2"),
    "another system": (
        lambda package, _: package.files.update({"system.json": b"{}"}), "system.contents", "system.json", "is not what",
    ),
    "no system": (lambda package, _: package.files.pop("system.json"), "system.missing", "system.json", "has no system"),
    "a script for a name": (_names_with_scripts, "name.markup", "events/00000-1.0.jsonl", "<script>"),
    # tables
    "a higher score": (_cell("result.csv", 2, "score", "9.9e15"), "table.result", "result.csv:2", "score: '9.9e15' stated"),
    "energy nobody measured": (
        _cell("result.csv", 2, "energy_joules", "1.0"), "table.result", "result.csv:2", "energy_joules: '1.0' stated",
    ),
    "one column less": (_without("result.csv", "energy_of"), "table.format", "result.csv:2", "columns"),
    "a rankable result": (_cell("result.csv", 2, "rankable", "yes"), "table.result", "result.csv:2", "rankable: 'yes'"),
    "a better trial": (
        _cell("leaderboard.csv", 3, "error", "0.001"), "table.leaderboard", "leaderboard.csv:3", "error: '0.001'",
    ),
    "a better series": (_cell("series.csv", 9, "operations", "1"), "table.series", "series.csv:9", "operations: '1'"),
    "a row dropped": (
        lambda package, _: package.files.update({"leaderboard.csv": b"\n".join(package.files["leaderboard.csv"].split(b"\n")[:-2])}),
        "table.leaderboard", "leaderboard.csv", "has 3 rows; by the records there are 4",
    ),
    "a formula": (
        _cell("result.csv", 2, "submitter", "=HYPERLINK(1)"), "table.formula", "result.csv:2", "would be a formula",
    ),
    "another column": (_replace("result.csv", "score", "mark"), "table.format", "result.csv:2", "columns"),
    "no table": (lambda package, _: package.files.pop("series.csv"), "table.missing", "series.csv", "no such table"),
}  # fmt: skip


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_a_manipulation_is_found(name: str, tampered: Any, tmp_path: Path) -> None:
    change, id_, where, message = MANIPULATIONS[name]
    change(tampered, tmp_path)
    found = verify(tampered.write(tmp_path / "tampered.tar.gz"))
    assert not found.verified
    told = [fault for fault in found.faults if fault.id == id_]
    assert told, [(fault.id, str(fault)) for fault in found.faults]
    assert any(fault.where.startswith(where) and message in fault.message for fault in told), list(map(str, told))


def test_the_hand_that_manipulates_leaves_no_trace_by_itself(tampered: Any, tmp_path: Path) -> None:
    """Unpacked, chained anew and packed again, nothing is found: what is found otherwise is the manipulation."""
    tampered.journal(lambda entries: None)
    for trial in range(4):
        tampered.spec(trial, lambda spec: None)
    tampered.restate(tmp_path / "restated")
    found = verify(tampered.write(tmp_path / "again.tar.gz"))
    assert list(map(str, found.faults)) == []


def test_tables_of_an_earlier_version_lack_its_later_columns(tampered: Any, tmp_path: Path) -> None:
    for name, columns in LATER_COLUMNS.items():
        _without(name, *columns)(tampered, tmp_path)
    assert b"energy_joules" not in tampered.files["result.csv"]
    found = verify(tampered.write(tmp_path / "earlier.tar.gz"))
    assert list(map(str, found.faults)) == []


def test_each_kind_of_fault_has_its_own_message() -> None:
    kinds: dict[str, set[str]] = {}
    for _, id_, _, message in MANIPULATIONS.values():
        kinds.setdefault(id_, set()).add(message)
    assert len(MANIPULATIONS) >= 30
    assert len(kinds) >= 30


def test_several_faults_are_all_told(tampered: Any, tmp_path: Path) -> None:
    _cell("result.csv", 2, "score", "1.0")(tampered, tmp_path)
    tampered.files.pop("trials/00002.json")
    tampered.events("00000-1.0.jsonl", lambda lines: lines[2].update(ops=1))
    found = verify(tampered.write(tmp_path / "tampered.tar.gz"))
    assert {"table.result", "trial.missing", "epoch.operations"} <= {fault.id for fault in found.faults}


def test_faults_beyond_what_anyone_reads_are_counted(tampered: Any, tmp_path: Path) -> None:
    tampered.files |= {f"jobs/{number:05d}-1/job.sh": b"" for number in range(100, 500)}
    tampered.hashed = False
    found = verify(tampered.write(tmp_path / "tampered.tar.gz"))
    assert len(found.faults) == 200
    assert found.more_faults >= 200


# the form of the archive


def _entry(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), link
    return info, data


@pytest.mark.parametrize(
    ("entry", "id_", "message"),
    [
        (_entry("../evil"), "package.path", "outside the package's one folder"),
        (_entry("TOP/../../evil"), "package.path", "leads out of the package"),
        (_entry("/etc/passwd"), "package.path", "outside the package's one folder"),
        (_entry("other/result.csv"), "package.path", "outside the package's one folder"),
        (_entry("TOP/result.csv"), "package.path", "stands twice"),
        (_entry("TOP/link.json", tarfile.SYMTYPE, link="/etc/passwd"), "package.kind", "a symbolic link"),
        (_entry("TOP/link.json", tarfile.LNKTYPE, link="TOP/result.csv"), "package.kind", "a hard link"),
        (_entry("TOP/device", tarfile.CHRTYPE), "package.kind", "a device"),
        (_entry("TOP/pipe", tarfile.FIFOTYPE), "package.kind", "a pipe"),
        (_entry("TOP/trials", tarfile.DIRTYPE), "package.kind", "a directory"),
        (_entry("TOP/weights/00000.safetensors"), "package.name", "no package has a file of this name"),
        (_entry("TOP/jobs/00000-1/log"), "package.name", "no package has a file of this name"),
        (_entry("TOP/trials/00099.json", data=bytes(5 << 20)), "package.size", "more than such a file can have"),
    ],
)
def test_an_entry_that_no_package_has(
    tampered: Any, tmp_path: Path, entry: tuple[tarfile.TarInfo, bytes], id_: str, message: str
) -> None:
    info, data = entry
    info = tarfile.TarInfo.frombuf(info.tobuf(tarfile.USTAR_FORMAT), "utf-8", "strict")
    info.name, info.linkname = (text.replace("TOP", tampered.top) for text in (info.name, info.linkname))
    found = verify(tampered.write(tmp_path / "tampered.tar.gz", (info, data)))
    assert [fault.id for fault in found.faults] == [id_]
    assert message in found.faults[0].message
    assert found.result_row is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tampered.tar.gz"]


def _compressed(data: bytes) -> bytes:
    return gzip.compress(data, 1)


@pytest.mark.parametrize(
    ("spoil", "id_", "message"),
    [
        (lambda data: b"", "package.format", "cut off"),
        (lambda data: b"hello", "package.format", "not gzip-compressed"),
        (lambda data: data[: len(data) // 2], "package.format", "cut off"),
        (lambda data: data + b"more", "package.format", "more after the compressed archive's end"),
        (lambda data: _compressed(gzip.decompress(data) + b"more"), "package.format", "more after the archive's end"),
        (lambda data: _compressed(gzip.decompress(data)[:2000]), "package.format", "not whole"),
        (lambda data: _compressed(b"x" * 512 + gzip.decompress(data)), "package.format", "damaged here"),
        (lambda data: _compressed(bytes(10240)), "manifest.missing", "no manifest"),
        (lambda data: _compressed(bytes(3 << 20)), "package.size", "decompresses to more than"),
    ],
)
def test_an_archive_that_is_none(
    true_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, id_: str, message: str
) -> None:
    monkeypatch.setattr(reading, "_FREE_BYTES", 1 << 20)  # three megabytes of zeros are a bomb then
    path = tmp_path / "spoilt.tar.gz"
    path.write_bytes(spoil(true_package.read_bytes()))
    found = verify(path)
    assert [fault.id for fault in found.faults] == [id_]
    assert message in found.faults[0].message


def test_a_bomb_is_not_unpacked(tampered: Any, tmp_path: Path) -> None:
    """A gigabyte of zeros, a megabyte small: reading ends at the first of the bounds, long before memory does."""
    info = tarfile.TarInfo(f"{tampered.top}/series.csv")
    info.size = 1 << 30
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(16):
            file.write(bytes(1 << 20))
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(stream.getvalue())
    found = verify(path)
    assert [fault.id for fault in found.faults] == ["package.size"]


def test_a_name_of_control_characters_cannot_reach_the_terminal(tampered: Any, tmp_path: Path) -> None:
    entry = _entry(f"{tampered.top}/\x1b[2J\u202e.json")
    found = verify(tampered.write(tmp_path / "tampered.tar.gz", entry))
    assert not found.verified
    assert all(str(fault).isprintable() for fault in found.faults)
    assert hashlib.sha256((tmp_path / "tampered.tar.gz").read_bytes()).hexdigest()
