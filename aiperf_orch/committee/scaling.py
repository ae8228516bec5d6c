"""Weak scaling: how the score grows with the size of the system, from campaigns of different sizes (Ren et al. 2021, 5.2).

Which campaigns may be compared is settled here; the figure is `scaling_figure`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.committee.submission import Row, read_submission
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import result_row
from aiperf_orch.settings.comparison import differences
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UsageError

SIZES: Final[dict[str, Callable[[Row], int | None]]] = {
    "accelerators": lambda row: row.accelerators,
    "nodes": lambda row: row.number_of_nodes,
    "concurrency": lambda row: row.concurrency,
}
"""What a size may be counted in, the most telling first."""
FIGURE_SUFFIXES: Final = (".html", ".svg", ".png", ".pdf")
"""Endings of the files that a figure can be written to."""
_NEVER_MIXED: Final = ("simulated", "rules", "counting", "data")
_SETTINGS: Final = ("precision", "duration_limit")  # what a row knows of them
# settings that make the size, or say whose and which machine it is
_FREE: Final = (
    "system.", "scheduler.", "campaign.concurrency", "campaign.seed", "campaign.max_trials", "campaign.keep_weights",
    "campaign.group_readable",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One campaign to compare. `settings` are known of a campaign's directory alone; `doubt` says what is to be known."""

    path: Path
    row: Row
    settings: SiteSettings | None
    doubt: str | None = None


@dataclass(frozen=True)
class Point:
    """One size. `efficiency` is the score of a unit of size against that of the smallest campaign; `ideal` its score at 1."""

    measured: Measured
    size: int
    ideal: float
    efficiency: float


@dataclass(frozen=True)
class Scaling:
    """Campaigns by size; `unit` is what a size counts. `notes` say in what the campaigns differ, and what is not known."""

    unit: str
    points: list[Point]
    notes: list[str]

    @property
    def simulated(self) -> bool:
        """Whether no training took place."""
        return self.points[0].measured.row.simulated == "yes"


def read_campaign(path: Path) -> Measured:
    """A campaign from its directory (scored anew), its package (verified), or its result.csv.

    Raises:
        UsageError: when it is none of them, or cannot be trusted.
    """
    if path.is_dir():
        directory = CampaignDirectory.open(path)
        return Measured(path, Row.model_validate(result_row(compute_result(directory))), directory.settings)
    submission = read_submission(path)
    if submission.row is None or submission.fault:
        raise UsageError(f"{path}: {submission.fault}")
    doubt = None if submission.verified else "a result.csv alone: nothing shows that its numbers were measured"
    return Measured(path, submission.row, None, doubt)


def scaling(campaigns: Sequence[Measured], by: str | None, *, allow_differences: bool) -> Scaling:
    """Compare campaigns of different sizes.

    Args:
        campaigns: two or more.
        by: what a size counts, of `SIZES`; by default the first that all campaigns name and that tells them apart.
        allow_differences: compare campaigns by different settings too, and note what differs.

    Raises:
        UsageError: when there is nothing to compare, or the campaigns are not alike and may not differ.
    """
    if len(campaigns) < 2:
        raise UsageError("scaling: give at least two campaigns, of different sizes")
    twice = [str(each.path) for i, each in enumerate(campaigns) for other in campaigns[:i] if _same(each, other)]
    if twice:
        raise UsageError(f"{twice[0]}: is the same campaign as one before it")
    for each in campaigns:
        if each.row.score <= 0:
            raise UsageError(f"{each.path}: has no score: no epoch has ended")
    notes = _differences(campaigns)
    if notes and not allow_differences:
        listing = "\n".join(f"  {note}" for note in notes)
        raise UsageError(
            f"these campaigns do not differ in size alone:\n{listing}\n"
            "compare them all the same, and have it said, with --allow-differences"
        )
    notes += [f"{each.path}: {each.doubt}" for each in campaigns if each.doubt]
    notes += [f"{each.path}: its campaign is {each.row.state}" for each in campaigns if each.row.state != "finished"]
    unknown = [str(each.path) for each in campaigns if each.settings is None]
    if unknown:
        notes.append(f"settings are compared between campaign directories alone; not those of {', '.join(unknown)}")
    unit = by or _unit(campaigns)
    sizes = [SIZES[unit](each.row) for each in campaigns]
    for each, size in zip(campaigns, sizes, strict=True):
        if size is None:
            raise UsageError(f"{each.path}: does not say how many {unit} it has: name them in its site file's `system`")
    ordered = sorted(zip(sizes, campaigns, strict=True), key=lambda pair: (pair[0] or 0, -pair[1].row.score))
    if sizes.count(sizes[0]) == len(sizes):
        raise UsageError(f"all these campaigns have {sizes[0]} {unit}: scaling needs different sizes; see --by")
    (smallest, base), *_ = ordered
    per_unit = base.row.score / (smallest or 1)
    points = [
        Point(each, size or 0, per_unit * (size or 0), each.row.score / (per_unit * (size or 1)))
        for size, each in ordered
    ]
    return Scaling(unit, points, notes)


def rows_of(found: Scaling) -> list[dict[str, Any]]:
    """A row a campaign, the smallest first; scores in operations per second."""
    return [
        {
            "campaign": point.measured.row.campaign,
            "system": point.measured.row.system,
            found.unit: point.size,
            "score": point.measured.row.score,
            "ideal_score": point.ideal,
            "efficiency": point.efficiency,
            "error": point.measured.row.error,
            "regulated_score": point.measured.row.regulated_score,
            "rankable": point.measured.row.rankable,
            "simulated": point.measured.row.simulated,
        }
        for point in found.points
    ]


def _unit(campaigns: Sequence[Measured]) -> str:
    for unit, size_of in SIZES.items():
        sizes = {size_of(each.row) for each in campaigns}
        if None not in sizes and len(sizes) > 1:
            return unit
    return "concurrency"


def _same(first: Measured, second: Measured) -> bool:
    return first.row.settings_sha256 == second.row.settings_sha256


def _differences(campaigns: Sequence[Measured]) -> list[str]:
    """In what each campaign differs from the first, but for its size.

    Raises:
        UsageError: when it differs in what no comparison can allow.
    """
    first, *others = campaigns
    found = []
    for other in others:
        for column in _NEVER_MIXED:
            there, here = getattr(first.row, column), getattr(other.row, column)
            if there != here:
                raise UsageError(
                    f"{other.path}: {column} is {here}, but {there} in {first.path}: such numbers cannot be compared"
                )
        lines = [
            f"{column}: {getattr(first.row, column)} there, {getattr(other.row, column)} now"
            for column in ("aiperf_orch", *(() if first.settings and other.settings else _SETTINGS))
            if getattr(first.row, column) != getattr(other.row, column)
        ]
        if first.settings and other.settings:
            lines += [line for line in differences(first.settings, other.settings) if not line.startswith(_FREE)]
        found += [f"{other.path} against {first.path}: {line.replace(' there,', ' before,')}" for line in lines]
    return found
