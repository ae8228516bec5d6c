"""Duplicates: packages with the epochs of another one, and campaigns of which several packages stand.

The one that gave the epochs first stands; signed packages come before unsigned ones. What can be said of two packages
depends on both, so that none can displace another by what a third one holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiperf_orch.committee.entries import COMPARED, RankingEntry, Status, named


def mark_duplicates(entries: Sequence[RankingEntry], received: Sequence[RankingEntry]) -> list[RankingEntry]:
    """Mark duplicates, and note conflicts.

    Args:
        entries: in the order in which the files were received, after corrections.
        received: the same entries before corrections: what a signer's earlier versions gave.

    Returns:
        The entries in the same order.
    """
    verified = [position for position, entry in enumerate(entries) if entry.status in COMPARED]
    originals = {position: _originals(position, verified, entries, received) for position in verified}
    copies: dict[int, list[RankingEntry]] = {}
    for position, first in originals.items():
        if first:
            copies.setdefault(first[0], []).append(entries[position])
    resolved = list(entries)
    standing = [position for position in verified if not originals[position]]
    for position in verified:
        entry = entries[position]
        if originals[position]:
            original = entries[originals[position][0]]
            what = f"equals {original.name}" if entry.equals(original) else f"has the epochs of {original.name}"
            entry = replace(entry, status=Status.DUPLICATE).noted(f"{what}, which {_why_first(original, entry)}")
        else:
            entry = _with_conflicts(entry, [entries[other] for other in standing if other != position])
            if position in copies:
                entry = entry.noted(f"its epochs are also in {named(copies[position])}")
        resolved[position] = entry
    return resolved


def _originals(
    position: int, verified: Sequence[int], entries: Sequence[RankingEntry], received: Sequence[RankingEntry]
) -> list[int]:
    """Positions of the entries whose epochs an entry has, and which gave them before it did."""
    entry = entries[position]
    found = []
    for other in verified:
        if other == position or not _is_copy(entry, entries[other]):
            continue
        if _given(other, entry, entries, received) < _given(position, entries[other], entries, received):
            found.append(other)
    return sorted(found, key=lambda other: _order(other, entries[other]))


def _is_copy(entry: RankingEntry, other: RankingEntry) -> bool:
    if entry.equals(other):
        return True
    signed = entry.submission.signed_by is not None and other.submission.signed_by is not None
    if entry.is_of_campaign(other) and not signed:
        return False  # it may be the site's own correction: a conflict
    return entry.repeats(other)


def _given(
    position: int, other: RankingEntry, entries: Sequence[RankingEntry], received: Sequence[RankingEntry]
) -> tuple[bool, int]:
    """When the epochs that two entries have in common were first given by the signer of the one at `position`."""
    entry = entries[position]
    orders = [_order(position, entry)]
    for earlier, version in enumerate(received[:position]):
        if version.status not in COMPARED or not version.is_signed_as(entry) or not version.is_of_campaign(entry):
            continue
        if version.epochs and entry.epochs and other.epochs and version.epochs.holds_common(entry.epochs, other.epochs):
            orders.append(_order(earlier, version))
    return min(orders)


def _order(position: int, entry: RankingEntry) -> tuple[bool, int]:
    """Signed entries first, then by position."""
    return entry.submission.signed_by is None, position


def _why_first(original: RankingEntry, entry: RankingEntry) -> str:
    if original.submission.signed_by and not entry.submission.signed_by:
        return "is signed"
    return "was given first"


def _with_conflicts(entry: RankingEntry, others: Sequence[RankingEntry]) -> RankingEntry:
    """The entry with a note of other files of its campaign, and of those with the same losses at other times."""
    if entry.submission.signed_by:  # unsigned files say nothing about a signed one
        others = [other for other in others if other.submission.signed_by]
    rivals = [other for other in others if entry.is_of_campaign(other)]
    if rivals:
        why = "of the same campaign, and no common signer shows which one counts"
        verb = "is" if len(rivals) == 1 else "are"
        entry = replace(entry, is_disputed=True).noted(f"conflict: {named(rivals)} {verb} {why}")
    alike = [other for other in others if other not in rivals and _learned_alike(entry, other)]
    if alike:
        why = "a copy with other times, or the same seed on the same kind of machine"
        entry = entry.noted(f"has losses and errors of {named(alike)}: {why}")
    return entry


def _learned_alike(entry: RankingEntry, other: RankingEntry) -> bool:
    if entry.epochs is None or other.epochs is None:
        return False
    return entry.epochs.learned_as(other.epochs) or other.epochs.learned_as(entry.epochs)
