"""`rank`: ranking of the packages and result.csv files that a committee has received."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.committee.ranking import Status, rank, read_withdrawals, rows_of
from aiperf_orch.committee.submission import read_submission
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_ops

_log: Final = logging.getLogger(__name__)
_UNKNOWN: Final = (Status.FAULTY.value, Status.UNREADABLE.value, Status.NEWER_VERSION.value)


def rank_results(paths: Sequence[Path], form: str, withdrawn: Path | None, signers: Path | None) -> CommandOutput:
    """Rank results, one row per file. Faults of files go to standard error too.

    Args:
        paths: Packages and result.csv files, in the order in which they were received.
        form: `table`, `csv` or `json`.
        withdrawn: File with a list of withdrawn campaigns.
        signers: File of allowed signers: packages must be signed by one of them.

    Raises:
        UsageError: when a file does not exist.
    """
    reasons = read_withdrawals(withdrawn) if withdrawn else {}
    rows = rows_of(rank([read_submission(path, signers) for path in paths], reasons))
    for row in rows:
        if row["status"] in _UNKNOWN:
            _log.warning("%s: %s", row["file"], visible(row["note"]))
    if form != "table":
        return CommandOutput(render_rows(rows, form), form=form)
    shown = [
        {
            "place": row["place"],
            "status": row["status"],
            "verified": row["verified"],
            "rules": row["rules"] or "-",
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
    ranked = list(dict.fromkeys(str(row["rules"]) for row in rows if row["place"] is not None))
    text = render_rows(shown, form)
    if len(ranked) > 1:
        versions = f"A ranking for each version of the rules, {' and '.join(ranked)}"
        text += f"{versions}: places are among results of one version.\n"
    return CommandOutput(text)


def _ops(value: float | None) -> str:
    return "-" if value is None else format_ops(value)
