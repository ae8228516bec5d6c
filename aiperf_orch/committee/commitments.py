"""Commitments that sites announced when their campaigns began, and the campaigns that were not sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from aiperf_orch.committee.text_lists import read_list
from aiperf_orch.util.text import visible

_COMMITMENT: Final = re.compile(r"[0-9a-f]{64}")
_LONGEST: Final = 200  # characters of a name


@dataclass(frozen=True)
class Announcement:
    """One announced campaign: its commitment, the site that announced it, and the date, as the committee noted them."""

    commitment: str
    site: str
    date: str


def read_commitments(path: Path) -> dict[str, Announcement]:
    """Read a list of announced campaigns: `COMMITMENT, SITE, YYYY-MM-DD` on each line.

    Returns:
        Commitment -> its announcement. A line that is not valid, or that repeats a commitment, is a warning.

    Raises:
        UsageError: The list cannot be read.
    """
    announced: dict[str, Announcement] = {}

    def parse(text: str, _where: str) -> Announcement:
        announcement = _announcement(text)
        if announcement.commitment in announced:
            raise ValueError(f"{announcement.commitment} is listed twice")
        announced[announcement.commitment] = announcement
        return announcement

    read_list(path, parse)
    return announced


def came_after(announcement: Announcement, day: date) -> bool:
    """Whether an announcement came later than a day in UTC, by more than the time zone of a committee can explain."""
    return date.fromisoformat(announcement.date) > day + timedelta(days=1)


def not_sent(announced: Iterable[Announcement], commitments: Sequence[str | None]) -> list[Announcement]:
    """The announced campaigns of which there is no package, in the order of the list.

    Args:
        announced: all announcements.
        commitments: those of the packages that were sent.
    """
    sent = set(commitments)
    return [announcement for announcement in announced if announcement.commitment not in sent]


def _announcement(text: str) -> Announcement:
    commitment, _, rest = text.partition(",")
    site, _, day = rest.rpartition(",")
    commitment, site, day = commitment.strip(), " ".join(site.split()), day.strip()
    if not _COMMITMENT.fullmatch(commitment) or not site:
        raise ValueError("a line has a commitment of 64 digits, a site and a date, with commas between them")
    try:
        date.fromisoformat(day)
    except ValueError:
        raise ValueError(f"{visible(day)!r:.40} is no date such as 2026-11-30") from None
    return Announcement(commitment, visible(site)[:_LONGEST], day)
