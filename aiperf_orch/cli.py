"""The command line: parse, call, print. What costs to import is imported by the command that needs it.

Data goes to standard output, messages to standard error. Exit status: 0 done, 1 failed, 2 wrong use or configuration,
3 scheduler not reachable, 4 not finished yet, 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

import aiperf_orch
from aiperf_orch.commands.command_group import Commands
from aiperf_orch.commands.visible_output import show

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_FORMATS = click.Choice(["table", "csv", "json"])


@click.group(cls=Commands, context_settings=_CONTEXT)
@click.version_option(aiperf_orch.__version__, prog_name="aiperf-orch")
def main() -> None:
    """Run the AIPerf AI-HPC benchmark: an architecture search whose operations are counted and scored."""


_CAMPAIGN = click.argument("campaign_dir", type=click.Path(path_type=Path))
_SITE = click.argument("site", type=click.Path(path_type=Path))
_SET = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change any setting, as run.duration=2h."
)
_DURATION = click.option("--duration", metavar="TIME", help="How long, as 12h or 1-12:00:00.")
_CONCURRENCY = click.option("--concurrency", metavar="N", help="Trials at once.")
_FORMAT = click.option("--format", "form", type=_FORMATS, default="table", show_default=True, help="What to print.")
_TAKE_OVER = click.option("--take-over", is_flag=True, help="Take the campaign from another host's dead controller.")


@main.command()
@click.option("--scheduler", type=click.Choice(["slurm", "pbs", "local"]), help="By default the one that is here.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write this file, which must not be there yet.")
def init(scheduler: str | None, output: Path | None) -> None:
    """Draft a site file from what the scheduler has.

    Prints it, or writes it to a file.
    """
    from aiperf_orch.commands import init as drafting

    show(drafting.init(scheduler, output))


@main.command()
@_SITE
@click.option("--campaign-dir", type=click.Path(path_type=Path), help="Where the campaign will lie.")
@_DURATION
@_CONCURRENCY
@_SET
@click.option("--no-job", is_flag=True, help="Do not submit the small job that looks from a node.")
@click.option(
    "--wait", metavar="TIME", default="5m", show_default=True, help="How long that job may wait in the queue."
)
@_FORMAT
def check(
    site: Path,
    campaign_dir: Path | None,
    duration: str | None,
    concurrency: str | None,
    assignments: tuple[str, ...],
    no_job: bool,
    wait: str,
    form: str,
) -> None:
    """Look for what would keep a campaign from running.

    Each line says ok, warning or fault, and what to do. Exit status: 0 without a fault, 1 with one, 3 when the scheduler
    does not answer.
    """
    from aiperf_orch.commands import site_options
    from aiperf_orch.util.errors import UsageError
    from aiperf_orch.util.units import parse_duration

    try:
        patience = parse_duration(wait)
    except ValueError as error:
        raise UsageError(f"--wait: {error}") from None
    options = {"campaign.duration": ("--duration", duration), "campaign.concurrency": ("--concurrency", concurrency)}
    loaded = site_options.load(site, assignments, options)
    from aiperf_orch.commands import check as doctor

    sys.exit(doctor.check(loaded, campaign_dir, form, job=not no_job, wait=patience))


@main.command()
@_SITE
@click.option("--campaign-dir", type=click.Path(path_type=Path), help="Where the campaign lies or will lie.")
@_DURATION
@_CONCURRENCY
@click.option("--max-trials", metavar="N", help="End after so many trials.")
@click.option("--seed", metavar="S", help="Of the search.")
@_SET
@_TAKE_OVER
@click.option("-y", "--yes", is_flag=True, help="Agree to what it takes of a cluster.")
@click.option("--detach", is_flag=True, help="Leave the controller running in the background; it survives a logout.")
@click.option("--prepare", is_flag=True, help="Only make the campaign; `tick` takes its steps.")
@click.option("-n", "--dry-run", is_flag=True, help="Check and print the settings; make and start nothing.")
def run(
    site: Path,
    campaign_dir: Path | None,
    duration: str | None,
    concurrency: str | None,
    max_trials: str | None,
    seed: str | None,
    assignments: tuple[str, ...],
    take_over: bool,
    yes: bool,
    detach: bool,
    prepare: bool,
    dry_run: bool,
) -> None:
    """Run a campaign, new or resumed.

    SITE is a site file with the settings, as site_configs/local.yaml.

    Without --campaign-dir a new directory under ./campaigns is made. Ctrl-C ends the running trials and stops; the same
    command with the same --campaign-dir goes on.
    """
    from aiperf_orch.commands import site_options

    options = {
        "campaign.duration": ("--duration", duration),
        "campaign.concurrency": ("--concurrency", concurrency),
        "campaign.max_trials": ("--max-trials", max_trials),
        "campaign.seed": ("--seed", seed),
    }
    loaded = site_options.load(site, assignments, options)
    from aiperf_orch.commands import run  # slower to import than a mistake in the settings is to find

    if dry_run:
        run.check(loaded, campaign_dir)
        show(site_options.describe(loaded))
        return
    how = {"take_over": take_over, "yes": yes, "background": detach, "prepare": prepare}
    sys.exit(run.run(loaded, site, campaign_dir, **how))


@main.command()
@_CAMPAIGN
@_TAKE_OVER
def tick(campaign_dir: Path, take_over: bool) -> None:
    """Take one step of a campaign, for cron.

    It is the step that `run` repeats. Exit status 4 says that the campaign goes on.
    """
    from aiperf_orch.commands import run

    sys.exit(run.tick(campaign_dir, take_over=take_over))


@main.command()
@_CAMPAIGN
@_FORMAT
def status(campaign_dir: Path, form: str) -> None:
    """Show how a campaign and its trials stand."""
    from aiperf_orch.commands import status as view

    show(view.status(campaign_dir, form), form)


@main.command()
@_CAMPAIGN
@_TAKE_OVER
def stop(campaign_dir: Path, take_over: bool) -> None:
    """End running trials; `run` goes on later."""
    from aiperf_orch.commands import run

    sys.exit(run.stop(campaign_dir, take_over=take_over))


@main.command()
@_CAMPAIGN
@_FORMAT
def score(campaign_dir: Path, form: str) -> None:
    """Score a campaign and write its CSV files and its report anew."""
    from aiperf_orch.commands import score as scoring

    show(scoring.score(campaign_dir, form), form)


@main.command()
@_CAMPAIGN
@click.option("--output", type=click.Path(path_type=Path), help="Where to; by default report.html in the campaign.")
def report(campaign_dir: Path, output: Path | None) -> None:
    """Draw a campaign's report.html anew."""
    from aiperf_orch.commands import report as reporting

    show(f"{reporting.report(campaign_dir, output)}\n")


@main.command()
@_CAMPAIGN
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="FILE.tar.gz", help="Where the package goes."
)
@click.option("--pseudonyms", is_flag=True, help="Hosts and users get pseudonyms.")
@click.option("--sign", "key", type=click.Path(path_type=Path), metavar="KEY", help="Sign it with this SSH key.")
def package(campaign_dir: Path, output: Path, pseudonyms: bool, key: Path | None) -> None:
    """Pack a campaign's results for a committee, and verify them.

    Exit status: 0 made and verified, 1 made, but its records contradict each other, 4 the campaign still runs.
    """
    from aiperf_orch.commands import package as packing

    text, status = packing.package(campaign_dir, output, key, pseudonyms=pseudonyms)
    show(text)
    sys.exit(status)


@main.command()
@_CAMPAIGN
@click.option("--to", "recipients", multiple=True, required=True, metavar="ADDRESS", help="May be given several times.")
@click.option("--from", "sender", metavar="ADDRESS", help="By default the site file's system.contact.")
@click.option("--smtp", metavar="HOST[:PORT]", help="The mail server that sends it.")
@click.option("--tls", type=click.Choice(["starttls", "tls", "none"]), default="starttls", show_default=True)
@click.option(
    "--login-file", type=click.Path(path_type=Path), help="For the server: two lines, user and password; mode 0600."
)
@click.option("--timeout", default="60s", show_default=True, metavar="TIME", help="For each answer of the server.")
@click.option("--sendmail", is_flag=True, help="This machine's sendmail sends it.")
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE.eml", help="Write it to a file.")
@click.option(
    "--package-limit",
    type=click.IntRange(0, 1024),
    default=10,
    show_default=True,
    metavar="MIB",
    help="A larger package is not attached; its SHA-256 is told.",
)
@click.option("--pseudonyms", is_flag=True, help="Hosts and users get pseudonyms.")
@click.option("--yes", is_flag=True, help="Do not ask before it is sent.")
def mail(
    campaign_dir: Path,
    recipients: tuple[str, ...],
    sender: str | None,
    smtp: str | None,
    tls: str,
    login_file: Path | None,
    timeout: str,
    sendmail: bool,
    save: Path | None,
    package_limit: int,
    pseudonyms: bool,
    yes: bool,
) -> None:
    """Mail a campaign's result, report and package.

    What would be sent is shown first. The same result has the same Message-ID, whenever it is sent.
    """
    from aiperf_orch.commands import mail as mailing
    from aiperf_orch.committee.smtp import parse_server

    server = None if smtp is None else parse_server(smtp, tls, login_file, timeout)
    mailing.mail(
        campaign_dir,
        recipients=recipients,
        sender=sender,
        server=server,
        sendmail=sendmail,
        save=save,
        package_limit=package_limit,
        pseudonyms=pseudonyms,
        yes=yes,
    )


@main.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "--signers", type=click.Path(path_type=Path), metavar="FILE", help="Ask for a signature by one of these signers."
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def verify(package: Path, signers: Path | None, form: str) -> None:
    """Check that a package's numbers follow from its records.

    Exit status: 0 verified, 1 faults were found. Whether the result is rankable too is said, and no fault.
    """
    from aiperf_orch.commands import verify as verifying

    text, status = verifying.report(package, signers, form)
    show(text, form)
    sys.exit(status)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--withdrawn",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Withdrawn campaigns, a line each: tag or settings_sha256, and the reason.",
)
@click.option(
    "--signers",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Packages must be signed by one of these signers.",
)
@_FORMAT
def rank(files: tuple[Path, ...], withdrawn: Path | None, signers: Path | None, form: str) -> None:
    """Rank packages and result.csv's by score.

    FILES in the order in which they were received: of one campaign's files the last counts. A package is verified; a
    result.csv cannot be.
    """
    from aiperf_orch.commands import rank as ranking

    show(ranking.ranking(files, form, withdrawn, signers), form)


@main.command()
@click.argument("campaigns", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--by",
    type=click.Choice(["accelerators", "nodes", "concurrency"]),
    help="What a size counts; by default the first that all name and that tells them apart.",
)
@click.option("--output", type=click.Path(path_type=Path), help="A figure: .html, .svg, .png or .pdf.")
@click.option("--allow-differences", is_flag=True, help="Compare campaigns by different settings, and say so.")
@_FORMAT
def scaling(
    campaigns: tuple[Path, ...], by: str | None, output: Path | None, allow_differences: bool, form: str
) -> None:
    """Weak-scaling efficiency of campaigns of different sizes.

    CAMPAIGNS are campaign directories; packages and result.csv's will do.
    """
    from aiperf_orch.commands import scaling as comparing

    show(comparing.scaling(campaigns, form, by, output, allow_differences=allow_differences), form)


@main.command()
@_SITE
@_SET
def render(site: Path, assignments: tuple[str, ...]) -> None:
    """Print a trial's batch script; submits nothing.

    Exit status 2 says that a campaign could not run by it, and why.
    """
    from aiperf_orch.commands import render as rendering
    from aiperf_orch.commands import site_options

    loaded = site_options.load(site, assignments, {})
    click.echo(rendering.render(loaded), nl=False)
    for warning in rendering.check_contract(loaded, resumed=False):
        click.echo(f"warning: {warning}", err=True)


@main.command()
@click.argument("network")
@click.option("--by-layer", is_flag=True, help="A row a layer.")
@_FORMAT
def ops(network: str, by_layer: bool, form: str) -> None:
    """Count a network's operations per image.

    NETWORK is a graph's JSON file (ours, one of AIPerf v1.0, or a trial's specification), or the name of a seed
    network: resnet50, small_residual.
    """
    from aiperf_orch.commands import ops as counting

    show(counting.report(network, form, by_layer=by_layer), form)


@main.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="Keep the best weights here.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="The data set, if not the campaign's.")
def trial(spec: Path, weights: Path | None, data: Path | None) -> None:
    """Run one trial by hand, in the present allocation.

    SPEC is a trial's specification, trials/NNNNN.json of a campaign, whose records are only read. Events go to standard
    output, a JSON object a line. On several nodes of Slurm: srun --ntasks-per-node=1 aiperf-orch trial SPEC
    """
    from aiperf_orch.commands import trial as by_hand

    by_hand.trial(spec, weights, data)


@main.command()
@click.argument("site", type=click.Path(path_type=Path), required=False)
@_SET
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench_node(site: Path | None, assignments: tuple[str, ...], form: str) -> None:
    """Measure this node in about a minute, and say what limits it.

    The peak of a matrix product, the rate of loading data, and the rate of training ResNet-50, on one accelerator or the
    processor's cores. SITE names the data set and the recipe; without it JPEGs are made and loaded. Exit status: 0
    measured, 1 training could not be.
    """
    from aiperf_orch.commands import site_options
    from aiperf_orch.commands import trial as by_hand
    from aiperf_orch.util.errors import UsageError

    if assignments and site is None:
        raise UsageError("--set: changes a site file's settings, and no SITE is given")
    by_hand.bench(site_options.load(site, assignments, {}) if site else None, form)


if __name__ == "__main__":
    main()
