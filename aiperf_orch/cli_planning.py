"""Command line of those commands that explain settings, examine a site, and predict a campaign before it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from aiperf_orch.commands import options
from aiperf_orch.commands.command_output import finish
from aiperf_orch.commands.completed_words import campaign_directories, setting_names


@click.command()
@click.argument("key", metavar="KEY", shell_complete=setting_names)
@click.argument("site", type=click.Path(path_type=Path), required=False)
def explain(key: str, site: Path | None) -> None:
    """Explain a setting, and where SITE sets it.

    Its meaning, type, unit, default and an example are printed, and whether it may change in a campaign.

    KEY is the key of a setting, such as campaign.duration, or its last part. Of a section, such as scheduler, the keys
    are listed.
    """
    from aiperf_orch.commands.explain import explain_key

    finish(explain_key(key, site))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which a shell completes commands.

    It completes commands, options, campaign directories, and the keys of --set, set and explain. Write it to a file,
    and let ~/.bashrc source it (`. ~/.aiperf-orch.bash`), or ~/.zshrc after compinit; fish finds it itself.
    """
    from aiperf_orch.commands.completion import completion_script

    finish(completion_script(shell, ctx.find_root().command))


@click.command()
@options.SITE
@click.option(
    "--campaign-dir",
    type=click.Path(path_type=Path),
    shell_complete=campaign_directories,
    help="Directory that the campaign would have.",
)
@options.DURATION
@options.CONCURRENCY
@options.SET
@click.option("--no-job", is_flag=True, help="Do not submit the probe job, which checks the nodes.")
@click.option("--wait", metavar="TIME", default="5m", show_default=True, help="Maximum time of the job in the queue.")
@click.option("--every-node", is_flag=True, help="Examine every node by a job of its own, and train a few steps there.")
@click.option("-y", "--yes", is_flag=True, help="Agree to the cost of --every-node without being asked.")
@options.FORMAT
def check(
    site: Path,
    campaign_dir: Path | None,
    duration: str | None,
    concurrency: str | None,
    assignments: tuple[str, ...],
    no_job: bool,
    wait: str,
    every_node: bool,
    yes: bool,
    form: str,
) -> None:
    """Check that a campaign can run.

    Each line is ok, warning or fault, with advice. Exit status: 0 without a fault, 1 with one, 3 when the scheduler
    does not answer.
    """
    from aiperf_orch.commands import site_options
    from aiperf_orch.util.errors import UsageError
    from aiperf_orch.util.units import parse_duration

    try:
        wait_seconds = parse_duration(wait)
    except ValueError as error:
        raise UsageError(f"--wait: {error}") from None
    given = {"campaign.duration": ("--duration", duration), "campaign.concurrency": ("--concurrency", concurrency)}
    loaded = site_options.load(site, assignments, given)
    if every_node:
        from aiperf_orch.commands.check_nodes import check_every_node

        finish(check_every_node(loaded, campaign_dir, form, wait=wait_seconds, yes=yes))
        return
    from aiperf_orch.commands.check import check_site

    finish(check_site(loaded, campaign_dir, form, job=not no_job, wait=wait_seconds))


@click.command()
@options.SITE
@click.option("--nodes", required=True, type=click.IntRange(1, 100_000), metavar="N", help="Number of nodes.")
@options.DURATION
@click.option(
    "--concurrency",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Trials at once; default: as many as the nodes hold.",
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
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE.json", help="Write the plan, for `run --plan`."
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


COMMANDS: Final = (explain, completion, check, plan)
