"""`score`: computes a campaign's result, writes its tables and its report, and says it in words."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.results.result import Result, compute_result
from aiperf_orch.results.summary import summary_lines
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.text import visible


def score(campaign_dir: Path, form: str) -> str:
    """Score a campaign anew; returns the summary (`table`), or the row of result.csv (`csv`, `json`)."""
    from aiperf_orch.results.tables import result_row

    result = write_score(CampaignDirectory.open(campaign_dir))
    if form == "table":
        return summary(result) + "\n"
    row = result_row(result)
    return json.dumps(row, indent=2) + "\n" if form == "json" else render_rows([row], form)


def write_score(directory: CampaignDirectory) -> Result:
    """Compute the result, and write the tables and the report."""
    result = compute_result(directory)
    write_files(result)
    return result


def write_files(result: Result) -> None:
    """Write the tables and the report; a report that cannot be drawn is a warning, and costs nobody the score."""
    from aiperf_orch.results.tables import write_tables

    write_tables(result)
    try:
        from aiperf_orch.results.report import write_report

        write_report(result)
    except Exception as error:  # whatever a drawing library may say, also while it is imported
        reason = error if isinstance(error, AiperfError) else f"{result.directory.report}: {error!r}"
        print(f"warning: the report is not written, all else is: {reason}", file=sys.stderr, flush=True)


def summary(result: Result) -> str:
    """The result in words, and where its files are."""
    directory = result.directory
    written = (directory.result, directory.leaderboard, directory.series, directory.report)
    files = ", ".join(path.name for path in written)
    return "\n".join(
        ["", *map(visible, summary_lines(result)), f"files            {visible(str(directory.path))}: {files}"]
    )
