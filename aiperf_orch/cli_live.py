"""Command line of those commands that change a campaign while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from aiperf_orch.commands import options
from aiperf_orch.commands.command_output import finish
from aiperf_orch.commands.completed_words import changeable_assignments


@click.command(name="set")
@options.CAMPAIGN_DIR
@click.argument("assignments", nargs=-1, required=True, metavar="KEY=VALUE...", shell_complete=changeable_assignments)
@options.TAKE_OVER
def set_settings(campaign_dir: Path, assignments: tuple[str, ...], take_over: bool) -> None:
    """Change settings of a campaign that has begun, for example concurrency=16 partition=gpu.

    A running controller takes the change up at its next step. What would change the benchmark is refused. Exit
    status: 0 changed, 1 refused by the controller, 2 a wrong key or value, 4 requested and not taken up yet.
    """
    from aiperf_orch.commands.set_settings import change_campaign

    finish(change_campaign(campaign_dir, assignments, take_over=take_over))


@click.command()
@options.CAMPAIGN_DIR
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@click.option("--now", "end_running", is_flag=True, help="End the trials that run there; they go on elsewhere.")
@click.option("--undo", is_flag=True, help="Let the nodes get trials again.")
@options.TAKE_OVER
def drain(campaign_dir: Path, nodes: tuple[str, ...], end_running: bool, undo: bool, take_over: bool) -> None:
    """Keep further trials of a campaign off nodes.

    Trials that run there go on to their end, unless --now is given. Trials that wait in the queue are submitted again
    without these nodes. It costs no trial any of its attempts. Exit status: 0 done, 1 the controller refused it, 4 the
    controller has not answered yet.
    """
    from aiperf_orch.commands.drain import drain_nodes
    from aiperf_orch.util.errors import UsageError

    if end_running and undo:
        raise UsageError("--now: ends trials on nodes that are drained: leave it out with --undo")
    finish(drain_nodes(campaign_dir, nodes, end_running=end_running, undo=undo, take_over=take_over))


COMMANDS: Final = (set_settings, drain)
