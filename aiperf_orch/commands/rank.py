"""`rank`: a committee's ranking of the packages and result.csv's that it was sent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.committee.ranking import Status, rank, read_withdrawals, rows_of
from aiperf_orch.committee.submission import read_submission
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_ops

_UNKNOWN = (Status.FAULTY.value, Status.UNREADABLE.value, Status.NEWER_VERSION.value)


def ranking(paths: Sequence[Path], form: str, withdrawn: Path | None, signers: Path | None) -> str:
    """A row a file. What is wrong with a file goes to standard error, too.

    Args:
        paths: packages and result.csv's, in the order in which they were received.
        form: `table`, `csv` or `json`.
        withdrawn: a list of withdrawn campaigns.
        signers: an `allowed_signers` file: packages must be signed by one of them.

    Raises:
        UsageError: when a file is not there.
    """
    reasons = read_withdrawals(withdrawn) if withdrawn else {}
    rows = rows_of(rank([read_submission(path, signers) for path in paths], reasons))
    for row in rows:
        if row["status"] in _UNKNOWN:
            print(f"warning: {row['file']}: {visible(row['note'])}", file=sys.stderr)
    if form != "table":
        return render_rows(rows, form)
    shown = [
        {
            "place": row["place"],
            "status": row["status"],
            "verified": row["verified"],
            "system": row["system"] or "-",
            "score": _ops(row["score"]) + (" SIMULATED" if row["simulated"] == "yes" else ""),
            "per node": _ops(row["score_per_node"]),
            "per accelerator": _ops(row["score_per_accelerator"]),
            "error": "-" if row["error"] is None else f"{row['error']:.2%}",
            "campaign": row["campaign"] or "-",
            "file": row["file"],
            "note": row["note"] or "-",
        }
        for row in rows
    ]
    return render_rows(shown, form)


def _ops(value: float | None) -> str:
    return "-" if value is None else format_ops(value)
