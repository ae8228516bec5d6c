"""Ranking of submissions by score, with the reason for each submission that has no place.

Places are for verified packages, within their division. Files are read in `submission`; the steps of a ranking are in
`withdrawals`, `corrections` and `duplicates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Final

from aiperf_orch.committee.commitments import Announcement, came_after
from aiperf_orch.committee.corrections import apply_corrections
from aiperf_orch.committee.divisions import Division, division_of, reason_for_none
from aiperf_orch.committee.duplicates import mark_duplicates
from aiperf_orch.committee.entries import COMPARED, RankingEntry, Status, named
from aiperf_orch.committee.submission import Submission
from aiperf_orch.committee.withdrawals import Withdrawal, withdraw

_BY_SCORE: Final = (Status.NOT_RANKABLE, Status.UNSIGNED, Status.UNVERIFIED)


def rank(
    submissions: Sequence[Submission],
    withdrawn: Mapping[str, Withdrawal],
    announced: Mapping[str, Announcement] | None = None,
) -> list[RankingEntry]:
    """Rank submissions.

    Args:
        submissions: in the order in which they were received.
        withdrawn: the list of withdrawn campaigns, by tag or SHA-256.
        announced: announced campaigns by commitment; None where it is unknown which were announced.

    Returns:
        Ranked submissions by division and place; then those that are not rankable, those without a signature and the
        result.csv files, each by score; then the others in their order.
    """
    received = withdraw([_evaluate(submission) for submission in submissions], withdrawn)
    entries = mark_duplicates(apply_corrections(received), received)
    entries = [_with_packages(entry, entries) for entry in entries]
    if announced is not None:
        entries = [_with_announcement(entry, announced) for entry in entries]
    return _placed(entries)


def division(entry: RankingEntry) -> Division | None:
    """The division of an entry; None for files that cannot be read."""
    return division_of(entry.submission.row) if entry.submission.row else None


def _evaluate(submission: Submission) -> RankingEntry:
    """The status of a submission without regard to the others."""
    row, fault = submission.row, submission.fault
    if submission.is_unchecked:
        return RankingEntry(submission, Status.NOT_CHECKED, notes=(fault or "",))
    if row is None:
        status = Status.NEWER_VERSION if submission.is_newer else Status.UNREADABLE
        return RankingEntry(submission, status, notes=(fault or submission.unsigned or "",))
    if fault:
        return RankingEntry(submission, Status.FAULTY, notes=(fault,))
    if submission.verified is None:
        return RankingEntry(submission, Status.UNVERIFIED)
    reason = reason_for_none(row)
    if submission.unsigned:
        notes = (submission.unsigned, reason) if reason else (submission.unsigned,)
        return RankingEntry(submission, Status.UNSIGNED, notes=notes)
    if reason:
        return RankingEntry(submission, Status.NOT_RANKABLE, notes=(reason,))
    return RankingEntry(submission, Status.RANKED)


def _with_packages(entry: RankingEntry, entries: Sequence[RankingEntry]) -> RankingEntry:
    """A result.csv with a note of the verified packages of its campaign."""
    if entry.status is not Status.UNVERIFIED:
        return entry
    packages = [other for other in entries if other.submission.verified and entry.is_of_campaign(other)]
    return entry.noted(f"{named(packages)} is the package of this campaign") if packages else entry


def _with_announcement(entry: RankingEntry, announced: Mapping[str, Announcement]) -> RankingEntry:
    if entry.status not in COMPARED:
        return entry
    records, row = entry.submission.records, entry.submission.row
    announcement = announced.get(records.commitment) if records and records.commitment else None
    if announcement is None:
        return entry.noted("its campaign was not announced")
    # whoever announces a campaign after it may have waited for its result
    begun = row.started[:10] if row and row.started else None
    if begun and came_after(announcement, date.fromisoformat(begun)):
        return entry.noted(f"its campaign was announced on {announcement.date}, after it began on {begun}")
    return entry


def _placed(entries: Sequence[RankingEntry]) -> list[RankingEntry]:
    """Entries in the order of the ranking, with places."""
    divisions: dict[Division, list[RankingEntry]] = {}
    for entry in entries:
        if entry.status is Status.RANKED and entry.submission.row:
            divisions.setdefault(division_of(entry.submission.row), []).append(entry)
    placed: list[RankingEntry] = []
    for key in sorted(divisions, key=lambda key: key.position):
        ranked = divisions[key]
        ranked.sort(key=lambda entry: -entry.score)
        places: dict[float, int] = {}
        for place, entry in enumerate(ranked, start=1):
            placed.append(replace(entry, place=places.setdefault(entry.score, place)))
    for status in _BY_SCORE:
        placed += sorted((entry for entry in entries if entry.status is status), key=lambda entry: -entry.score)
    return [*placed, *(entry for entry in entries if entry.status not in (Status.RANKED, *_BY_SCORE))]
