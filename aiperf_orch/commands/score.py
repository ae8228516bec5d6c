"""`score`: computes a campaign's result, writes its tables and its report, and says it in words."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.commands.tabulate import render_rows
from aiperf_orch.errors import AiperfError
from aiperf_orch.results import rules
from aiperf_orch.results.result import Result, compute
from aiperf_orch.units import format_duration, format_ops


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
    result = compute(directory)
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
    """The result in words: score, error, regulated score, verdict, and where the files are."""
    score = result.score
    mark = " (SIMULATED: no training took place)" if result.simulated else ""
    lines = [
        "",
        f"score            {format_ops(score.score)}{mark}",
        f"error            {'none measured' if score.error is None else f'{score.error:.2%}'}"
        + (f" (counted as half a validation image, {score.error_counted:.3%})" if score.error_is_zero else ""),
        f"regulated score  {'none' if score.regulated is None else format_ops(score.regulated)}",
        f"                 {score.operations:,} operations in {format_duration(score.seconds)}: {score.epochs} epochs of "
        f"{len(result.collected.trials)} trials, {result.networks} networks",
    ]
    missed = rules.misses(result)
    if missed:
        lines.append(f"not rankable     by the rules {rules.VERSION}:")
        width = max(len(miss.rule.id) for miss in missed)
        lines += [f"  {miss.rule.id.ljust(width)}  {miss.rule.sentence}; {miss.why}" for miss in missed]
    else:
        lines.append(f"rankable         by the rules {rules.VERSION}")
    lines += [f"warning: {fault}" for fault in result.faults]
    directory = result.directory
    written = (directory.result, directory.leaderboard, directory.series, directory.report)
    files = ", ".join(path.name for path in written)
    lines.append(f"files            {directory.path}: {files}")
    return "\n".join(lines)
