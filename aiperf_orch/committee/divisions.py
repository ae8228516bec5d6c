"""Divisions of a ranking: results of different divisions are never ranked together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiperf_orch.committee.submission import ResultRow
from aiperf_orch.network import counts
from aiperf_orch.results import rules

_CLOSED: Final = "closed"


@dataclass(frozen=True)
class Division:
    """Results that are comparable: of one version of the rules, one data set, and `closed` or `open`."""

    rules: str
    data: str
    openness: str

    @property
    def position(self) -> tuple[int, str, str]:
        """Sorts divisions: the newest rules first, then by name."""
        return -list(rules.FROZEN).index(self.rules), self.data, self.openness

    def __str__(self) -> str:
        return f"{self.rules}, {self.data}, {self.openness}"


def division_of(row: ResultRow) -> Division:
    """The division of a result; one that states none is in the closed division."""
    return Division(row.rules, row.data, row.division or _CLOSED)


def reason_for_none(row: ResultRow) -> str | None:
    """Why a verified result is in no ranking; None when it is in that of its division."""
    if row.rules not in rules.FROZEN or row.counting != counts.CONVENTION:
        return f"its rules are {row.rules}, its counting convention is {row.counting}"
    if row.rankable == "no":
        return f"misses {row.missed_rules}"
    return None
