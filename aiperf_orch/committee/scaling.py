"""Weak scaling: score against system size, from campaigns of different sizes (Ren et al. 2021, section 5.2).

This module decides which campaigns are comparable and computes efficiencies; `scaling_figure` draws the figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.committee.submission import ResultRow, read_submission
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import result_row
from aiperf_orch.settings.comparison import differences, different_keys
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UsageError

SIZES: Final[dict[str, Callable[[ResultRow], int | None]]] = {
    "accelerators": lambda row: row.accelerators,
    "nodes": lambda row: row.number_of_nodes,
    "concurrency": lambda row: row.concurrency,
}
"""Unit -> size of a campaign in that unit; the preferred unit is first."""
FIGURE_SUFFIXES: Final = (".html", ".svg", ".png", ".pdf")
"""Suffixes of the file formats of a figure."""
_MUST_AGREE: Final = ("simulated", "rules", "counting", "data")
_SETTINGS: Final = ("precision", "duration_limit")  # columns of result.csv that hold settings
# settings that define the size, or identify the machine and its owner
_FREE: Final = (
    "system.", "scheduler.", "campaign.concurrency", "campaign.seed", "campaign.max_trials", "campaign.keep_weights",
    "campaign.group_readable",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One campaign to compare.

    Attributes:
        path: of the directory, package or result.csv.
        row: its result.
        settings: None unless a campaign directory was read.
        doubt: a caveat about the result; None without one.
    """

    path: Path
    row: ResultRow
    settings: SiteSettings | None
    doubt: str | None = None


@dataclass(frozen=True)
class Point:
    """One campaign in a scaling comparison.

    Attributes:
        measured: the campaign.
        size: in the unit of the comparison.
        ideal: score of the smallest campaign, scaled linearly to this size.
        efficiency: score divided by `ideal`.
    """

    measured: Measured
    size: int
    ideal: float
    efficiency: float


@dataclass(frozen=True)
class Scaling:
    """A comparison of campaigns.

    Attributes:
        unit: of the sizes, a key of `SIZES`.
        points: campaigns, the smallest first.
        notes: differences between the campaigns, and caveats.
    """

    unit: str
    points: list[Point]
    notes: list[str]

    @property
    def simulated(self) -> bool:
        """Whether no training took place in the campaigns."""
        return self.points[0].measured.row.simulated == "yes"


def read_campaign(path: Path) -> Measured:
    """Read a campaign from its directory (scored again), its package (verified), or its result.csv.

    Raises:
        UsageError: The path is none of them, or the result is not trusted.
    """
    if path.is_dir():
        directory = CampaignDirectory.open(path)
        return Measured(path, ResultRow.model_validate(result_row(compute_result(directory))), directory.settings)
    submission = read_submission(path)
    if submission.row is None or submission.fault:
        raise UsageError(f"{path}: {submission.fault}")
    doubt = None if submission.verified else "a result.csv without records: its numbers cannot be verified"
    return Measured(path, submission.row, None, doubt)


def scaling(campaigns: Sequence[Measured], by: str | None, *, allow_differences: bool) -> Scaling:
    """Compare campaigns of different sizes.

    Args:
        campaigns: two or more.
        by: the unit of sizes, a key of `SIZES`; None selects the first in which the campaigns have different sizes.
        allow_differences: compare campaigns with different settings, and add notes of the differences.

    Raises:
        UsageError: The campaigns cannot be compared, or their settings differ and differences are not allowed.
    """
    if len(campaigns) < 2:
        raise UsageError("scaling: give at least two campaigns, of different sizes")
    twice = [str(each.path) for i, each in enumerate(campaigns) for other in campaigns[:i] if _same(each, other)]
    if twice:
        raise UsageError(f"{twice[0]}: is the same campaign as an earlier argument")
    for each in campaigns:
        if each.row.score <= 0:
            raise UsageError(f"{each.path}: has no score: no epoch has ended")
    notes = _differences(campaigns)
    if notes and not allow_differences:
        listing = "\n".join(f"  {note}" for note in notes)
        raise UsageError(
            f"these campaigns differ in more than their size:\n{listing}\n"
            "--allow-differences compares them nevertheless, and notes the differences"
        )
    notes += [f"{each.path}: {each.doubt}" for each in campaigns if each.doubt]
    notes += [f"{each.path}: its campaign is {each.row.state}" for each in campaigns if each.row.state != "finished"]
    unknown = [str(each.path) for each in campaigns if each.settings is None]
    if unknown:
        notes.append(f"settings are compared only between campaign directories, not those of {', '.join(unknown)}")
    unit = by or _unit(campaigns)
    sizes = [SIZES[unit](each.row) for each in campaigns]
    for each, size in zip(campaigns, sizes, strict=True):
        if size is None:
            raise UsageError(
                f"{each.path}: does not state its number of {unit}: set it in the `system` section of its site file"
            )
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
    """One row for each campaign, the smallest first; scores are in operations per second."""
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
    """Differences of each campaign from the first one, except for its size.

    Raises:
        UsageError: The campaigns differ in a property that must be equal.
    """
    first, *others = campaigns
    found = []
    for other in others:
        for column in _MUST_AGREE:
            expected, value = getattr(first.row, column), getattr(other.row, column)
            if value != expected:
                raise UsageError(
                    f"{other.path}: {column} is {value}, but {expected} in {first.path}: the results are not comparable"
                )
        lines = [
            f"{column}: {getattr(first.row, column)} there, {getattr(other.row, column)} now"
            for column in ("aiperf_orch", *(() if first.settings and other.settings else _SETTINGS))
            if getattr(first.row, column) != getattr(other.row, column)
        ]
        if first.settings and other.settings:
            keys = different_keys(first.settings, other.settings)
            bound = [key for key in keys if not key.startswith(_FREE)]
            lines += differences(first.settings, other.settings, bound)
        found += [f"{other.path} against {first.path}: {line.replace(' there,', ' before,')}" for line in lines]
    return found
