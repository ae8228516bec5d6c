"""Sections of a ranking, in the order in which the text and the pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from aiperf_orch.committee.entries import RankingEntry, Status
from aiperf_orch.committee.ranking import division

_WITHOUT_PLACE: Final = {
    Status.NOT_RANKABLE: "Without a place: rules are missed",
    Status.UNSIGNED: "Without a place: no signature by one of the signers",
    Status.UNVERIFIED: "Without a place: result.csv files, whose numbers cannot be verified",
}
_NOT_COUNTED: Final = (Status.DUPLICATE, Status.CORRECTED, Status.WITHDRAWN)


@dataclass(frozen=True, eq=False)
class Section:
    """Entries under one title, in the order of the ranking."""

    title: str
    entries: list[RankingEntry]


def divisions_of(entries: Sequence[RankingEntry]) -> list[Section]:
    """One section for each division with the entries that have a place; no section where none has one."""
    ranked = [entry for entry in entries if entry.status is Status.RANKED]
    return [Section(str(key), list(group)) for key, group in groupby(ranked, key=division)]


def without_place(entries: Sequence[RankingEntry]) -> list[Section]:
    """Results that are shown with their scores, and have no place: one section for each reason that occurs."""
    sections = [
        Section(title, [entry for entry in entries if entry.status is status])
        for status, title in _WITHOUT_PLACE.items()
    ]
    return [section for section in sections if section.entries]


def other_files(entries: Sequence[RankingEntry]) -> list[Section]:
    """Files that are neither: those that are not counted and those that are not trusted."""
    not_counted = [entry for entry in entries if entry.status in _NOT_COUNTED]
    shown = {Status.RANKED, *_WITHOUT_PLACE, *_NOT_COUNTED}
    not_trusted = [entry for entry in entries if entry.status not in shown]
    sections = [Section("Not counted", not_counted), Section("Not trusted", not_trusted)]
    return [section for section in sections if section.entries]
