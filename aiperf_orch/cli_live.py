"""Command line of those commands that change a campaign while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from aiperf_orch.commands import options
from aiperf_orch.commands.command_output import finish


@click.command(name="set")
@options.CAMPAIGN_DIR
@click.argument("assignments", nargs=-1, required=True, metavar="KEY=VALUE...")
@options.TAKE_OVER
def set_settings(campaign_dir: Path, assignments: tuple[str, ...], take_over: bool) -> None:
    """Change settings of a campaign that has begun, for example concurrency=16 partition=gpu.

    A running controller takes the change up at its next step. What would change the benchmark is refused. Exit
    status: 0 changed, 1 refused by the controller, 2 a wrong key or value, 4 requested and not taken up yet.
    """
    from aiperf_orch.commands.set_settings import change_campaign

    finish(change_campaign(campaign_dir, assignments, take_over=take_over))


COMMANDS: Final = (set_settings,)
