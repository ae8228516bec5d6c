"""Withdrawn campaigns: those that the committee's list names, and all later files with their epochs."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from aiperf_orch.committee.entries import COMPARED, RankingEntry, Status
from aiperf_orch.committee.text_lists import read_list
from aiperf_orch.util.text import visible

_log: Final = logging.getLogger(__name__)
_NAME: Final = re.compile(r"[a-z][a-z0-9]{4}|[0-9a-f]{64}")
_LONGEST_REASON: Final = 200  # characters


@dataclass(frozen=True)
class Withdrawal:
    """One line of the list: a tag or a SHA-256, the reason, and where the line stands."""

    name: str
    reason: str
    where: str


def read_withdrawals(path: Path) -> dict[str, Withdrawal]:
    """Read a list of withdrawn campaigns.

    Each line has the tag of a campaign, or one of the SHA-256 that `rank --format csv` shows (`settings_sha256`,
    `epochs_sha256`, `package_sha256`), followed by the reason; `#` begins a comment.

    Returns:
        Tag or SHA-256 -> its line. A line that is not valid, or that repeats a name, is a warning.

    Raises:
        UsageError: The list cannot be read.
    """
    withdrawn: dict[str, Withdrawal] = {}

    def parse(text: str, where: str) -> Withdrawal:
        name, _, reason = " ".join(text.replace(",", " ", 1).split()).partition(" ")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{visible(name)!r:.80} is neither the tag of a campaign nor a SHA-256")
        if name in withdrawn:
            raise ValueError(f"{name!r} is listed twice")
        withdrawn[name] = Withdrawal(name, visible(reason)[:_LONGEST_REASON], where)
        return withdrawn[name]

    read_list(path, parse)
    return withdrawn


def withdraw(entries: Sequence[RankingEntry], withdrawn: Mapping[str, Withdrawal]) -> list[RankingEntry]:
    """Mark withdrawn entries: those that the list names, and those with epochs of one that was given before.

    Epochs of a withdrawn entry that was given *later* are no reason: a copy that is withdrawn does not withdraw the
    original. A tag that campaigns of several sites have withdraws none of them, with a warning.

    Args:
        entries: in the order in which the files were received.
        withdrawn: the list.

    Returns:
        The entries in the same order.
    """
    ambiguous = {name for name in withdrawn if _is_ambiguous(name, entries)}
    for name in sorted(ambiguous):
        hashes = sorted(
            {entry.submission.row.settings_sha256 for entry in _tagged(name, entries) if entry.submission.row}
        )
        _log.warning(
            "%s: several campaigns have the tag %s, and none is withdrawn: name one by its settings_sha256 (%s)",
            withdrawn[name].where,
            name,
            ", ".join(hashes[:3]) + (" …" if len(hashes) > 3 else ""),
        )
    lines = [_line(entry, withdrawn, ambiguous) for entry in entries]
    effective = ambiguous | {line.name for line in lines if line}
    for name in (name for name in withdrawn if name not in effective):
        _log.warning("%s: none of the files is of %s", withdrawn[name].where, name)
    named = [position for position, line in enumerate(lines) if line]
    resolved = []
    for position, (entry, line) in enumerate(zip(entries, lines, strict=True)):
        if line:
            entry = replace(entry, status=Status.WITHDRAWN, notes=(line.reason,) if line.reason else ())
        elif entry.status in COMPARED:
            earlier = [entries[other] for other in named if other < position or entry.is_signed_as(entries[other])]
            copied = next((other for other in earlier if entry.repeats(other)), None)
            if copied:
                why = f"has the epochs of {copied.name}, which is withdrawn"
                entry = replace(entry, status=Status.WITHDRAWN).noted(why)
        resolved.append(entry)
    return resolved


def _line(entry: RankingEntry, withdrawn: Mapping[str, Withdrawal], ambiguous: set[str]) -> Withdrawal | None:
    """The line of the list that names an entry, if any."""
    row, records = entry.submission.row, entry.submission.records
    names = [row.settings_sha256, row.campaign] if row else []
    names += [records.epochs.sha256, records.sha256] if records else []
    return next((withdrawn[name] for name in names if name in withdrawn and name not in ambiguous), None)


def _is_ambiguous(tag: str, entries: Sequence[RankingEntry]) -> bool:
    """Whether verified packages of several sites have a tag. Copies of an earlier package's epochs are one with it."""
    distinct: list[RankingEntry] = []
    for entry in _tagged(tag, entries):
        if not any(_is_one(entry, other) for other in distinct):
            distinct.append(entry)
    return len(distinct) > 1


def _is_one(entry: RankingEntry, other: RankingEntry) -> bool:
    return entry.is_signed_as(other) or entry.is_of_campaign(other) or entry.repeats(other)


def _tagged(tag: str, entries: Sequence[RankingEntry]) -> list[RankingEntry]:
    return [
        entry
        for entry in entries
        if entry.status in COMPARED and entry.submission.row and entry.submission.row.campaign == tag
    ]
