"""Command line of those commands that show a campaign and change nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import click

from aiperf_orch.commands import options
from aiperf_orch.commands.command_output import finish

_log: Final = logging.getLogger(__name__)


@click.command()
@options.OPTIONAL_CAMPAIGN_DIR
@click.option("--trial", type=click.IntRange(0), metavar="N", help="Show each attempt of this trial.")
@click.option("--failed", is_flag=True, help="Show the attempts that failed.")
@click.option("--best", is_flag=True, help="Show the trials with the lowest errors.")
@click.option("--watch", is_flag=True, help="Show the live view until the campaign is over; Ctrl-C leaves.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "openmetrics"]),
    default="table",
    show_default=True,
    help="Format of the output; openmetrics is for monitoring.",
)
def status(campaign_dir: Path | None, trial: int | None, failed: bool, best: bool, watch: bool, form: str) -> None:
    """Show the state of a campaign and its trials.

    Without CAMPAIGN_DIR the campaigns under ./campaigns are listed, and the newest one is shown.
    """
    from aiperf_orch.commands.status import show_campaigns, show_status
    from aiperf_orch.commands.status_parts import campaigns, show_failures, show_trial
    from aiperf_orch.util.errors import UsageError

    if (trial is not None) + failed + best + watch > 1:
        raise UsageError("--trial, --failed, --best, --watch: give one of them")
    if form == "openmetrics" and (trial is not None or failed or best or watch):
        raise UsageError(
            "--format openmetrics: has the campaign as a whole: leave out --trial, --failed, --best, --watch"
        )
    if watch and form != "table":
        raise UsageError(f"--watch: shows no {form}: leave out --format")
    if campaign_dir is None and trial is None and not (failed or best or watch) and form != "openmetrics":
        finish(show_campaigns(form))
        return
    shown = campaign_dir or campaigns()[0]
    if campaign_dir is None:
        _log.info("the newest campaign: %s", shown)
    if watch:
        from aiperf_orch.commands.watch import watch_campaign

        finish(watch_campaign(shown))
    elif form == "openmetrics":
        from aiperf_orch.commands.metrics import show_metrics

        finish(show_metrics(shown))
    elif trial is not None:
        finish(show_trial(shown, trial, form))
    elif failed:
        finish(show_failures(shown, form))
    else:
        finish(show_status(shown, form, best=best))


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
