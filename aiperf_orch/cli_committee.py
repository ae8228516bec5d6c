"""Commands of a committee: parse the arguments, run the command, print its output. `cli` adds them to the group."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from aiperf_orch.commands import options
from aiperf_orch.commands.command_output import finish


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "--signers", type=click.Path(path_type=Path), metavar="FILE", help="Require a signature by one of these signers."
)
@click.option(
    "--replay",
    is_flag=False,
    flag_value="all",
    metavar="[N]",
    help="Make the search's proposals again, all or N of them, and compare.",
)
@click.option(
    "--draw", type=click.IntRange(min=0), metavar="NUMBER", help="Number that draws these N; default: a random one."
)
@click.option(
    "--replay-time", metavar="DURATION", help="Time limit of --replay; default: 1m, and 0.1 s for each proposal."
)
@click.option("--commitment", metavar="HASH", help="Hold the package to what `run` printed when the campaign began.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a report that is rendered from the package's records.",
)
@options.TABLE_OR_JSON
def verify(
    package: Path,
    signers: Path | None,
    replay: str | None,
    draw: int | None,
    replay_time: str | None,
    commitment: str | None,
    report: Path | None,
    form: str,
) -> None:
    """Check that a package's numbers follow from its records.

    Exit status: 0 verified, 1 faults were found. Whether the result is rankable is printed too, and is no fault.
    """
    from aiperf_orch.commands.verify import replay_request, verify_package

    request = replay_request(replay, draw, replay_time)
    finish(verify_package(package, signers, form, replay=request, commitment=commitment, report=report))


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Data set, where it lies in a folder.")
@options.TABLE_OR_JSON
def evaluate(package: Path, data: Path | None, form: str) -> None:
    """Measure the error that regulates a package's score again.

    The package needs the weights (`package --weights`), and is verified first. Exit status: 0 the recorded error comes
    out, 1 it does not, 2 it cannot be evaluated.
    """
    from aiperf_orch.commands.evaluate import evaluate_package

    finish(evaluate_package(package, data, form))


@click.command()
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
    help="Only packages that one of these signers signed have a place.",
)
@click.option(
    "--commitments",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Announced campaigns, a line each: commitment, site and date, with commas.",
)
@click.option(
    "--timeout", default="15m", show_default=True, metavar="TIME", help="Maximum time for the check of one file."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Static website that gets the ranking as its newest list, with a page for each package.",
)
@options.FORMAT
def rank(
    files: tuple[Path, ...],
    withdrawn: Path | None,
    signers: Path | None,
    commitments: Path | None,
    timeout: str,
    output: Path | None,
    form: str,
) -> None:
    """Rank packages by score, and list result.csv files.

    FILES are in the order in which they were received: of several packages with the same epochs the first one counts,
    and of several versions that one signer sent of a campaign the last one.
    """
    from aiperf_orch.commands.rank import rank_results

    lists = {"withdrawn": withdrawn, "signers": signers, "commitments": commitments}
    finish(rank_results(files, form, timeout=timeout, output=output, **lists))


@click.command()
@click.argument("campaigns", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--by",
    type=click.Choice(["accelerators", "nodes", "concurrency"]),
    help="Unit of size; default: the first one that all campaigns state and in which they differ.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File of a figure: .html, .svg, .png or .pdf.")
@click.option("--allow-differences", is_flag=True, help="Compare campaigns with different settings, with a note.")
@options.FORMAT
def scaling(
    campaigns: tuple[Path, ...], by: str | None, output: Path | None, allow_differences: bool, form: str
) -> None:
    """Weak-scaling efficiency of campaigns of different sizes.

    CAMPAIGNS are campaign directories, packages or result.csv files.
    """
    from aiperf_orch.commands.scaling import compare_scaling

    finish(compare_scaling(campaigns, form, by, output, allow_differences=allow_differences))


@click.command()
@click.argument("campaigns", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE.html", help="Write a page instead of text."
)
def compare(campaigns: tuple[Path, ...], output: Path | None) -> None:
    """Compare campaigns side by side, and the factors of their scores.

    CAMPAIGNS are packages, which are verified first, and campaign directories. Ratios refer to the first one.
    """
    from aiperf_orch.commands.compare import compare_campaigns

    finish(compare_campaigns(campaigns, output))


COMMANDS: Final = (verify, evaluate, rank, scaling, compare)
"""The commands in the order of `--help`."""
