"""Verifies a package: that every number in it follows from its records, and that these are whole and consistent.

Two questions are answered apart. *Verified*: the records agree with one another and with every number that was
computed from them. *Rankable*: the rules of a ranked result are met. Neither proves that the records are true: whoever
can invent a whole campaign consistently is told only by a signature, by the queue's accounting, or by an audit.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from aiperf_orch import strict_json
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.errors import AiperfError
from aiperf_orch.results import rules
from aiperf_orch.results.faults import Fault, Faults
from aiperf_orch.results.package_reading import FORMAT, MANIFEST, Package, open_package
from aiperf_orch.results.result import Result, compute
from aiperf_orch.results.signature import check_signature
from aiperf_orch.results.tables import leaderboard_rows, result_row, series_rows

_TOLERANCE: Final = 1e-12  # of floats that another machine's logarithm computed


@dataclass(frozen=True)
class Verification:
    """What was found in a package.

    `faults` are listed up to a bound, `more_faults` were only counted. `result_row` is the row of result.csv, recomputed
    from the records; None when they cannot be read. `missed_rules` are ids, of the rules that `result_row` misses.
    `sha256` is of the package's file, None when it is no package; `signed_by` whose signature of it is valid, None
    when none was asked for.
    """

    faults: list[Fault]
    more_faults: int
    result_row: dict[str, Any] | None
    missed_rules: list[str]
    sha256: str | None
    signed_by: str | None = None

    @property
    def verified(self) -> bool:
        """Whether every number follows from the records."""
        return not self.faults

    @property
    def rankable(self) -> bool:
        """Whether the rules are met, by the recomputed row; a ranking asks for `verified` too."""
        return self.result_row is not None and not self.missed_rules


def verify(path: Path, signers: Path | None = None) -> Verification:
    """Verify a package. Never raises for what stands in the package: every fault of it is listed.

    Args:
        path: the package's file; a detached signature is looked for beside it, with `.sig` appended.
        signers: an `allowed_signers` file of ssh-keygen: asks for a valid signature by one of them.

    Raises:
        UsageError: when there is no such file, or ssh-keygen is wanted and missing.
        AiperfError: when there is no room to unpack it.
    """
    faults = Faults()
    with open_package(path, faults) as package:
        signed_by = check_signature(path, signers, faults) if signers else None
        if package is None:
            return Verification(faults.listed, faults.unlisted, None, [], None)
        _check_hashes(package, faults)
        result = _recompute(package, faults)
        row = None
        if result is not None:
            row = result_row(result)
            _check_tables(package, result, row, faults)
        missed = [] if result is None else [miss.rule.id for miss in rules.misses(result)]
        return Verification(faults.listed, faults.unlisted, row, missed, package.sha256, signed_by)


def _check_hashes(package: Package, faults: Faults) -> None:
    try:
        manifest = strict_json.loads((package.folder / MANIFEST).read_bytes())
    except ValueError:
        return  # its reader has told
    stated = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(stated, dict) or manifest.get("format") != FORMAT:
        faults.add("manifest.format", MANIFEST, f'must say "format": "{FORMAT}" and list "files"')
        return
    present = package.hashes.keys() - {MANIFEST}
    for name in sorted(stated.keys() - present):
        faults.add("manifest.missing", name, "stands in the manifest, and is not in the package")
    for name in sorted(present - stated.keys()):
        faults.add("manifest.unlisted", name, "is in the package, and does not stand in the manifest")
    for name in sorted(present & stated.keys()):
        if package.hashes[name] != stated[name]:
            faults.add("manifest.hash", name, "is not the file that the manifest lists: its SHA-256 differs")


def _recompute(package: Package, faults: Faults) -> Result | None:
    try:
        result = compute(CampaignDirectory.open(package.folder))
    except (AiperfError, OSError) as error:
        faults.add("records.unreadable", "the records", str(error).replace(f"{package.folder}/", ""))
        return None
    told = [fault.replace(f"{package.folder}/", "") for fault in result.faults]
    for fault in told:
        where, _, message = fault.partition(": ")
        faults.add("events.line", where, message)
    return replace(result, faults=told)


def _check_tables(package: Package, result: Result, row: dict[str, Any], faults: Faults) -> None:
    for name, rows in (
        ("result.csv", [row]),
        ("leaderboard.csv", leaderboard_rows(result)),
        ("series.csv", series_rows(result)),
    ):
        file = package.folder / name
        if not file.exists():
            faults.add("tables.missing", name, "the package has no such table")
            continue
        try:
            stated = list(csv.DictReader(io.StringIO(file.read_text()), strict=True))
        except (ValueError, csv.Error) as error:
            faults.add("tables.format", name, f"cannot be read as CSV: {error}")
            continue
        if len(stated) != len(rows):
            faults.add(f"tables.{file.stem}", name, f"has {len(stated)} rows; by the records there are {len(rows)}")
        for line, (theirs, ours) in enumerate(zip(stated, rows, strict=False), start=2):
            _compare(name, line, theirs, ours, faults)


def _compare(name: str, line: int, stated: Mapping[Any, Any], ours: Mapping[str, Any], faults: Faults) -> None:
    if set(stated) != set(ours):
        faults.add("tables.format", f"{name}:{line}", "its columns are not those of this table")
        return
    for column, value in ours.items():
        text = stated[column]
        if not _agrees(text, value):
            id_ = f"tables.{name.partition('.')[0]}"
            faults.add(id_, f"{name}:{line}", f"{column}: {text!r:.60} stated; by the records it is {value!r:.60}")


def _agrees(text: str, value: Any) -> bool:
    if not isinstance(value, float):
        return text == ("" if value is None else str(value))
    try:
        return math.isclose(float(text), value, rel_tol=_TOLERANCE)
    except ValueError:
        return False
