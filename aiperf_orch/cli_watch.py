"""Command line of those commands that show a campaign and change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from aiperf_orch.commands import options
from aiperf_orch.commands.command_output import finish


@click.command()
@options.CAMPAIGN_DIR
@options.FORMAT
def status(campaign_dir: Path, form: str) -> None:
    """Show the state of a campaign and its trials."""
    from aiperf_orch.commands.status import show_status

    finish(show_status(campaign_dir, form))


@click.command()
@options.CAMPAIGN_DIR
@click.argument("trial", type=click.IntRange(0))
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Attempt of the trial; default: the latest.")
@click.option("--follow", is_flag=True, help="Print further lines until the attempt ends; Ctrl-C leaves.")
def log(campaign_dir: Path, trial: int, attempt: int | None, follow: bool) -> None:
    """Show the log of a trial: its path, why the trial ended, and the lines that explain it.

    Exit status: 0 shown, 1 the attempt has no log, 2 there is no such trial or attempt.
    """
    from aiperf_orch.commands.trial_log import show_log

    finish(show_log(campaign_dir, trial, attempt, follow=follow))


COMMANDS: Final = (status, log)
