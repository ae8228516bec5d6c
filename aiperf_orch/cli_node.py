"""Command `bench-node`: parse the arguments, run the command, print its output. `cli` adds it to the group."""

from __future__ import annotations

from pathlib import Path

import click

from aiperf_orch.commands import options
from aiperf_orch.commands.command_output import finish


@click.command()
@click.argument("site", type=click.Path(path_type=Path), required=False)
@options.SET
@click.option("--tune", is_flag=True, help="Measure which other settings are faster on this node.")
@click.option("--time-limit", metavar="TIME", help="Time limit of --tune; default: 15m.")
@click.option("--write", is_flag=True, help="Write the faster settings into the site file, after showing the changes.")
@click.option("-y", "--yes", is_flag=True, help="Agree to --write without being asked.")
@options.TABLE_OR_JSON
def bench_node(
    site: Path | None,
    assignments: tuple[str, ...],
    tune: bool,
    time_limit: str | None,
    write: bool,
    yes: bool,
    form: str,
) -> None:
    """Measure this node, and report what limits it.

    It takes about a minute. Measured are the peak of a matrix product, the rate of loading data, and the rate of
    training ResNet-50, on one accelerator or the processor's cores. SITE names the data set and the recipe; without it
    JPEG images are made and loaded. Exit status: 0 measured, 1 training was not possible.

    With --tune trials are measured with other precisions, batch sizes, workers, compiled, and with other numbers of
    loaders, each against SITE's present settings. Run it in the site's environment, in a job with the resources of one
    trial.
    """
    from aiperf_orch.commands import site_options
    from aiperf_orch.util.errors import UsageError
    from aiperf_orch.util.units import parse_duration

    if assignments and site is None:
        raise UsageError("--set: changes a site file's settings, and no SITE is given")
    loaded = site_options.load(site, assignments, {}) if site else None
    if not tune:
        if time_limit is not None or write or yes:
            raise UsageError("--time-limit, --write and --yes: belong to --tune, which is not given")
        from aiperf_orch.commands.bench_node import measure_node

        measure_node(loaded, form)
    if site is None or loaded is None:
        raise UsageError("--tune: measures the settings of a site file, and no SITE is given")
    if write and assignments:
        raise UsageError("--write: the site file has other settings than those measured by --set: give one of them")
    try:
        seconds = parse_duration(time_limit or "15m")
    except ValueError as error:
        raise UsageError(f"--time-limit: {error}") from None
    from aiperf_orch.commands.tune_node import tune_node

    finish(tune_node(loaded, site, seconds, form, write=write, yes=yes))
