"""`scaling`: weak-scaling efficiency of campaigns of different sizes, as rows and as a figure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.committee.scaling import FIGURE_SUFFIXES, read_campaign, rows_of
from aiperf_orch.committee.scaling import scaling as efficiency_of
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_ops

_log: Final = logging.getLogger(__name__)


def compare_scaling(
    paths: Sequence[Path], form: str, by: str | None, output: Path | None, *, allow_differences: bool
) -> CommandOutput:
    """Weak-scaling efficiency, one row per campaign; notes on the comparison go to standard error.

    Args:
        paths: Campaign directories, packages and result.csv files.
        form: `table`, `csv` or `json`.
        by: The unit of size; None is the first of accelerators, nodes and concurrency in which the campaigns differ.
        output: File of a figure, a page or a picture by its suffix; None draws none.
        allow_differences: Compare campaigns with different settings too.
    """
    if output and output.suffix not in FIGURE_SUFFIXES:
        raise UsageError(f"{output}: the suffix must name a format: {', '.join(FIGURE_SUFFIXES)}")
    found = efficiency_of([read_campaign(path) for path in paths], by, allow_differences=allow_differences)
    if output:
        from aiperf_orch.committee.scaling_figure import write_figure

        write_figure(found, output)
    for note in found.notes:
        _log.info("note: %s", visible(note))
    if found.simulated:
        _log.info("note: SIMULATED: no training took place in any of these campaigns")
    rows = rows_of(found)
    if form == "table":
        for row in rows:
            row |= {"score": format_ops(row["score"]), "ideal_score": format_ops(row["ideal_score"])}
            row |= {"efficiency": f"{row['efficiency']:.1%}"}
            row["error"] = None if row["error"] is None else f"{row['error']:.2%}"
            row["regulated_score"] = None if row["regulated_score"] is None else format_ops(row["regulated_score"])
    return CommandOutput(render_rows(rows, form), form=form)
