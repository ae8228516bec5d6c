"""Parts of `status`: the attempts of one trial, the attempts that failed, and the campaigns under ./campaigns."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.commands.attempt_facts import attempt_facts, failure_rows, find_trial, rerun_command
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_time

CAMPAIGNS: Final = Path("campaigns")
"""Where `run` makes campaigns whose directory is not given."""

_MAX_REASON: Final = 60  # characters in the table; CSV and JSON have all


def show_trial(campaign_dir: Path, trial: int, form: str) -> CommandOutput:
    """Every attempt of a trial: node, job, times, end reason, log, and the command that runs the trial again.

    Raises:
        UsageError: When the campaign has no such trial.
    """
    directory = CampaignDirectory.open(campaign_dir)
    found = find_trial(directory, read_state(directory), trial)
    rows = [attempt_facts(directory, found, attempt) for attempt in found.attempts]
    if form == "csv":
        return CommandOutput(render_rows(rows, form), form=form)
    proposal = found.proposal
    heading = {"trial": trial, "network": proposal.network_hash, "parent": proposal.parent}
    if form == "json":
        return CommandOutput(json.dumps(heading | {"attempts": rows}, indent=2) + "\n", form=form)
    origin = "from the seed" if proposal.parent is None else f"from trial {proposal.parent}"
    blocks = [_lines({"trial": trial, "network": f"{proposal.network_hash[:8]} {origin}"})]
    for row in rows:
        ended = row["reason"] or ("has not ended" if row["began"] else "has not begun")
        named = {key: value for key, value in row.items() if key not in ("reason", "message", "again")}
        blocks.append(_lines(named | {"reason": ended, "why": row["message"]}))
    again = _lines({"run again": rerun_command(directory, trial)})
    return CommandOutput("\n".join([*blocks, again]))


def show_failures(campaign_dir: Path, form: str) -> CommandOutput:
    """Every attempt that failed, in the order of their ends; the table shortens messages, CSV and JSON have all."""
    directory = CampaignDirectory.open(campaign_dir)
    rows = failure_rows(directory, read_state(directory))
    if form != "table":
        return CommandOutput(render_rows(rows, form), form=form)
    if not rows:
        return CommandOutput("no attempt has failed\n")
    cells = [
        {key: value for key, value in row.items() if key not in ("again", "retried")}
        | {
            "log": str(Path(row["log"]).relative_to(directory.path)),
            "why": row["why"] and textwrap.shorten(row["why"], _MAX_REASON, placeholder=" …"),
        }
        for row in rows
    ]
    hints = {
        "logs in": directory.path,
        "why": command_line(["log", str(directory.path)]) + " TRIAL",
        "run again": command_line(["trial", str(directory.specs_folder)]) + "/TRIAL.json, with five digits",
    }
    return CommandOutput(render_rows(cells, "table") + "\n" + _lines(hints))


def campaigns() -> list[Path]:
    """Directories of the campaigns under ./campaigns, the newest first.

    Raises:
        UsageError: When there is none.
    """
    found = [path for path in CAMPAIGNS.iterdir() if CampaignDirectory.exists(path)] if CAMPAIGNS.is_dir() else []
    if not found:
        raise UsageError(
            f"{CAMPAIGNS.absolute()}: holds no campaign: name the directory of one, or change to its parent"
        )
    return sorted(found, key=lambda path: CampaignDirectory.open(path).config_file.stat().st_mtime, reverse=True)


def campaign_rows(paths: list[Path]) -> list[dict[str, Any]]:
    """A row for each campaign, from its journal; one that cannot be read has the reason."""
    return [_campaign_row(path) for path in paths]


def _campaign_row(path: Path) -> dict[str, Any]:
    row = dict.fromkeys(("campaign", "state", "trials", "failed", "best_error", "began", "why"))
    row["campaign"] = str(path)
    try:
        directory = CampaignDirectory.open(path)
        state = read_state(directory)
    except AiperfError as error:
        return row | {"state": "unreadable", "why": str(error)}
    return row | {
        "state": state.phase.value,
        "trials": len(state.trials),
        "failed": len(failure_rows(directory, state)),
        "best_error": state.best_error,
        "began": format_time(state.first_begin) if state.first_begin else None,
        "why": state.phase_reason or None,
    }


def campaigns_table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table, with shortened reasons."""
    cells = [
        row
        | {
            "best_error": None if row["best_error"] is None else f"{row['best_error']:.2%}",
            "why": row["why"] and textwrap.shorten(row["why"], _MAX_REASON, placeholder=" …"),
        }
        for row in rows
    ]
    return render_rows(cells, "table")


def _lines(facts: dict[str, Any]) -> str:
    """Facts, one a line; without those that are None."""
    return "".join(f"{key:<11}{visible(str(value))}\n" for key, value in facts.items() if value is not None)
