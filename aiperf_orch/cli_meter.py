"""Command line of `meter`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from aiperf_orch.commands import options
from aiperf_orch.commands.command_output import finish


@click.command()
@options.CAMPAIGN_DIR
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--source",
    required=True,
    type=click.Choice(["pdu", "bmc", "slurm", "facility"]),
    help="Power distribution unit, management controllers of nodes, Slurm's energy accounting, the facility's meter.",
)
@click.option("--instrument", default="", metavar="TEXT", help="Maker and model of the meter.")
@click.option(
    "--nodes", type=click.IntRange(1), metavar="N", help="Number of nodes that the readings cover; default: all."
)
@click.option(
    "--subsystems",
    type=click.Choice(["nodes", "nodes+network", "all"]),
    default="nodes",
    show_default=True,
    help="What is measured: compute nodes, also their network, or all that takes part (storage, head nodes, cooling).",
)
@click.option(
    "--point",
    type=click.Choice(["upstream", "inside"]),
    help="Whether the meter is upstream of the nodes' power conversion, or inside of the nodes.",
)
@click.option("--accuracy", metavar="PERCENT", help="Documented accuracy of the meter, for example 1%.")
@click.option(
    "--sampling", metavar="TIME", help="Time between two samples inside of the meter, for example 1s or 10ms."
)
@click.option(
    "--idle-watts",
    type=click.FloatRange(0, min_open=True),
    metavar="W",
    help="Power of the measured part without any work.",
)
@click.option("--replace", is_flag=True, help="Replace readings that were imported before.")
def meter(
    campaign_dir: Path,
    file: Path,
    source: str,
    instrument: str,
    nodes: int | None,
    subsystems: str,
    point: str | None,
    accuracy: str | None,
    sampling: str | None,
    idle_watts: float | None,
    replace: bool,
) -> None:
    """Import the readings of an energy meter outside of the nodes.

    FILE is a CSV file with the columns time (with a time zone), watts or joules (a counter that only grows), and node
    where several are measured. It is checked, kept in the campaign directory, and packed by `package`. The campaign
    must have ended. Exit status: 0 imported, 2 refused, 4 the campaign still runs.
    """
    from aiperf_orch.commands.meter import import_meter

    stated = {
        "source": source,
        "instrument": instrument,
        "nodes": nodes,
        "subsystems": subsystems,
        "point": point,
        "accuracy": None if accuracy is None else _fraction(accuracy),
        "sampling": None if sampling is None else _seconds(sampling),
        "idle_watts": idle_watts,
    }
    finish(import_meter(campaign_dir, file, stated, replace_earlier=replace))


def _fraction(percent: str) -> float:
    from aiperf_orch.util.errors import UsageError

    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,4})?%", percent) or float(percent[:-1]) == 0:
        raise UsageError(f"--accuracy: {percent} is no percentage such as 1% or 0.5%")
    return float(percent[:-1]) / 100


def _seconds(time: str) -> float:
    from aiperf_orch.util.errors import UsageError
    from aiperf_orch.util.units import parse_duration

    try:
        return parse_duration(time)
    except ValueError as error:
        raise UsageError(f"--sampling: {error}") from None
