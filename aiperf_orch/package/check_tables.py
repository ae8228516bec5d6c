"""Check of the derived files of a package: tables, manifest, system description, and the texts in them."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from aiperf_orch.campaign.format_versions import package_format
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.findings import Faults
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.reading import MANIFEST, SYSTEM, Package
from aiperf_orch.package.system_json import best_weights, system_description
from aiperf_orch.results.rules import rules_of
from aiperf_orch.results.tables import LATER_COLUMNS, leaderboard_rows, result_row, series_rows
from aiperf_orch.settings.base import HTML_TAG
from aiperf_orch.util import strict_json

_TOLERANCE: Final = 1e-12  # relative; the logarithm of another machine may differ
_DECIMAL: Final = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,40})?(e[-+][0-9]{1,3})?")
"""A number as tables have it: `float` also reads other alphabets' digits, underscores and spaces."""
_NUMBER: Final = re.compile(r"[-+]?[0-9][0-9.e+-]*")
_MARKUP: Final = re.compile(r"[<>\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that no name of a host, device or job has."""


def check_manifest(package: Package, faults: Faults) -> dict[str, Any]:
    """Check the manifest against the files of the package. Returns the manifest; empty when it cannot be read."""
    try:
        manifest = strict_json.loads((package.folder / MANIFEST).read_bytes())
    except ValueError:
        return {}  # reported when the package was opened
    stated = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(stated, dict) or manifest.get("format") != package_format():
        faults.add("manifest.format", MANIFEST, f'must have "format": "{package_format()}" and list "files"')
        return {}
    present = package.hashes.keys() - {MANIFEST}
    for name in sorted(stated.keys() - present):
        faults.add("manifest.missing", name, "is in the manifest, and not in the package")
    for name in sorted(present - stated.keys()):
        faults.add("manifest.unlisted", name, "is in the package, and not in the manifest")
    for name in sorted(present & stated.keys()):
        if package.hashes[name] != stated[name]:
            faults.add("manifest.hash", name, "is not the file that the manifest lists: its SHA-256 differs")
    return dict(manifest)


def check_tables(index: PackageIndex, manifest: Mapping[str, Any]) -> None:
    """Compare derived files with the results of recomputing them from the records."""
    accounting, rules = MEMBERS.accounting.name, rules_of(index.result)
    for name, rows in (
        (MEMBERS.result.name, [result_row(index.result)]),
        (MEMBERS.leaderboard.name, leaderboard_rows(index.result)),
        (MEMBERS.series.name, series_rows(index.result)),
    ):
        _check_table(index, name, rows)
    for key, expected in (
        ("campaign", index.directory.config.tag),
        ("rules", {"version": rules.version, "sha256": rules.sha256}),
        ("best_weights", best_weights(index.result)),
        ("accounting", accounting if accounting in index.package.hashes else None),
    ):
        if manifest and manifest.get(key) != expected:
            why = f"{key}: {manifest.get(key)!r:.90} stated; by the records it is {expected!r:.90}"
            index.faults.add("manifest.contents", MANIFEST, why)
    _check_system_description(index)
    for where, what, name in _names(index):
        # descriptions of the system may contain "NVLink > 600 GB/s"; only HTML tags are a danger to a careless page
        if (HTML_TAG if what.startswith("system.") else _MARKUP).search(name):
            index.faults.add(
                "name.markup",
                where,
                f"{what}: {name!r:.60} contains characters that a page could interpret as a script",
            )


def _check_system_description(index: PackageIndex) -> None:
    file = index.package.folder / SYSTEM
    try:
        stated = strict_json.loads(file.read_bytes())
    except FileNotFoundError:
        index.faults.add("system.missing", file.name, "the package has no system description")
    except ValueError:
        return  # reported when the package was opened
    else:
        if stated != system_description(index.result):
            index.faults.add("system.contents", file.name, "does not follow from the settings and the begin lines")


def _names(index: PackageIndex) -> Iterator[tuple[str, str, str]]:
    """Location, kind and text of each name from outside the program that appears in tables and reports."""
    for key, value in index.directory.settings.system.model_dump(exclude_none=True).items():
        yield str(MEMBERS.config_file), f"system.{key}", str(value)
    for records in index.trials:
        for begin in records.begins:
            where = str(MEMBERS.events(begin.trial, begin.attempt, begin.run))
            for what, name in (
                ("job", begin.job),
                ("device", begin.device),
                *(("hosts", host) for host in begin.hosts),
            ):
                yield where, what, name


def _check_table(index: PackageIndex, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    faults, file = index.faults, index.package.folder / name
    kind = f"table.{file.stem}"
    if name not in index.package.hashes:
        faults.add("table.missing", name, "the package has no such table")
        return
    try:
        reader = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")), strict=True)
        stated, columns = list(reader), list(reader.fieldnames or ())
    except (ValueError, csv.Error) as error:
        faults.add("table.format", name, f"cannot be read as CSV: {error}")
        return
    twice = next((column for column, number in Counter(columns).items() if number > 1), None)
    if twice is not None:
        faults.add("table.format", f"{name}:1", f"the column {twice!r:.60} occurs twice")
        return
    if len(stated) != len(rows):
        faults.add(kind, name, f"has {len(stated)} rows; by the records there are {len(rows)}")
    for line, (row, expected) in enumerate(zip(stated, rows, strict=False), start=2):
        where = f"{name}:{line}"
        for cell in row.values():
            if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not _NUMBER.fullmatch(cell):
                faults.add("table.formula", where, f"{cell[:60]!r} would be a formula in a spreadsheet")
        missing = set(expected) - set(row)
        if not set(row) <= set(expected) or missing not in LATER_COLUMNS[name]:
            faults.add("table.format", where, "its columns are not those of this table")
            continue
        for column, value in expected.items():
            if column not in missing and not _agrees(row[column], value):
                why = f"{column}: {row[column]!r:.90} stated; by the records it is {value!r:.90}"
                faults.add(kind, where, why)


def _agrees(text: object, value: Any) -> bool:
    if not isinstance(value, float):
        return text == ("" if value is None else str(value))
    return _DECIMAL.fullmatch(str(text)) is not None and math.isclose(float(str(text)), value, rel_tol=_TOLERANCE)
