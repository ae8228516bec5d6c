"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from aiperf_orch.commands.completed_words import campaign_directories, setting_assignments

CAMPAIGN_DIR: Final = click.argument(
    "campaign_dir", type=click.Path(path_type=Path), shell_complete=campaign_directories
)
OPTIONAL_CAMPAIGN_DIR: Final = click.argument(
    "campaign_dir", type=click.Path(path_type=Path), required=False, shell_complete=campaign_directories
)
SITE: Final = click.argument("site", type=click.Path(path_type=Path))
SET: Final = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=setting_assignments,
    help="Change any setting, for example campaign.duration=2h.",
)
DURATION: Final = click.option(
    "--duration", metavar="TIME", help="Duration of the campaign, for example 12h or 1-12:00:00."
)
CONCURRENCY: Final = click.option("--concurrency", metavar="N", help="Number of trials at once.")
FORMAT: Final = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="Format of the output.",
)
TABLE_OR_JSON: Final = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Format of the output.",
)
TAKE_OVER: Final = click.option(
    "--take-over", is_flag=True, help="Take the campaign over from a controller on another host that has died."
)
PSEUDONYMS: Final = click.option(
    "--pseudonyms", is_flag=True, help="Replace names of hosts, users and accounts by pseudonyms."
)
