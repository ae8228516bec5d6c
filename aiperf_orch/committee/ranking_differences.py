"""Differences of a ranking to the one before it, by the rows of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from aiperf_orch.committee.entries import COMPARED, Status
from aiperf_orch.committee.ranking_rows import NOT_SENT
from aiperf_orch.util.units import format_ops

_COUNTED: Final = frozenset(status.value for status in COMPARED)
_TOLERANCE: Final = 1e-9  # relative; the sums of another version or machine may differ


class Kind(str, Enum):
    """Kind of a difference."""

    NEW = "new"
    CORRECTED = "corrected"
    CHANGED = "changed"
    GONE = "gone"


class ListedRow(BaseModel):
    """Columns of a row of `rank --format json` by which two rankings are compared."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    place: int | None
    division: str | None
    status: str
    signed_by: str | None
    system: str | None
    submitter: str | None
    score: float | None
    settings_sha256: str | None
    package_sha256: str | None
    commitment: str | None
    file: str | None


@dataclass(frozen=True)
class Difference:
    """One difference.

    Attributes:
        kind: its kind.
        row: the row in the present ranking, or that in the last one if it is gone.
        changes: what has changed, as texts such as `place 2 → 3`; empty for rows that are new or gone.
    """

    kind: Kind
    row: ListedRow
    changes: tuple[str, ...] = ()


def rows_to_compare(rows: Iterable[Mapping[str, Any]]) -> list[ListedRow]:
    """The rows of files; announced campaigns that were not sent are left out.

    Raises:
        ValueError: A row has not the columns of a ranking.
    """
    return [row for row in map(ListedRow.model_validate, rows) if row.status != NOT_SENT]


def differences(last: Sequence[ListedRow], present: Sequence[ListedRow]) -> list[Difference]:
    """Differences of the present ranking to the last one.

    A package is recognised by its SHA-256, under any file name; any other file, and a package that one of the two
    rankings could not read, by its name. A package that counts in place of another one of the same campaign and signer
    is a correction of it: the other one is then not listed by itself.

    Returns:
        New rows, corrections and changes in the order of the present ranking, then rows that are gone.
    """
    pairs, gone, new = _paired(last, present)
    replaced = [*gone, *(old for old, row in pairs if row.status == Status.CORRECTED.value)]
    corrected: dict[int, ListedRow] = {}
    for row in new:
        before = next((old for old in replaced if _is_corrected(old, row)), None)
        if before is not None:
            corrected[id(row)] = before
    explained = {id(old) for old in corrected.values()}
    before_of = {id(row): old for old, row in pairs}
    found = []
    for row in present:
        if id(row) in corrected:
            found.append(Difference(Kind.CORRECTED, row, _changes(corrected[id(row)], row)))
        elif id(row) not in before_of:
            found.append(Difference(Kind.NEW, row))
        elif id(before_of[id(row)]) not in explained and (changes := _changes(before_of[id(row)], row)):
            found.append(Difference(Kind.CHANGED, row, changes))
    return found + [Difference(Kind.GONE, old) for old in gone if id(old) not in explained]


def _paired(
    last: Sequence[ListedRow], present: Sequence[ListedRow]
) -> tuple[list[tuple[ListedRow, ListedRow]], list[ListedRow], list[ListedRow]]:
    """Pairs of rows of one file, the rows of the last ranking only, and those of the present one only."""
    pairs, gone, new = _matched(last, present, lambda row: (row.package_sha256, row.file))
    renamed, gone, new = _matched(gone, new, lambda row: row.package_sha256)
    unread = {row.file for row in (*gone, *new) if row.package_sha256 is None}
    read, gone, new = _matched(gone, new, lambda row: row.file if row.file in unread else None)
    return [*pairs, *renamed, *read], gone, new


def _matched(
    last: Sequence[ListedRow], present: Sequence[ListedRow], key: Callable[[ListedRow], Hashable]
) -> tuple[list[tuple[ListedRow, ListedRow]], list[ListedRow], list[ListedRow]]:
    """Pairs of rows with one key, each row once and in order, and what remains of both; None is no key."""
    waiting: dict[Hashable, list[ListedRow]] = {}
    for old in last:
        if (name := key(old)) is not None:
            waiting.setdefault(name, []).append(old)
    pairs, new = [], []
    for row in present:
        name = key(row)
        if name is not None and (same := waiting.get(name)):
            pairs.append((same.pop(0), row))
        else:
            new.append(row)
    matched = {id(old) for old, _ in pairs}
    return pairs, [old for old in last if id(old) not in matched], new


def _is_corrected(old: ListedRow, row: ListedRow) -> bool:
    """Whether a row counts in place of one that counted: both are of one campaign and one signer."""
    if old.status not in _COUNTED or row.status not in _COUNTED or row.signed_by is None:
        return False
    campaigns = ((old.settings_sha256, row.settings_sha256), (old.commitment, row.commitment))
    return old.signed_by == row.signed_by and any(one is not None and one == other for one, other in campaigns)


def _changes(old: ListedRow, row: ListedRow) -> tuple[str, ...]:
    """Texts for a reader: what differs between two rows of one campaign."""
    changes = []
    if old.status != row.status:
        changes.append(f"{old.status} → {row.status}")
    if old.division != row.division and old.division and row.division:
        changes.append(f"{old.division} → {row.division}")
    if old.place != row.place and old.place and row.place:
        changes.append(f"place {old.place} → {row.place}")
    if old.score is not None and row.score is not None and not math.isclose(old.score, row.score, rel_tol=_TOLERANCE):
        changes.append(f"{format_ops(old.score)} → {format_ops(row.score)}")
    return tuple(changes)
