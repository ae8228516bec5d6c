"""Parts of `status`: the attempts of one trial, the attempts that failed, and the campaigns under ./campaigns."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.saved_state import read_short_state
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

UNREADABLE: Final = "unreadable"
"""State of a campaign that cannot be read."""

_MAX_REASON: Final = 60  # characters in the table; CSV and JSON have all


def show_trial(campaign_dir: Path, trial: int, form: str) -> CommandOutput:
    """Every attempt of a trial: node, job, times, end reason, log, and the command that runs the trial again.

    The table of a trial that never began is one line.

    Raises:
        UsageError: When the campaign has no such trial.
    """
    directory = CampaignDirectory.open(campaign_dir)
    found = find_trial(directory, read_state(directory), trial)
    rows = [attempt_facts(directory, found, attempt) for attempt in found.attempts]
    if form == "csv":
        return CommandOutput(render_rows(rows, form), form=form)
    proposal = found.proposal
    heading = {
        "campaign": str(directory.path),
        "trial": trial,
        "network": proposal.network_hash,
        "parent": proposal.parent,
    }
    if form == "json":
        return CommandOutput(json.dumps(heading | {"attempts": rows}, indent=2) + "\n", form=form)
    if not any(row["began"] for row in rows):
        return CommandOutput(f"trial {trial} has not begun: {_unbegun(rows[-1])}\n")
    origin = "from the seed" if proposal.parent is None else f"from trial {proposal.parent}"
    blocks = [_lines(heading | {"network": f"{proposal.network_hash[:8]} {origin}", "parent": None})]
    for row in rows:
        ended = row["reason"] or ("has not ended" if row["began"] else "has not begun")
        named = {key: value for key, value in row.items() if key not in ("reason", "message", "again")}
        blocks.append(_lines(named | {"reason": ended, "why": row["message"]}))
    again = _lines({"run again": rerun_command(directory, trial)})
    return CommandOutput("\n".join([*blocks, again]))


def _unbegun(row: Mapping[str, Any]) -> str:
    """The latest attempt of a trial that never began, in one line."""
    job = f"job {row['job']}, " if row["job"] else ""
    ended = f", ended {': '.join(filter(None, [row['reason'], row['message']]))}" if row["reason"] else ""
    return visible(f"attempt {row['attempt']}, {job}submitted {row['submitted']}{ended}")


def show_failures(campaign_dir: Path, form: str) -> CommandOutput:
    """Every attempt that failed, in the order of their ends; the table shortens messages, CSV and JSON have all."""
    directory = CampaignDirectory.open(campaign_dir)
    rows = failure_rows(directory, read_state(directory))
    if form != "table":
        return CommandOutput(render_rows(rows, form), form=form)
    if not rows:
        return CommandOutput("no attempt has failed\n")
    cells = [
        {key: value for key, value in row.items() if key not in ("again", "retried", "log")}
        | {
            "log": str(Path(row["log"]).relative_to(directory.path)),
            "again": str(directory.spec(row["trial"]).relative_to(directory.path)),
            "why": row["why"] and textwrap.shorten(row["why"], _MAX_REASON, placeholder=" …"),
        }
        for row in rows
    ]
    hints = {
        "files are in": directory.path,
        "to see why": f"{command_line(['log', str(directory.path)])} TRIAL",
        "to run again": f"{command_line(['trial'])} {shlex.quote(str(directory.path))}/AGAIN (AGAIN as above)",
    }
    return CommandOutput(render_rows(cells, "table") + "\n" + _lines(hints))


def campaigns() -> list[Path]:
    """Directories of the campaigns under ./campaigns, the newest first.

    Raises:
        UsageError: When there is none.
        AiperfError: When the folder cannot be read.
    """
    found: dict[Path, float] = {}
    with translate_os_errors(CAMPAIGNS, passing=FileNotFoundError, action="read"), suppress(FileNotFoundError):
        for path in CAMPAIGNS.iterdir():
            with suppress(OSError):  # no campaign, or another user's
                found[path] = Layout(path).config_file.stat().st_mtime
    if not found:
        raise UsageError(
            f"{CAMPAIGNS.absolute()}: holds no campaign: name the directory of one, or change to its parent"
        )
    return sorted(found, key=lambda path: (found[path], path.name), reverse=True)


def campaign_rows(paths: list[Path]) -> list[dict[str, Any]]:
    """A row for each campaign, from its journal; one that cannot be read has the reason."""
    return [_campaign_row(path) for path in paths]


def _campaign_row(path: Path) -> dict[str, Any]:
    row = dict.fromkeys(("campaign", "state", "trials", "failed", "best_error", "began", "why"))
    row["campaign"] = str(path)
    try:
        directory = CampaignDirectory.open(path)
        state = read_short_state(directory)
    except AiperfError as error:
        return row | {"state": UNREADABLE, "why": str(error)}
    return row | {
        "state": state.phase.value,
        "trials": state.trials_known,
        "failed": state.failures,
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
    return "".join(f"{key:<12} {visible(str(value))}\n" for key, value in facts.items() if value is not None)
