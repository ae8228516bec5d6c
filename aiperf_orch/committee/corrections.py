"""Corrections: a signer's last package of a campaign counts in place of earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiperf_orch.committee.entries import COMPARED, RankingEntry, Status, named


def apply_corrections(entries: Sequence[RankingEntry]) -> list[RankingEntry]:
    """Mark the entries that a later one of the same signer and the same campaign corrects or equals.

    Without a signature nothing shows that a file is the site's own correction: unsigned files correct nothing.

    Args:
        entries: in the order in which the files were received.

    Returns:
        The entries in the same order.
    """
    resolved = []
    for position, entry in enumerate(entries):
        later = [other for other in entries[position + 1 :] if _are_versions(entry, other)]
        earlier = [other for other in entries[:position] if _are_versions(entry, other) and not entry.equals(other)]
        if later:
            resolved.append(_superseded(entry, later[-1]))
        else:
            resolved.append(entry.noted(f"corrects {named(earlier)}") if earlier else entry)
    return resolved


def _are_versions(entry: RankingEntry, other: RankingEntry) -> bool:
    both_verified = entry.status in COMPARED and other.status in COMPARED
    return both_verified and entry.is_signed_as(other) and entry.is_of_campaign(other)


def _superseded(entry: RankingEntry, counted: RankingEntry) -> RankingEntry:
    if entry.equals(counted):
        return replace(entry, status=Status.DUPLICATE).noted(f"equals {counted.name}")
    return replace(entry, status=Status.CORRECTED).noted(f"{counted.name} of the same signer counts instead")
