"""A ranking as rows of CSV and JSON: one for each file, and one for each announced campaign that was not sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiperf_orch.committee.commitments import Announcement, not_sent
from aiperf_orch.committee.entries import RankingEntry
from aiperf_orch.committee.ranking import division
from aiperf_orch.committee.repetitions import Repetition
from aiperf_orch.committee.submission import ResultRow

NOT_SENT: Final = "not sent"
COLUMNS: Final[Mapping[str, str]] = {
    "place": "place within its division; empty without one",
    "division": "version of the rules, data set, and `closed` or `open`",
    "status": "status of the file, such as `ranked` or `not rankable`",
    "verified": "`yes`, `no`, or `unverified` for a result.csv",
    "signed_by": "principal of the signer, where `--signers` knows its key",
    "announced": "whether its campaign was announced; `unknown` without `--commitments`",
    "system": "name of the system, as the site states it",
    "submitter": "who submits it",
    "score": "operations per second",
    "error": "best validation error, a fraction",
    "regulated_score": "`score` x -ln(`error`)",
    "score_per_node": "`score` / `number_of_nodes`",
    "score_per_accelerator": "`score` / `accelerators`",
    "operations_per_joule": "as in result.csv",
    "share_of_peak": "`score_per_accelerator` / the peak of one accelerator that the site states, a fraction",
    "energy_of": "as in result.csv",
    "repetitions": "number of campaigns with the same system and settings; empty without others",
    "mean_score": "their mean score",
    "mean_score_low": "lower end of the 95 % interval of this mean",
    "mean_score_high": "upper end of the 95 % interval of this mean",
    "number_of_nodes": "as in result.csv",
    "accelerators": "accelerators of all nodes, as the site states them",
    "campaign": "tag of the campaign",
    "started": "as in result.csv",
    "seconds": "as in result.csv",
    "operations": "as in result.csv",
    "simulated": "as in result.csv",
    "rules": "as in result.csv",
    "missed_rules": "as in result.csv",
    "questionnaire": "score of the questionnaire of reproducibility, from 0 to 1; empty without one",
    "settings_sha256": "as in result.csv; the list of withdrawn campaigns may name it",
    "epochs_sha256": "SHA-256 of its epochs; the list of withdrawn campaigns may name it",
    "package_sha256": "SHA-256 of the package; the list of withdrawn campaigns may name it",
    "commitment": "commitment of the campaign",
    "note": "remarks, with semicolons between them",
    "file": "name of the file, with the path that was given",
}
"""Columns of ranking.csv, and of `rank --format csv`, with what each means; Markdown is allowed in these texts."""
_VERIFIED: Final = {True: "yes", False: "no", None: "unverified"}


def rows_of(
    entries: Sequence[RankingEntry],
    repetitions: Sequence[Repetition] = (),
    announced: Mapping[str, Announcement] | None = None,
) -> list[dict[str, Any]]:
    """One row for each entry and each announced campaign that was not sent; scores are in operations per second.

    Args:
        entries: of the ranking.
        repetitions: of its campaigns.
        announced: announced campaigns by commitment; None where it is unknown which were announced.
    """
    groups = {id(entry): repetition for repetition in repetitions for entry in repetition.entries}
    rows = [_row(entry, groups.get(id(entry)), announced) for entry in entries]
    if announced is None:
        return rows
    empty = dict.fromkeys(rows[0]) if rows else {}
    for announcement in not_sent(announced.values(), [row["commitment"] for row in rows]):
        known = {"status": NOT_SENT, "submitter": announcement.site, "announced": "yes"}
        note = f"announced on {announcement.date}"
        rows.append(empty | known | {"commitment": announcement.commitment, "note": note})
    return rows


def efficiency_of(entry: RankingEntry) -> dict[str, float | None]:
    """Quantities of an entry by the size that its site states and the energy that was measured; None where unknown."""
    row, records = entry.submission.row, entry.submission.records
    nodes, accelerators = (row.number_of_nodes, row.accelerators) if row else (None, None)
    peak = records.peak_ops if records else None
    return {
        "score_per_node": entry.score / nodes if nodes else None,
        "score_per_accelerator": entry.score / accelerators if accelerators else None,
        "operations_per_joule": row.operations_per_joule if row else None,
        "share_of_peak": entry.score / (accelerators * peak) if accelerators and peak else None,
    }


def _row(
    entry: RankingEntry, repetition: Repetition | None, announced: Mapping[str, Announcement] | None
) -> dict[str, Any]:
    submission, records = entry.submission, entry.submission.records
    cells = submission.row.model_dump() if submission.row else dict.fromkeys(ResultRow.model_fields)
    commitment = records.commitment if records else None
    return {
        "place": entry.place,
        "division": str(division(entry)) if submission.row else None,
        "status": entry.status.value,
        "verified": _VERIFIED[submission.verified],
        "signed_by": submission.signed_by,
        "announced": "unknown" if announced is None else "yes" if commitment in announced else "no",
        **{name: cells[name] for name in ("system", "submitter", "score", "error", "regulated_score")},
        **efficiency_of(entry),
        "energy_of": cells["energy_of"],
        "repetitions": len(repetition.entries) if repetition else None,
        "mean_score": repetition.mean if repetition else None,
        "mean_score_low": repetition.low if repetition else None,
        "mean_score_high": repetition.high if repetition else None,
        "number_of_nodes": cells["number_of_nodes"],
        "accelerators": submission.row.accelerators if submission.row else None,
        **{name: cells[name] for name in ("campaign", "started", "seconds", "operations", "simulated", "rules")},
        "missed_rules": cells["missed_rules"],
        "questionnaire": records.questionnaire if records else None,
        "settings_sha256": cells["settings_sha256"],
        "epochs_sha256": records.epochs.sha256 if records else None,
        "package_sha256": records.sha256 if records else None,
        "commitment": commitment,
        "note": entry.note,
        "file": entry.name,
    }
