"""`meter`: import the readings of an energy meter outside of the nodes into a campaign that has ended."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.safe_reading import read_regular
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.package import check_not_running
from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.commands.score import write_result_files
from aiperf_orch.records.base import first_error
from aiperf_orch.records.meter import MeterFacts
from aiperf_orch.results.meter_series import MeterSeries, parse_series
from aiperf_orch.results.metered import Metered, measure
from aiperf_orch.results.result import Result, result_of
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_number

MOST_BYTES: Final = 64 << 20
"""Size of the readings in a package, at most."""


def import_meter(campaign_dir: Path, file: Path, stated: dict[str, Any], *, replace_earlier: bool) -> CommandOutput:
    """Check readings, keep them in the campaign directory, and write the result again.

    Args:
        campaign_dir: A campaign that has ended.
        file: CSV file of the readings.
        stated: Fields of `MeterFacts` without the hash; None for what is not stated.
        replace_earlier: Whether readings that were imported before are replaced.

    Raises:
        NotFinishedError: While the campaign runs.
        UsageError: With file, line and column, for readings from which its energy does not follow.
    """
    directory = CampaignDirectory.open(campaign_dir)
    series = _read(file)
    with progress_line("meter"):
        snapshot = check_not_running(directory)
        if directory.meter_facts.exists() and not replace_earlier:
            raise UsageError(f"{directory.meter_facts}: readings were imported before: --replace takes these instead")
        result = result_of(directory, snapshot.state)
        _check_nodes(series, result)
        several = "" not in series.readings
        if several and stated["nodes"] is not None:
            raise UsageError(f"--nodes: {file} has a column node, which says how many are measured")
        data = series.to_csv()
        if len(data) > MOST_BYTES:
            raise UsageError(f"{file}: is {len(data) >> 20} MiB of readings; at most {MOST_BYTES >> 20}: sum the nodes")
        nodes = {"nodes": len(series.readings)} if several else {}
        facts = _facts(stated | nodes | {"sha256": hashlib.sha256(data).hexdigest()})
        metered = measure(result, facts, series)
        replace_file(directory.meter_series, data)
        replace_file(directory.meter_facts, (facts.model_dump_json(indent=1) + "\n").encode())
        write_result_files(result_of(directory, snapshot.state))
    return CommandOutput(_text(metered, series, facts, directory))


def _read(file: Path) -> MeterSeries:
    try:
        return parse_series(read_regular(file).decode("utf-8-sig"), str(file))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 text (byte {error.start})") from None


def _check_nodes(series: MeterSeries, result: Result) -> None:
    """Refuse readings of a node on which no trial ran: the share of the nodes would be wrong."""
    hosts = {host for trial in result.collected.trials for begin in trial.begins for host in begin.hosts}
    known = {host.partition(".")[0].lower() for host in hosts}
    for node, readings in series.readings.items():
        if node and node.partition(".")[0].lower() not in known:
            raise UsageError(
                f"{series.name}:{readings[0].line}: column node: no trial of the campaign ran on {node[:80]!r}: leave "
                "it out, or name it as the campaign does"
            )


def _facts(stated: dict[str, Any]) -> MeterFacts:
    try:
        return MeterFacts(**stated)
    except ValidationError as error:
        raise UsageError(f"--{first_error(error).replace('_', '-', 1)}") from None


def _text(metered: Metered, series: MeterSeries, facts: MeterFacts, layout: Layout) -> str:
    readings = sum(map(len, series.readings.values()))
    shown = {
        "energy": f"{format_number(metered.joules)} J ({format_number(metered.joules / 3.6e6)} kWh)",
        "efficiency": f"{format_number(metered.operations_per_joule)} operations a joule",
        "readings": f"{readings:,} of {series.quantity}, {facts.source}; {metered.share:.1%} of the nodes",
        "level": f"{metered.level or 'none'} (EE HPC WG, power measurement methodology 2.0)",
        **({f"to level {metered.level + 1}": "; ".join(metered.missing)} if metered.missing else {}),
        "files": f"{layout.path}: {layout.meter_series.name}, {layout.meter_facts.name}, {layout.result.name}",
    }
    return "".join(f"{key:<12} {visible(value)}\n" for key, value in shown.items())
