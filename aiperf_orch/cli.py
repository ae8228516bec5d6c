"""Command line: parse the arguments, run the command, print its output.

Data goes to standard output, messages to standard error. Exit status: 0 done, 1 failed, 2 wrong use or configuration,
3 scheduler not reachable, 4 not finished yet, 130 interrupted. Each command imports its own module, since some are
costly to import. The commands of a committee stand in `cli_committee`, those before a campaign in `cli_planning`, those
that show one in `cli_watch`, those that change one while it runs in `cli_live`, `bench-node` in `cli_node`,
`data` in `cli_data`, `meter` in `cli_meter`.
"""

from __future__ import annotations

from pathlib import Path

import click

import aiperf_orch
from aiperf_orch import cli_committee, cli_live, cli_planning, cli_watch
from aiperf_orch.cli_data import data
from aiperf_orch.cli_meter import meter
from aiperf_orch.cli_node import bench_node
from aiperf_orch.commands import options
from aiperf_orch.commands.command_group import Commands
from aiperf_orch.commands.command_output import finish
from aiperf_orch.commands.completed_words import campaign_directories

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(
    cls=Commands,
    context_settings=_CONTEXT,
    epilog="aiperf-orch COMMAND --help explains a command, and shows examples of it.",
)
@click.version_option(aiperf_orch.__version__, prog_name="aiperf-orch")
def main() -> None:
    """Run the AIPerf AI-HPC benchmark: an architecture search whose operations are counted and scored."""


@main.command()
@click.option(
    "--scheduler", type=click.Choice(["slurm", "pbs", "local"]), help="Default: the scheduler that is installed."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write this file, which must not exist.")
@click.option("--questionnaire", is_flag=True, help="Draft the questionnaire of reproducibility for `package`.")
def init(scheduler: str | None, output: Path | None, questionnaire: bool) -> None:
    """Draft a site file from the scheduler's inventory.

    The draft is printed, or written to a file.
    """
    from aiperf_orch.commands.init import draft_questionnaire, draft_site_file
    from aiperf_orch.util.errors import UsageError

    if questionnaire and scheduler:
        raise UsageError("--questionnaire: is the same for every scheduler: leave out --scheduler")
    finish(draft_questionnaire(output) if questionnaire else draft_site_file(scheduler, output))


for _command in cli_planning.COMMANDS:
    main.add_command(_command)


@main.command()
@click.argument("site", type=click.Path(path_type=Path), required=False)
@click.option(
    "--campaign-dir",
    type=click.Path(path_type=Path),
    shell_complete=campaign_directories,
    help="Directory of the campaign, new or existing.",
)
@options.DURATION
@options.CONCURRENCY
@click.option("--max-trials", metavar="N", help="End after this number of trials.")
@click.option("--seed", metavar="S", help="Seed of the search.")
@options.SET
@options.TAKE_OVER
@click.option("-y", "--yes", is_flag=True, help="Agree to the cost on a cluster without being asked.")
@click.option("--detach", is_flag=True, help="Leave the controller running in the background; it survives a logout.")
@click.option("--prepare", is_flag=True, help="Only make the campaign; run its steps by `tick`.")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="Plan that the report compares with the result, the output of `plan`.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Check and print the settings; make and start nothing.")
def run(
    site: Path | None,
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
    plan_file: Path | None,
    dry_run: bool,
) -> None:
    """Run a campaign, new or resumed.

    SITE is a site file with the settings. A campaign that exists needs none: --campaign-dir alone resumes it.

    Without --campaign-dir a new directory under ./campaigns is made. Ctrl-C ends the running trials and stops the
    campaign.
    """
    from aiperf_orch.commands import site_options

    given = {
        "campaign.duration": ("--duration", duration),
        "campaign.concurrency": ("--concurrency", concurrency),
        "campaign.max_trials": ("--max-trials", max_trials),
        "campaign.seed": ("--seed", seed),
    }
    loaded = site_options.load_or_resume(site, campaign_dir, assignments, given)
    # imported after the settings were loaded, so that a mistake in them is reported without delay
    from aiperf_orch.commands.run import check_settings, run_campaign

    if dry_run:
        finish(check_settings(loaded, campaign_dir))
        return
    outcome = run_campaign(
        loaded, site, campaign_dir, take_over=take_over, yes=yes, background=detach, prepare=prepare, plan=plan_file
    )
    finish(outcome)


@main.command()
@options.CAMPAIGN_DIR
@options.TAKE_OVER
def tick(campaign_dir: Path, take_over: bool) -> None:
    """Run one step of a campaign, for cron.

    `run` repeats the same step. Exit status: 0 finished, 1 paused, 4 the campaign goes on, or was stopped.
    """
    from aiperf_orch.commands.tick import step_campaign

    finish(step_campaign(campaign_dir, take_over=take_over))


for _command in cli_watch.COMMANDS:
    main.add_command(_command)


@main.command()
@options.CAMPAIGN_DIR
@options.TAKE_OVER
def stop(campaign_dir: Path, take_over: bool) -> None:
    """End the running trials of a campaign, which `run` can resume."""
    from aiperf_orch.commands.stop import stop_campaign

    finish(stop_campaign(campaign_dir, take_over=take_over))


for _command in cli_live.COMMANDS:
    main.add_command(_command)


@main.command()
@options.CAMPAIGN_DIR
@options.FORMAT
def score(campaign_dir: Path, form: str) -> None:
    """Score a campaign, and write its CSV files and its report."""
    from aiperf_orch.commands.score import score_campaign

    finish(score_campaign(campaign_dir, form))


@main.command()
@options.CAMPAIGN_DIR
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write; default: report.html of the campaign."
)
@click.option("--controller", type=int, hidden=True, help="Process that runs the campaign, and starts this command.")
def report(campaign_dir: Path, output: Path | None, controller: int | None) -> None:
    """Write a campaign's report.html again."""
    from aiperf_orch.commands.report import write_report_again, write_running_report

    if controller is None:
        finish(write_report_again(campaign_dir, output))
    else:
        finish(write_running_report(campaign_dir, controller))


@main.command("export-network")
@options.CAMPAIGN_DIR
@click.option("--trial", type=click.IntRange(0), metavar="N", help="Trial; default: the one with the lowest error.")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="New folder to write."
)
def export_network(campaign_dir: Path, trial: int | None, output: Path) -> None:
    """Write a trained network as a plain PyTorch module.

    FOLDER gets network.py, which needs nothing of aiperf-orch, the weights, a check that reproduces the recorded error,
    and README.md.
    """
    from aiperf_orch.commands import export_network as command

    finish(command.export_network(campaign_dir, output, trial))


@main.command()
@options.CAMPAIGN_DIR
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE.tar.gz", help="File to write."
)
@options.PSEUDONYMS
@click.option("--weights", is_flag=True, help="Add the weights of the lowest error, for `evaluate`.")
@click.option(
    "--questionnaire",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Add the questionnaire of reproducibility that `init --questionnaire` has drafted.",
)
@click.option(
    "--sign", "key", type=click.Path(path_type=Path), metavar="KEY", help="Sign the package with this SSH key."
)
def package(
    campaign_dir: Path, output: Path, pseudonyms: bool, weights: bool, questionnaire: Path | None, key: Path | None
) -> None:
    """Pack a campaign's results for a committee, and verify them.

    Exit status: 0 made and verified, 1 made, but its records contradict each other, 4 the campaign still runs.
    """
    from aiperf_orch.commands.package import package_campaign

    made = package_campaign(
        campaign_dir, output, key, pseudonyms=pseudonyms, weights=weights, questionnaire=questionnaire
    )
    finish(made)


@main.command()
@options.OPTIONAL_CAMPAIGN_DIR
@click.option("--to", "recipients", multiple=True, required=True, metavar="ADDRESS", help="Recipient; may be repeated.")
@click.option("--from", "sender", metavar="ADDRESS", help="Sender; default: the site file's system.contact.")
@click.option("--smtp", metavar="HOST[:PORT]", help="Send it through this mail server.")
@click.option("--tls", type=click.Choice(["starttls", "tls", "none"]), default="starttls", show_default=True)
@click.option(
    "--login-file",
    type=click.Path(path_type=Path),
    help="Login for the server: user and password, a line each; mode 0600.",
)
@click.option(
    "--timeout", default="60s", show_default=True, metavar="TIME", help="Maximum time for each answer of the server."
)
@click.option("--sendmail", is_flag=True, help="Send it by this machine's sendmail.")
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE.eml", help="Write it to a file.")
@click.option("--package", type=click.Path(path_type=Path), metavar="FILE", help="Send this package as it is.")
@click.option(
    "--sign", "key", type=click.Path(path_type=Path), metavar="KEY", help="Sign the package with this SSH key."
)
@click.option("--commitment", is_flag=True, help="Send only the commitment to a campaign that has begun.")
@click.option(
    "--package-limit",
    type=click.IntRange(0, 1024),
    default=10,
    show_default=True,
    metavar="MIB",
    help="Attach no larger package; its SHA-256 stands in the text instead.",
)
@options.PSEUDONYMS
@click.option("-y", "--yes", is_flag=True, help="Send without asking.")
def mail(
    campaign_dir: Path | None,
    recipients: tuple[str, ...],
    sender: str | None,
    smtp: str | None,
    tls: str,
    login_file: Path | None,
    timeout: str,
    sendmail: bool,
    save: Path | None,
    package: Path | None,
    key: Path | None,
    commitment: bool,
    package_limit: int,
    pseudonyms: bool,
    yes: bool,
) -> None:
    """Mail a campaign's result, report and package, or its commitment.

    A preview is shown first. The same result always has the same Message-ID.
    """
    from aiperf_orch.commands.mail import MailContents, mail_result
    from aiperf_orch.committee.smtp import parse_server

    server = None if smtp is None else parse_server(smtp, tls, login_file, timeout)
    output = mail_result(
        MailContents(campaign_dir, package, key, commitment, package_limit, pseudonyms),
        recipients=recipients,
        sender=sender,
        server=server,
        sendmail=sendmail,
        save=save,
        yes=yes,
    )
    finish(output)


for _command in cli_committee.COMMANDS:
    main.add_command(_command)


@main.command()
@options.CAMPAIGN_DIR
@click.option("--slots", type=click.IntRange(1), metavar="N", help="Trials at once; default: as many as fit this node.")
@click.option(
    "--time-limit", metavar="TIME", help="Time until the nodes are taken away, where no batch system says so."
)
def agent(campaign_dir: Path, slots: int | None, time_limit: str | None) -> None:
    """Run trials of a campaign on this node, as its controller places them here.

    The campaign has scheduler.kind agents, or scheduler.allocations. Start it once on each node of an allocation; it
    ends with the campaign. Exit status: 0 ended,
    1 failed, 2 it must not begin, with the reason.
    """
    from aiperf_orch.commands.agent import run_on_this_node

    finish(run_on_this_node(campaign_dir, slots, time_limit))


@main.command()
@options.SITE
@options.SET
def render(site: Path, assignments: tuple[str, ...]) -> None:
    """Print the batch script of a trial; submit nothing.

    Exit status 2: a campaign could not run with it; the error says why.
    """
    from aiperf_orch.commands import site_options
    from aiperf_orch.commands.render import print_script

    finish(print_script(site_options.load(site, assignments, {})))


@main.command()
@click.argument("network")
@click.option("--by-layer", is_flag=True, help="One row per layer.")
@options.FORMAT
def ops(network: str, by_layer: bool, form: str) -> None:
    """Count a network's operations per image.

    NETWORK is a graph's JSON file (ours, AIPerf v1.0's, or a trial specification), or the name of a seed network:
    resnet50, small_residual.
    """
    from aiperf_orch.commands.ops import count_operations

    finish(count_operations(network, form, by_layer=by_layer))


@main.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="Write the best weights to this file.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Data set; default: the campaign's.")
def trial(spec: Path, weights: Path | None, data: Path | None) -> None:
    """Run one trial in the present allocation.

    SPEC is a trial specification, trials/NNNNN.json of a campaign, whose records are only read. Events go to standard
    output, a JSON object a line. On several nodes of Slurm: srun --ntasks-per-node=1 aiperf-orch trial SPEC
    """
    from aiperf_orch.commands.trial import run_trial

    run_trial(spec, weights, data)


main.add_command(bench_node)
main.add_command(data)
main.add_command(meter)


if __name__ == "__main__":
    main()
