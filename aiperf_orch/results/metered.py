"""Energy of a campaign by a meter outside of its nodes, from the readings in the campaign directory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from aiperf_orch.campaign.durable_files import file_exists, read_file
from aiperf_orch.campaign.layout import MEMBERS, Layout
from aiperf_orch.records.base import first_error
from aiperf_orch.records.meter import MeterFacts
from aiperf_orch.results.meter_level import Measurement, missing_for, reached_level
from aiperf_orch.results.meter_series import MeterSeries, parse_series
from aiperf_orch.util import strict_json
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import format_number

if TYPE_CHECKING:
    from aiperf_orch.results.result import Result

_INSIDE: Final = 0.95
"""Share of the energy by counters inside of the nodes below which a meter outside cannot be right."""


@dataclass(frozen=True, slots=True)
class Metered:
    """Energy from the first begin of any trial to the end of the last epoch that counts.

    Attributes:
        joules: Energy of the campaign's nodes; where a part of them was measured, divided by their share.
        operations_per_joule: Operations of the epochs that count / `joules`.
        source: Where the readings come from.
        share: Share of the campaign's nodes that was measured.
        level: Level of the methodology of the EE HPC WG that is reached; 0 for none.
        missing: What is missing to the next level; empty at level 3.
    """

    joules: float
    operations_per_joule: float
    source: str
    share: float
    level: int
    missing: Sequence[str]


def metered_of(result: Result) -> Metered | None:
    """The energy by the readings that were imported; None without any.

    Raises:
        UsageError: With file and line, where the energy does not follow from them.
    """
    found = read_meter(result.directory)
    return None if found is None else measure(result, *found)


def read_meter(layout: Layout) -> tuple[MeterFacts, MeterSeries] | None:
    """The facts and the readings in a campaign directory or in a package; None without any.

    Raises:
        UsageError: For files that `meter` has not written.
    """
    present = [file_exists(path) for path in (layout.meter_facts, layout.meter_series)]
    if not any(present):
        return None
    facts_name, series_name = MEMBERS.meter_facts.name, MEMBERS.meter_series.name
    if not all(present):
        raise UsageError(f"{(facts_name, series_name)[present[0]]}: is missing, and its other part is there")
    data = read_file(layout.meter_facts)
    try:
        strict_json.check(data)
        facts = MeterFacts.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise UsageError(f"{facts_name}: {first_error(error)}") from None
    except ValueError as error:
        raise UsageError(f"{facts_name}: {error}") from None
    series = read_file(layout.meter_series)
    if hashlib.sha256(series).hexdigest() != facts.sha256:
        raise UsageError(f"{series_name}: is not the file whose SHA-256 {facts_name} states: import it again")
    try:
        readings = parse_series(series.decode(), series_name)
    except UnicodeDecodeError as error:
        raise UsageError(f"{series_name}: not UTF-8 text (byte {error.start})") from None
    if readings.to_csv() != series:
        raise UsageError(f"{series_name}: is not in the form in which `meter` writes it")
    return facts, readings


def measure(result: Result, facts: MeterFacts, series: MeterSeries) -> Metered:
    """The energy of a campaign by these readings; arguments are those of a meter, errors as of `metered_of`."""
    epochs, start = result.collected.epochs, result.started
    if start is None or not epochs or epochs[-1].end <= start:
        raise UsageError(f"{series.name}: no epoch counts, so that there is no time whose energy is asked for")
    end = epochs[-1].end
    series.check(start, end)
    nodes = {host for trial in result.collected.trials for begin in trial.begins for host in begin.hosts}
    if not nodes:
        raise UsageError(f"{series.name}: no begin line names a node")
    measured_nodes = _measured_nodes(facts, series, len(nodes))
    measured = series.joules(start, end)
    if measured <= 0:
        raise UsageError(f"{series.name}: has no energy from the first begin to the end of the last epoch: all is 0")
    share = min(measured_nodes / len(nodes), 1.0)
    inside = result.efficiency.energy
    if share == 1.0 and inside is not None and measured < _INSIDE * inside:
        raise UsageError(
            f"{series.name}: has {format_number(measured)} J, and counters inside of the nodes have "
            f"{format_number(inside)} J for the epochs alone: look at the unit (kW, Wh), the time zone and the nodes"
        )
    seconds = (end - start).total_seconds()
    submitted = min(trial.attempts[0].submitted for trial in result.state.trials.values())
    measurement = Measurement(
        facts,
        measured_nodes,
        len(nodes),
        is_counter=series.quantity == "joules",
        watts=measured / seconds,
        core_seconds=seconds,
        longest_interval=series.longest_interval(start, end),
        readings=series.count_between(start, end),
        uncovered=series.uncovered(start, end),
        covers_run=series.spans(min(submitted, start), max(result.state.latest or end, end)),
    )
    level = reached_level(measurement)
    missing = missing_for(measurement, level + 1) if level < 3 else []
    joules = measured / share
    return Metered(joules, result.score.operations / joules, facts.source, share, level, missing)


def _measured_nodes(facts: MeterFacts, series: MeterSeries, nodes: int) -> int:
    measured = nodes if facts.nodes is None else facts.nodes
    if "" not in series.readings and measured != len(series.readings):
        raise UsageError(f"{series.name}: has readings of {len(series.readings)} nodes, and {measured} are stated")
    if measured > nodes:
        raise UsageError(f"{series.name}: is of {measured} nodes, and trials began on {nodes}")
    return measured


def format_metered(metered: Metered) -> str:
    """Format as `12.3 kWh by pdu outside of the nodes, 4.5e+09 operations a joule; level 1 of the EE HPC WG`."""
    part = "" if metered.share == 1 else f", scaled from {metered.share:.1%} of the nodes"
    level = f"level {metered.level}" if metered.level else "no level"
    return (
        f"{format_number(metered.joules / 3.6e6)} kWh by a meter outside of the nodes ({metered.source}{part}), "
        f"{format_number(metered.operations_per_joule)} operations a joule; {level} of the EE HPC WG's methodology"
    )
