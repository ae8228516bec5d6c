"""Results of `bench-node --tune` as a table of 80 columns and as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiperf_orch.tuning.alternatives import EFFECTS, Alternative
from aiperf_orch.tuning.comparison import NETWORKS, Compared, median_rates, proposed
from aiperf_orch.tuning.tune import Tuning
from aiperf_orch.util.text import wrap_text
from aiperf_orch.util.units import format_number

_WIDTH: Final = 80
_NAME: Final = 34


def as_table(tuning: Tuning, heading: str) -> str:
    """All comparisons, what is proposed, and what it changes in the benchmark."""
    lines = wrap_text(heading, _WIDTH)
    lines.append(f"{'setting':{_NAME}} {'seed/s':>8} {'morphed/s':>9} {'gain':>5}  result".rstrip())
    lines.append(_row("present settings", present_rates(tuning), None, ""))
    for each in [*tuning.compared, *([tuning.together] if tuning.together else [])]:
        lines += _compared_rows(each)
    if tuning.is_cut:
        lines += wrap_text("The time limit ended the measurements: more by a longer --time-limit.", _WIDTH)
    return "\n".join([*lines, *_conclusion(tuning)]) + "\n"


def as_json(tuning: Tuning, heading: str) -> str:
    """All comparisons and what is proposed, as JSON."""
    best = proposed(tuning.compared, tuning.together)
    return (
        json.dumps(
            {
                "node": heading,
                "present": present_rates(tuning),
                "compared": [_as_json(each) for each in tuning.compared],
                "together": _as_json(tuning.together) if tuning.together else None,
                "proposed": dict(best.alternative.values) if best else {},
                "time_limit_reached": tuning.is_cut,
            },
            indent=2,
        )
        + "\n"
    )


def reasons(best: Compared) -> dict[str, str]:
    """Key -> why its value is proposed and what it changes in the benchmark."""
    together = " (all proposed values together)" if len(best.alternative.values) > 1 else ""
    return {key: f"{_gain(best)} images/s{together}; {EFFECTS[key]}" for key, _ in best.alternative.values}


def present_rates(tuning: Tuning) -> dict[str, float]:
    """Median images per second of each network with the present settings."""
    found: dict[str, list[float]] = {network: [] for network in NETWORKS}
    for rates in tuning.rates:
        for network, rate in median_rates(Alternative(tuning.present), rates).items():
            found[network].append(rate)
    return {network: statistics.median(each) for network, each in found.items() if each}


def _compared_rows(each: Compared) -> list[str]:
    name = each.alternative.name if len(each.alternative.values) == 1 else "all faster values together"
    lines = [_row(name, each.rates, each.gain, each.verdict)]
    return lines + [f"    {line}" for line in wrap_text(each.reason, _WIDTH - 4) if line]


def _row(name: str, rates: Mapping[str, float], gain: float | None, result: str) -> str:
    seed, morphed = (format_number(round(rates[each], 1)) if each in rates else "-" for each in NETWORKS)
    shown = "-" if gain is None else f"{gain:+.0%}"
    return f"{name:{_NAME}} {seed:>8} {morphed:>9} {shown:>5}  {result}".rstrip()


def _conclusion(tuning: Tuning) -> Sequence[str]:
    best = proposed(tuning.compared, tuning.together)
    if best is None:
        return ["Nothing measured is faster than the present settings beyond the spread."]
    lines = ["Proposed:"]
    for key, value in best.alternative.values:
        lines += [f"  {line}" for line in wrap_text(f"{key}: {str(value).lower()} - {EFFECTS[key]}", _WIDTH - 2)]
    return lines


def _gain(compared: Compared) -> str:
    return "-" if compared.gain is None else f"{compared.gain:+.0%}"


def _as_json(each: Compared) -> dict[str, Any]:
    return {
        "values": dict(each.alternative.values),
        "result": str(each.verdict),
        "images_per_second": dict(each.rates),
        "gain": each.gain,
        "reason": each.reason,
    }
