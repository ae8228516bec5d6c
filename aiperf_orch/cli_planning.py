"""Command `plan`: parse the arguments, run the command, print its output. `cli` adds it to the group."""

from __future__ import annotations

from pathlib import Path

import click

from aiperf_orch.commands import options
from aiperf_orch.commands.command_output import finish


@click.command()
@options.SITE
@click.option("--nodes", required=True, type=click.IntRange(1, 100_000), metavar="N", help="Number of nodes.")
@options.DURATION
@click.option(
    "--concurrency", type=click.IntRange(1), metavar="N", help="Trials at once; default: as many as the nodes hold."
)
@click.option(
    "--from",
    "sources",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="SOURCE",
    help="Campaign directory, package, or output of bench-node; may be repeated.",
)
@click.argument("campaigns", nargs=-1, type=click.Path(path_type=Path))
@options.SET
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE.json", help="Write the plan, for `run --plan`."
)
@options.TABLE_OR_JSON
def plan(
    site: Path,
    nodes: int,
    duration: str | None,
    concurrency: int | None,
    sources: tuple[Path, ...],
    campaigns: tuple[Path, ...],
    assignments: tuple[str, ...],
    output: Path | None,
    form: str,
) -> None:
    """Predict what a campaign will bring, before it is run.

    CAMPAIGNS are sources, too: plan SITE --nodes 64 --duration 12h --from CAMPAIGN CAMPAIGN.

    Score, error, trials, node-hours, energy and files, each with an interval where the sources have a spread; how the
    time divides; and from which size and duration on the result is rankable.
    """
    from aiperf_orch.commands import site_options

    loaded = site_options.load(site, assignments, {"campaign.duration": ("--duration", duration)})
    from aiperf_orch.commands.plan import plan_campaign

    found = plan_campaign(
        loaded, (*sources, *campaigns), nodes=nodes, concurrency=concurrency, form=form, output=output
    )
    finish(found)
