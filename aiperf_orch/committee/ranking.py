"""Ranking of submissions by score, with the reason for each submission that is not ranked.

A campaign is identified by the SHA-256 of its settings, which include its tag and time of creation: equal hashes mean
the same campaign. Files are read in `submission`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from aiperf_orch.committee.submission import ResultRow, Submission
from aiperf_orch.network import counts
from aiperf_orch.results.rules import RULE_SETS
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import visible

_MOST_BYTES: Final = 1 << 20
_LONGEST_REASON: Final = 200  # characters
_VERSIONS: Final = tuple(reversed([rules.version for rules in RULE_SETS.values()]))
"""Versions of the rules, the newest first: each has a ranking of its own."""


class Status(str, Enum):
    """Result of ranking one submission."""

    RANKED = "ranked"
    NOT_RANKABLE = "not rankable"
    DUPLICATE = "duplicate"
    CORRECTED = "corrected"
    WITHDRAWN = "withdrawn"
    FAULTY = "faulty"
    UNREADABLE = "unreadable"
    NEWER_VERSION = "newer version"


_COMPARED: Final = frozenset({Status.RANKED, Status.NOT_RANKABLE})
"""Statuses of submissions of which one counts for its campaign."""


@dataclass(frozen=True)
class RankingEntry:
    """One submission in a ranking.

    `place` is that among the submissions of the same version of the rules, None for those that are not ranked; equal
    scores share a place.
    """

    submission: Submission
    status: Status
    place: int | None = None
    note: str = ""

    @property
    def score(self) -> float:
        """Score of the submission; 0 when it cannot be read."""
        return self.submission.row.score if self.submission.row else 0.0

    @property
    def rules(self) -> str | None:
        """Version of the rules of the submission; None when it cannot be read."""
        return self.submission.row.rules if self.submission.row else None


def read_withdrawals(path: Path) -> dict[str, str]:
    """Read a list of withdrawn campaigns.

    Each line has the tag of a campaign or its `settings_sha256`, followed by the reason; `#` begins a comment.

    Raises:
        UsageError: The list cannot be read, or names a campaign twice.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path}: larger than a list of withdrawals can be ({_MOST_BYTES} bytes)")
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text") from None
    withdrawn: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        campaign, _, reason = " ".join(line.replace(",", " ", 1).split()).partition(" ")
        if campaign.startswith("#") or not campaign:
            continue
        if campaign in withdrawn:
            raise UsageError(f"{path}:{number}: {visible(campaign)!r:.80} is listed twice")
        withdrawn[campaign] = visible(reason)[:_LONGEST_REASON]
    return withdrawn


def rank(submissions: Sequence[Submission], withdrawn: Mapping[str, str]) -> list[RankingEntry]:
    """Rank submissions.

    The latest submission of a campaign counts and corrects earlier ones. A submission that is not verified, such as a
    result.csv, never replaces a verified package.

    Args:
        submissions: in the order in which they were received.
        withdrawn: campaign tag or settings' SHA-256 -> reason.

    Returns:
        Ranked submissions by version of their rules, the newest first, and by place; then those that are not rankable,
        by score; then the others in their order.

    Raises:
        UsageError: A withdrawn tag names several campaigns.
    """
    _check_tags(submissions, withdrawn)
    entries = [_evaluate(submission, withdrawn) for submission in submissions]
    effective = _effective_entries(entries)
    resolved = []
    for entry in entries:
        row = entry.submission.row
        if row is None or entry.status not in _COMPARED:
            resolved.append(entry)
            continue
        counted = effective[row.settings_sha256]
        resolved.append(_with_corrections(entry, entries) if entry is counted else _superseded(entry, counted))
    return _placed(resolved)


def rows_of(entries: Sequence[RankingEntry]) -> list[dict[str, Any]]:
    """One row for each entry; scores are in operations per second."""
    return [_row(entry) for entry in entries]


def _evaluate(submission: Submission, withdrawn: Mapping[str, str]) -> RankingEntry:
    """The status of a submission without regard to the others."""
    row = submission.row
    if row is None:
        status = Status.NEWER_VERSION if submission.is_newer else Status.UNREADABLE
        return RankingEntry(submission, status, note=submission.fault or "")
    for name in (row.settings_sha256, row.campaign):
        if name in withdrawn:
            return RankingEntry(submission, Status.WITHDRAWN, note=withdrawn[name])
    if submission.fault:
        return RankingEntry(submission, Status.FAULTY, note=submission.fault)
    if row.rules not in _VERSIONS or row.counting != counts.CONVENTION:
        note = f"its rules are {row.rules}, its counting convention is {row.counting}"
        return RankingEntry(submission, Status.NOT_RANKABLE, note=note)
    if row.rankable == "no":
        return RankingEntry(submission, Status.NOT_RANKABLE, note=f"misses {row.missed_rules}")
    return RankingEntry(submission, Status.RANKED)


def _effective_entries(entries: Sequence[RankingEntry]) -> dict[str, RankingEntry]:
    """Settings' SHA-256 -> the entry that counts for the campaign."""
    effective: dict[str, RankingEntry] = {}
    for entry in entries:
        row = entry.submission.row
        if entry.status in _COMPARED and row:
            known = effective.get(row.settings_sha256)
            if known is None or bool(entry.submission.verified) >= bool(known.submission.verified):
                effective[row.settings_sha256] = entry
    return effective


def _with_corrections(entry: RankingEntry, entries: Sequence[RankingEntry]) -> RankingEntry:
    """The entry that counts for a campaign, with a note of the submissions that it corrects."""
    corrected = [
        str(other.submission.path)
        for other in entries
        if other is not entry and _corrects(entry.submission.row, other.submission.row)
    ]
    if not corrected:
        return entry
    return replace(entry, note="; ".join(filter(None, [entry.note, f"corrects {', '.join(corrected)}"])))


def _superseded(entry: RankingEntry, counted: RankingEntry) -> RankingEntry:
    """An entry of a campaign for which another submission counts."""
    if _corrects(counted.submission.row, entry.submission.row):
        return replace(entry, status=Status.CORRECTED, note=f"{counted.submission.path} counts instead")
    return replace(entry, status=Status.DUPLICATE, note=f"equals {counted.submission.path}")


def _corrects(row: ResultRow | None, other: ResultRow | None) -> bool:
    """Whether both rows are of the same campaign, with different contents."""
    return row is not None and other is not None and row.settings_sha256 == other.settings_sha256 and row != other


def _placed(entries: Sequence[RankingEntry]) -> list[RankingEntry]:
    """Entries in the order of the ranking, with places among those of the same rules."""
    ranked = [placed for version in _VERSIONS for placed in _ranking(entries, version)]
    rest = sorted((entry for entry in entries if entry.status is Status.NOT_RANKABLE), key=lambda entry: -entry.score)
    others = [entry for entry in entries if entry.status not in _COMPARED]
    return [*ranked, *rest, *others]


def _ranking(entries: Sequence[RankingEntry], version: str) -> list[RankingEntry]:
    """Entries that are ranked by a version of the rules, with places."""
    ranked = [each for each in entries if each.status is Status.RANKED and each.rules == version]
    ranked.sort(key=lambda entry: -entry.score)
    places: dict[float, int] = {}
    for place, entry in enumerate(ranked, start=1):
        places.setdefault(entry.score, place)
    return [replace(entry, place=places[entry.score]) for entry in ranked]


def _check_tags(submissions: Sequence[Submission], withdrawn: Mapping[str, str]) -> None:
    named: dict[str, str] = {}
    for row in (submission.row for submission in submissions if submission.row):
        if row.campaign in withdrawn and named.setdefault(row.campaign, row.settings_sha256) != row.settings_sha256:
            raise UsageError(f"{row.campaign}: several campaigns have this tag; withdraw one by its settings_sha256")


def _row(entry: RankingEntry) -> dict[str, Any]:
    submission = entry.submission
    row = submission.row
    nodes, accelerators = (row.number_of_nodes, row.accelerators) if row else (None, None)
    cells = row.model_dump() if row else dict.fromkeys(ResultRow.model_fields)
    return {
        "place": entry.place,
        "status": entry.status.value,
        "verified": {True: "yes", False: "no", None: "unverified"}[submission.verified],
        **{name: cells[name] for name in ("system", "submitter", "score")},
        "score_per_node": entry.score / nodes if nodes else None,
        "score_per_accelerator": entry.score / accelerators if accelerators else None,
        **{name: cells[name] for name in ("error", "regulated_score")},
        "number_of_nodes": nodes,
        "accelerators": accelerators,
        **{name: cells[name] for name in ("campaign", "started", "seconds", "operations", "simulated", "rules")},
        "missed_rules": cells["missed_rules"],
        "settings_sha256": cells["settings_sha256"],
        "note": entry.note,
        "file": visible(str(submission.path)),
    }
