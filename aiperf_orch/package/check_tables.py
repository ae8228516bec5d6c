"""Checks what was computed from the records and packed beside them: tables, manifest, system description, names."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from aiperf_orch.campaign.format_versions import package_format
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.findings import Faults
from aiperf_orch.package.package_index import Evidence
from aiperf_orch.package.reading import MANIFEST, SYSTEM, Package
from aiperf_orch.package.system_json import best_weights, system_description
from aiperf_orch.results import rules
from aiperf_orch.results.tables import LATER_COLUMNS, leaderboard_rows, result_row, series_rows
from aiperf_orch.settings.base import HTML_TAG
from aiperf_orch.util import strict_json

_TOLERANCE: Final = 1e-12  # of floats that another machine's logarithm computed
_NUMBER: Final = re.compile(r"[-+]?[0-9][0-9.e+-]*")
_MARKUP: Final = re.compile(r"[<>\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What no host, device or job has in its name."""


def check_manifest(package: Package, faults: Faults) -> dict[str, Any]:
    """Hold the manifest to the files that are there; returns it, empty when it cannot be read."""
    try:
        manifest = strict_json.loads((package.folder / MANIFEST).read_bytes())
    except ValueError:
        return {}  # its reader has told
    stated = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(stated, dict) or manifest.get("format") != package_format():
        faults.add("manifest.format", MANIFEST, f'must say "format": "{package_format()}" and list "files"')
        return {}
    present = package.hashes.keys() - {MANIFEST}
    for name in sorted(stated.keys() - present):
        faults.add("manifest.missing", name, "stands in the manifest, and is not in the package")
    for name in sorted(present - stated.keys()):
        faults.add("manifest.unlisted", name, "is in the package, and does not stand in the manifest")
    for name in sorted(present & stated.keys()):
        if package.hashes[name] != stated[name]:
            faults.add("manifest.hash", name, "is not the file that the manifest lists: its SHA-256 differs")
    return dict(manifest)


def check_tables(evidence: Evidence, manifest: Mapping[str, Any]) -> None:
    """Compare all that was computed with what the records give."""
    accounting = MEMBERS.accounting.name
    for name, rows in (
        (MEMBERS.result.name, [result_row(evidence.result)]),
        (MEMBERS.leaderboard.name, leaderboard_rows(evidence.result)),
        (MEMBERS.series.name, series_rows(evidence.result)),
    ):
        _check_table(evidence, name, rows)
    for key, ours in (
        ("campaign", evidence.directory.config.tag),
        ("rules", {"version": rules.VERSION, "sha256": rules.RULE_SET.sha256}),
        ("best_weights", best_weights(evidence.result)),
        ("accounting", accounting if accounting in evidence.package.hashes else None),
    ):
        if manifest and manifest.get(key) != ours:
            why = f"{key}: {manifest.get(key)!r:.90} stated; by the records it is {ours!r:.90}"
            evidence.faults.add("manifest.contents", MANIFEST, why)
    _check_system_description(evidence)
    for where, what, name in _names(evidence):
        # of the system a person wrote prose, "NVLink > 600 GB/s": a page that escapes nothing takes only tags for more
        if (HTML_TAG if what.startswith("system.") else _MARKUP).search(name):
            evidence.faults.add("name.markup", where, f"{what}: {name!r:.60} holds what a page could take for a script")


def _check_system_description(evidence: Evidence) -> None:
    file = evidence.package.folder / SYSTEM
    try:
        stated = strict_json.loads(file.read_bytes())
    except FileNotFoundError:
        evidence.faults.add("system.missing", file.name, "the package has no system description")
    except ValueError:
        return  # its reader has told
    else:
        ours = system_description(evidence.result)
        if stated != ours:
            evidence.faults.add(
                "system.contents", file.name, "is not what the settings and the trials say of the system"
            )


def _names(evidence: Evidence) -> Iterator[tuple[str, str, str]]:
    """Every text that a person or an earlier program gave, and that ends up in tables and reports."""
    for key, value in evidence.directory.settings.system.model_dump(exclude_none=True).items():
        yield str(MEMBERS.config_file), f"system.{key}", str(value)
    for records in evidence.trials:
        for begin in records.begins:
            where = str(MEMBERS.events(begin.trial, begin.attempt, begin.run))
            for what, name in (
                ("job", begin.job),
                ("device", begin.device),
                *(("hosts", host) for host in begin.hosts),
            ):
                yield where, what, name


def _check_table(evidence: Evidence, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    faults, file = evidence.faults, evidence.package.folder / name
    kind = f"table.{file.stem}"
    if name not in evidence.package.hashes:
        faults.add("table.missing", name, "the package has no such table")
        return
    try:
        stated = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")), strict=True))
    except (ValueError, csv.Error) as error:
        faults.add("table.format", name, f"cannot be read as CSV: {error}")
        return
    if len(stated) != len(rows):
        faults.add(kind, name, f"has {len(stated)} rows; by the records there are {len(rows)}")
    for line, (theirs, ours) in enumerate(zip(stated, rows, strict=False), start=2):
        where = f"{name}:{line}"
        for cell in theirs.values():
            if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not _NUMBER.fullmatch(cell):
                faults.add("table.formula", where, f"{cell[:60]!r} would be a formula in a spreadsheet")
        missing = set(ours) - set(theirs)
        if not set(theirs) <= set(ours) or missing not in (set(), LATER_COLUMNS[name]):
            faults.add("table.format", where, "its columns are not those of this table")
            continue
        for column, value in ours.items():
            if column not in missing and not _agrees(theirs[column], value):
                why = f"{column}: {theirs[column]!r:.90} stated; by the records it is {value!r:.90}"
                faults.add(kind, where, why)


def _agrees(text: object, value: Any) -> bool:
    if not isinstance(value, float):
        return text == ("" if value is None else str(value))
    try:
        return math.isclose(float(str(text)), value, rel_tol=_TOLERANCE)
    except ValueError:
        return False
