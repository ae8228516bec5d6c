"""`scaling`: weak-scaling efficiency of campaigns of different sizes, as rows and as a figure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.committee.scaling import FIGURE_SUFFIXES, read_campaign, rows_of
from aiperf_orch.committee.scaling import scaling as compare
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_ops


def scaling(paths: Sequence[Path], form: str, by: str | None, output: Path | None, *, allow_differences: bool) -> str:
    """A row a campaign; what is to be known of the comparison goes to standard error.

    Args:
        paths: campaign directories, packages, result.csv's.
        form: `table`, `csv` or `json`.
        by: what a size counts; by default the first of accelerators, nodes and concurrency that tells them apart.
        output: where a figure goes, a page or a picture by its ending.
        allow_differences: compare campaigns by different settings, too.
    """
    if output and output.suffix not in FIGURE_SUFFIXES:
        raise UsageError(f"{output}: what it should be is told by its ending: {', '.join(FIGURE_SUFFIXES)}")
    found = compare([read_campaign(path) for path in paths], by, allow_differences=allow_differences)
    if output:
        from aiperf_orch.committee.scaling_figure import write_figure

        write_figure(found, output)
    for note in found.notes:
        print(f"note: {visible(note)}", file=sys.stderr)
    if found.simulated:
        print("note: SIMULATED: no training took place in any of these campaigns", file=sys.stderr)
    rows = rows_of(found)
    if form == "table":
        for row in rows:
            row |= {"score": format_ops(row["score"]), "ideal_score": format_ops(row["ideal_score"])}
            row |= {"efficiency": f"{row['efficiency']:.1%}"}
            row["error"] = None if row["error"] is None else f"{row['error']:.2%}"
            row["regulated_score"] = None if row["regulated_score"] is None else format_ops(row["regulated_score"])
    return render_rows(rows, form)
