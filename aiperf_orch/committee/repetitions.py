"""Campaigns that were repeated on one system: mean score, and its interval by Student's t-distribution."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiperf_orch.committee.entries import COMPARED, RankingEntry

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, eq=False)
class Repetition:
    """Repeated campaigns.

    Attributes:
        entries: two or more.
        mean: of their scores, in operations per second.
        low: lower end of the interval of the mean; may be negative.
        high: upper end.
    """

    entries: list[RankingEntry]
    mean: float
    low: float
    high: float


def repetitions_of(entries: Sequence[RankingEntry]) -> list[Repetition]:
    """Group verified campaigns of equal settings and system, whose seeds may differ.

    They are of one signer and one status. Entries of which another file of the same campaign stands are left out.

    Returns:
        Groups of two or more, by descending mean.
    """
    groups: dict[tuple[str, str | None, str, str], list[RankingEntry]] = {}
    for entry in entries:
        row, records = entry.submission.row, entry.submission.records
        if entry.status in COMPARED and row and records and not entry.is_disputed:
            key = (records.repetition, entry.submission.signed_by, entry.status.value, row.rules)
            groups.setdefault(key, []).append(entry)
    found = [_repetition(group) for group in groups.values() if len(group) > 1]
    return sorted(found, key=lambda repetition: -repetition.mean)


def _repetition(entries: list[RankingEntry]) -> Repetition:
    from scipy.special import stdtrit  # it takes longer to load than a small package to verify

    scores = [entry.score for entry in entries]
    mean, number = statistics.fmean(scores), len(scores)
    quantile = float(stdtrit(number - 1, (1 + CONFIDENCE) / 2))
    half = quantile * statistics.stdev(scores) / math.sqrt(number)
    return Repetition(entries, mean, mean - half, mean + half)
