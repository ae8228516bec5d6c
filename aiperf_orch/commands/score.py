"""`score`: compute a campaign's result, and write its tables and its report."""

from __future__ import annotations

import gc
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.failure_policy import is_failure
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.results.result import Result, compute_result
from aiperf_orch.results.summary import summary_lines
from aiperf_orch.results.winner import winner_lines, winner_of
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.progress import begin_part
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import count

_MOST_SLOW_NODES: Final = 5
_log: Final = logging.getLogger(__name__)


def score_campaign(campaign_dir: Path, form: str) -> CommandOutput:
    """Score a campaign from its records; returns the summary (`table`), or the row of result.csv (`csv`, `json`)."""
    from aiperf_orch.results.tables import result_row

    gc.disable()  # many small objects that all stay: the search for cycles among them takes a third of the time
    result = write_score(CampaignDirectory.open(campaign_dir))
    if form == "table":
        return CommandOutput(summary(result) + "\n")
    row = result_row(result)
    text = json.dumps(row, indent=2) + "\n" if form == "json" else render_rows([row], form)
    return CommandOutput(text, form=form)


def write_score(directory: CampaignDirectory) -> Result:
    """Compute the result, and write the tables and the report."""
    with progress_line("score"):
        result = compute_result(directory)
        write_result_files(result)
    return result


def write_result_files(result: Result) -> None:
    """Write the tables and the report; a report that cannot be drawn is only a warning."""
    from aiperf_orch.results.tables import write_tables

    begin_part("writing tables and report")
    write_tables(result)
    try:
        from aiperf_orch.results.report import write_report

        write_report(result)
    except Exception as error:  # any error of a drawing library, also on its import
        reason = error if isinstance(error, AiperfError) else f"{result.directory.report}: {error!r}"
        _log.warning("the report was not written, all other files were: %s", reason)


def summary(result: Result) -> str:
    """Summary of the result, the winner, the number of failures, and the path of the files."""
    directory = result.directory
    written = (directory.result, directory.leaderboard, directory.series, directory.nodes, directory.report)
    files = ", ".join(path.name for path in written)
    winner = winner_of(result)
    lines = [
        *summary_lines(result),
        *(winner_lines(winner) if winner else []),
        *_attempts(result),
        *_slow_nodes(result),
        f"files            {directory.path}: {files}",
    ]
    return "\n".join(["", *map(visible, lines)])


def _slow_nodes(result: Result) -> list[str]:
    """The slow nodes with their relative speeds, the slowest first; nothing without any."""
    slow = sorted((each for each in result.node_speeds if each.is_slow), key=lambda each: each.relative_speed or 0.0)
    if not slow:
        return []
    named = ", ".join(f"{each.node} ({each.relative_speed:.0%})" for each in slow[:_MOST_SLOW_NODES])
    more = len(slow) - _MOST_SLOW_NODES
    return [
        f"slow nodes       {named}{f' and {more} more' if more > 0 else ''}: of the speed of similar trials on others"
    ]


def _attempts(result: Result) -> list[str]:
    """Numbers of attempts and of those that failed, by reason, and the command that shows these; nothing for none."""
    state, path = result.state, str(result.directory.path)
    if not state.failures:
        return []
    reasons = Counter(end.reason.value for end in state.ends if is_failure(end.reason))
    by_reason = ", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common())
    attempts = count(len(state.ends) + len(state.live), "attempt")
    return [
        f"failures         {state.failures:,} of {attempts} failed: {by_reason}",
        f"                 {command_line(['status', path, '--failed'])}",
    ]
