"""Entries of a ranking: one for each submitted file, with the status that it has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from aiperf_orch.committee.measurements import Measurements
from aiperf_orch.committee.submission import Submission
from aiperf_orch.util.text import visible

_MOST_NAMED: Final = 3


class Status(str, Enum):
    """Result of ranking one submission."""

    RANKED = "ranked"
    NOT_RANKABLE = "not rankable"
    UNSIGNED = "unsigned"
    UNVERIFIED = "unverified"
    DUPLICATE = "duplicate"
    CORRECTED = "corrected"
    WITHDRAWN = "withdrawn"
    FAULTY = "faulty"
    UNREADABLE = "unreadable"
    NEWER_VERSION = "newer version"
    NOT_CHECKED = "not checked"


COMPARED: Final = frozenset({Status.RANKED, Status.NOT_RANKABLE, Status.UNSIGNED})
"""Statuses of verified packages, which are compared with one another."""


@dataclass(frozen=True, eq=False)
class RankingEntry:
    """One submission in a ranking.

    Attributes:
        submission: the file.
        status: its status.
        place: None for submissions that are not ranked; equal scores share a place.
        notes: what a reader should know of it.
        is_disputed: whether another file of the same campaign stands beside it.
    """

    submission: Submission
    status: Status
    place: int | None = None
    notes: tuple[str, ...] = ()
    is_disputed: bool = False

    @property
    def score(self) -> float:
        """Score of the submission; 0 when it cannot be read."""
        return self.submission.row.score if self.submission.row else 0.0

    @property
    def note(self) -> str:
        """All notes as one line."""
        return "; ".join(self.notes)

    @property
    def name(self) -> str:
        """Path of the file, without unprintable characters."""
        return visible(str(self.submission.path))

    @property
    def epochs(self) -> Measurements | None:
        """Measurements of its epochs; None without records."""
        return self.submission.records.epochs if self.submission.records else None

    def noted(self, note: str) -> RankingEntry:
        """The entry with one more note."""
        return replace(self, notes=(*self.notes, note))

    def is_signed_as(self, other: RankingEntry) -> bool:
        """Whether one signer signed both."""
        return self.submission.signed_by is not None and self.submission.signed_by == other.submission.signed_by

    def is_of_campaign(self, other: RankingEntry) -> bool:
        """Whether both are of one campaign: by the settings' hash, or by the commitment, which pseudonyms keep."""
        mine, others = self.submission, other.submission
        if mine.row and others.row and mine.row.settings_sha256 == others.row.settings_sha256:
            return True
        commitment = mine.records.commitment if mine.records else None
        return bool(commitment and others.records and commitment == others.records.commitment)

    def equals(self, other: RankingEntry) -> bool:
        """Whether both are of one campaign, with the same result and the same epochs."""
        if not self.is_of_campaign(other) or self.submission.row != other.submission.row:
            return False
        if self.epochs is None or other.epochs is None:
            return True
        return self.epochs.sha256 == other.epochs.sha256

    def repeats(self, other: RankingEntry) -> bool:
        """Whether its epochs are those of the other one, all or a considerable part."""
        return self.epochs is not None and other.epochs is not None and self.epochs.repeats(other.epochs)


def named(entries: list[RankingEntry]) -> str:
    """Names of entries for a note, the first ones only: a flood of files does not flood the note."""
    names = ", ".join(entry.name for entry in entries[:_MOST_NAMED])
    more = len(entries) - _MOST_NAMED
    return names if more <= 0 else f"{names} and {more} more"
