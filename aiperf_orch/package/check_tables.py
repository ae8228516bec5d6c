"""Check of the derived files of a package: tables, manifest, system description, and the texts in them."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Final

from pydantic import ValidationError

from aiperf_orch.campaign.format_versions import (
    NEWER_VERSION,
    PACKAGE,
    explain_newer,
    format_of_package,
    package_format,
    writer_in,
)
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.findings import Faults
from aiperf_orch.package.manifest import Manifest
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.reading import MANIFEST, SYSTEM, Package
from aiperf_orch.package.system_json import best_weights, system_description
from aiperf_orch.records.base import first_error
from aiperf_orch.results.rules import rules_of
from aiperf_orch.results.tables import (
    LATER_COLUMNS,
    LEADERBOARD_COLUMNS,
    NODES_COLUMNS,
    RESULT_COLUMNS,
    SERIES_COLUMNS,
    leaderboard_rows,
    node_rows,
    result_row,
    series_rows,
)
from aiperf_orch.settings.base import HTML_TAG
from aiperf_orch.util import strict_json
from aiperf_orch.util.number_cells import is_decimal

_TOLERANCE: Final = 1e-12  # relative; the logarithm of another machine may differ
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
    if not isinstance(stated, dict) or manifest.get("format") not in map(package_format, PACKAGE.since):
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
    try:
        Manifest.model_validate(manifest, strict=True)
    except ValidationError as error:
        fault = first_error(error)
        newer = explain_newer(PACKAGE, None, writer_in(manifest.get("versions")), fault)
        faults.add(NEWER_VERSION if newer else "manifest.format", MANIFEST, newer or fault)
    return dict(manifest)


def check_tables(index: PackageIndex, manifest: Mapping[str, Any]) -> None:
    """Compare derived files with the results of recomputing them from the records."""
    accounting, rules = MEMBERS.accounting.name, rules_of(index.result)
    form = format_of_package(manifest.get("format")) or PACKAGE.version
    for name, columns, rows in (
        (MEMBERS.result.name, RESULT_COLUMNS, [result_row(index.result)]),
        (MEMBERS.leaderboard.name, LEADERBOARD_COLUMNS, leaderboard_rows(index.result)),
        (MEMBERS.series.name, SERIES_COLUMNS, series_rows(index.result)),
        (MEMBERS.nodes.name, NODES_COLUMNS, node_rows(index.result)),
    ):
        if form == 1 and name == MEMBERS.nodes.name and name not in index.package.hashes:
            continue  # versions of that format do not write it
        _check_table(index, name, columns, rows, form)
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


def _check_table(
    index: PackageIndex, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], form: int
) -> None:
    """Check a table.

    Args:
        index: of the package.
        name: of the table's file.
        columns: its columns in the newest format.
        rows: recomputed from the records.
        form: version of the package's format.
    """
    faults, file = index.faults, index.package.folder / name
    kind = f"table.{file.stem}"
    if name not in index.package.hashes:
        faults.add("table.missing", name, "the package has no such table")
        return
    try:
        lines = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        faults.add("table.format", name, f"cannot be read as CSV: {error}")
        return
    header, stated = (lines or [[]])[0], lines[1:]
    fault = _column_fault(header, columns, LATER_COLUMNS[name] if form == 1 else (frozenset[str](),))
    if fault is not None:
        faults.add("table.format", f"{name}:1", fault)
        return
    if len(stated) != len(rows):
        faults.add(kind, name, f"has {len(stated)} rows; by the records there are {len(rows)}")
    for line, (row, expected) in enumerate(zip(stated, rows, strict=False), start=2):
        where = f"{name}:{line}"
        if len(row) != len(header):
            faults.add("table.format", where, f"has {len(row)} cells, and the table has {len(header)} columns")
            continue
        for cell in row:
            if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not _NUMBER.fullmatch(cell):
                faults.add("table.formula", where, f"{cell[:60]!r} would be a formula in a spreadsheet")
        for column, cell in zip(header, row, strict=True):
            if not _agrees(cell, expected[column]):
                faults.add(kind, where, f"{column}: {cell!r:.90} stated; by the records it is {expected[column]!r:.90}")


def _column_fault(header: Sequence[str], columns: Sequence[str], later: Sequence[Set[str]]) -> str | None:
    """Why the columns are not those of the table, in their order; None if they are."""
    twice = next((column for column, number in Counter(header).items() if number > 1), None)
    if twice is not None:
        return f"the column {twice!r:.60} occurs twice"
    if any(list(header) == [column for column in columns if column not in missing] for missing in later):
        return None
    if set(header) == set(columns):
        return "its columns are not in the order of this table"
    return "its columns are not those of this table"


def _agrees(cell: str, value: Any) -> bool:
    if not isinstance(value, float):
        return cell == ("" if value is None else str(value))
    return is_decimal(cell) and math.isclose(float(cell), value, rel_tol=_TOLERANCE)
