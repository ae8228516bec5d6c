"""A committee's ranking, by score: which of the files that it was sent count, and why the others do not.

A campaign is known by its settings' SHA-256, which holds the campaign's own tag and time: the same hash is the same
campaign. What a file says is `submission`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from aiperf_orch.committee.submission import Row, Submission
from aiperf_orch.network import counts
from aiperf_orch.results import rules
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import visible

_MOST_BYTES: Final = 1 << 20
_LONGEST_REASON: Final = 200  # characters


class Status(str, Enum):
    """What became of a file."""

    RANKED = "ranked"
    NOT_RANKABLE = "not rankable"
    DUPLICATE = "duplicate"
    CORRECTED = "corrected"
    WITHDRAWN = "withdrawn"
    FAULTY = "faulty"
    UNREADABLE = "unreadable"
    NEWER_VERSION = "newer version"


@dataclass(frozen=True)
class Entry:
    """One file of a ranking. `place` is None for all that are not ranked; equal scores share a place."""

    submission: Submission
    status: Status
    place: int | None = None
    note: str = ""

    @property
    def score(self) -> float:
        """Of its row; 0 where it has none."""
        return self.submission.row.score if self.submission.row else 0.0


def read_withdrawals(path: Path) -> dict[str, str]:
    """Withdrawn campaigns: a line each, a campaign's tag or its `settings_sha256`, then the reason; `#` begins a remark.

    Raises:
        UsageError: when it cannot be read, or a line says nothing.
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
            raise UsageError(f"{path}:{number}: {visible(campaign)!r:.80} stands twice")
        withdrawn[campaign] = visible(reason)[:_LONGEST_REASON]
    return withdrawn


def rank(submissions: Sequence[Submission], withdrawn: Mapping[str, str]) -> list[Entry]:
    """All files, ranked ones first, then those that are not rankable by score, then the others as they were given.

    Of the files of one campaign that can be trusted as far, the one given last counts: it corrects those before it. A
    result.csv never takes the place of a verified package.

    Args:
        submissions: in the order in which they were received.
        withdrawn: by campaign tag or settings' SHA-256, the reason.

    Raises:
        UsageError: when a tag that was withdrawn names several campaigns.
    """
    _check_tags(submissions, withdrawn)
    judged = [_judge(submission, withdrawn) for submission in submissions]
    standing: dict[str, Entry] = {}
    for entry in judged:
        row = entry.submission.row
        if entry.status in (Status.RANKED, Status.NOT_RANKABLE) and row:
            known = standing.get(row.settings_sha256)
            if known is None or bool(entry.submission.verified) >= bool(known.submission.verified):
                standing[row.settings_sha256] = entry
    entries = []
    for entry in judged:
        row = entry.submission.row
        if row is None or entry.status not in (Status.RANKED, Status.NOT_RANKABLE):
            entries.append(entry)
            continue
        counts_now = standing[row.settings_sha256]
        if entry is not counts_now:
            entries.append(_outdone(entry, counts_now))
            continue
        corrected = [
            str(other.submission.path)
            for other in judged
            if other.submission.row and other is not entry and _corrects(row, other.submission.row)
        ]
        note = "; ".join(filter(None, [entry.note, f"corrects {', '.join(corrected)}" if corrected else ""]))
        entries.append(replace(entry, note=note))
    return _placed(entries)


def rows_of(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """A row a file; scores in operations per second."""
    return [_row(entry) for entry in entries]


def _judge(submission: Submission, withdrawn: Mapping[str, str]) -> Entry:
    row = submission.row
    if row is None:
        status = Status.NEWER_VERSION if submission.is_newer else Status.UNREADABLE
        return Entry(submission, status, note=submission.fault or "")
    for name in (row.settings_sha256, row.campaign):
        if name in withdrawn:
            return Entry(submission, Status.WITHDRAWN, note=withdrawn[name])
    if submission.fault:
        return Entry(submission, Status.FAULTY, note=submission.fault)
    if (row.rules, row.counting) != (rules.VERSION, counts.CONVENTION):
        return Entry(submission, Status.NOT_RANKABLE, note=f"judged by {row.rules}, counted by {row.counting}")
    if row.rankable == "no":
        return Entry(submission, Status.NOT_RANKABLE, note=f"misses {row.missed_rules}")
    return Entry(submission, Status.RANKED)


def _outdone(entry: Entry, by: Entry) -> Entry:
    """An entry of a campaign that another file stands for."""
    ours, theirs = entry.submission.row, by.submission.row
    if ours and theirs and not _corrects(theirs, ours):
        return replace(entry, status=Status.DUPLICATE, note=f"says what {by.submission.path} says")
    return replace(entry, status=Status.CORRECTED, note=f"{by.submission.path} counts instead")


def _corrects(row: Row, other: Row) -> bool:
    """Whether it is the same campaign with other numbers."""
    return row.settings_sha256 == other.settings_sha256 and row != other


def _placed(entries: list[Entry]) -> list[Entry]:
    ranked = sorted((entry for entry in entries if entry.status is Status.RANKED), key=lambda entry: -entry.score)
    places: dict[float, int] = {}
    for place, entry in enumerate(ranked, start=1):
        places.setdefault(entry.score, place)
    rest = sorted((entry for entry in entries if entry.status is Status.NOT_RANKABLE), key=lambda entry: -entry.score)
    others = [entry for entry in entries if entry.status not in (Status.RANKED, Status.NOT_RANKABLE)]
    return [*(replace(entry, place=places[entry.score]) for entry in ranked), *rest, *others]


def _check_tags(submissions: Sequence[Submission], withdrawn: Mapping[str, str]) -> None:
    named: dict[str, str] = {}
    for row in (submission.row for submission in submissions if submission.row):
        if row.campaign in withdrawn and named.setdefault(row.campaign, row.settings_sha256) != row.settings_sha256:
            raise UsageError(f"{row.campaign}: is the tag of several campaigns; withdraw one by its settings_sha256")


def _row(entry: Entry) -> dict[str, Any]:
    submission = entry.submission
    row = submission.row
    nodes, accelerators = (row.number_of_nodes, row.accelerators) if row else (None, None)
    told = row.model_dump() if row else dict.fromkeys(Row.model_fields)
    return {
        "place": entry.place,
        "status": entry.status.value,
        "verified": {True: "yes", False: "no", None: "unverified"}[submission.verified],
        **{name: told[name] for name in ("system", "submitter", "score")},
        "score_per_node": entry.score / nodes if nodes else None,
        "score_per_accelerator": entry.score / accelerators if accelerators else None,
        **{name: told[name] for name in ("error", "regulated_score")},
        "number_of_nodes": nodes,
        "accelerators": accelerators,
        **{name: told[name] for name in ("campaign", "started", "seconds", "operations", "simulated", "rules")},
        "missed_rules": told["missed_rules"],
        "settings_sha256": told["settings_sha256"],
        "note": entry.note,
        "file": visible(str(submission.path)),
    }
