"""Page of the report: the template filled with the report's data, and the data themselves as a JSON block."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from markupsafe import Markup

from aiperf_orch.results.efficiency import Efficiency, format_efficiency
from aiperf_orch.results.html import render_page
from aiperf_orch.results.metered import Metered, format_metered
from aiperf_orch.results.peak_share import format_peak_share
from aiperf_orch.results.plan_quantities import WRITTEN
from aiperf_orch.results.report_data import REPORT_TEMPLATE
from aiperf_orch.results.search_section import search_section
from aiperf_orch.results.stability import format_stability
from aiperf_orch.util.units import format_duration, format_number, format_ops, ops_scale


@dataclass(frozen=True)
class Curve:
    """One curve of a chart.

    Attributes:
        x: positions on the horizontal axis; for `bars`, the edges, one more than there are values.
        y: values.
        kind: `steps` keeps each value until the next point; `level` is a dashed reference line.
    """

    x: Sequence[float]
    y: Sequence[float]
    kind: Literal["line", "steps", "bars", "level"] = "line"


@dataclass(frozen=True)
class Chart:
    """A chart with the origin at the bottom left.

    Attributes:
        curves: one or more curves.
        label: description of the chart for screen readers.
        x_label: name and unit of the horizontal axis.
        y_format: text of a value on the vertical axis; None writes numbers.
        size: width and height in inches of 72 px; the page scales the chart.
    """

    curves: Sequence[Curve]
    label: str
    x_label: str
    y_format: Callable[[float], str] | None = None
    size: tuple[float, float] = (4.6, 2.4)


_WIDE: Final = (9.4, 2.5)  # inches


def report_page(data: Mapping[str, Any], draw: Callable[[Chart], Markup], refresh: int | None = None) -> str:
    """Render the report as HTML; the same data give the same text outside the charts.

    Args:
        data: of `report_data`.
        draw: draws a chart as an `svg` element.
        refresh: seconds after which a browser reads the page of a running campaign again; None for a page that stays.
    """
    return render_page(
        REPORT_TEMPLATE,
        refresh=refresh,
        **{
            key: value
            for key, value in data.items()
            if key not in ("result", "series", "activity", "trials", "plan", "searched", "settings")
        },
        row=data["result"],
        pictures=_score_charts(data, draw),
        activity=_activity_charts(data, draw),
        searched=search_section(data["searched"], _time_unit(data["score"]["seconds"])),
        cost=_cost(data["result"]),
        evenness=_evenness(data["result"]),
        plan=_plan(data["plan"]),
        **_leaderboard(data["trials"]),
        settings=[_folded(section, keys) for section, keys in data["settings"]],
        block=_block(data),
        ops=format_ops,
        number=format_number,
        duration=format_duration,
    )


def _block(data: Mapping[str, Any]) -> Markup:
    """The data as JSON without characters that HTML could interpret."""
    text = json.dumps(data, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704


def _leaderboard(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of the leaderboard, each column of numbers in one unit, and the unit of their operations per second."""
    divisor, unit = ops_scale(max((row["ops"] or 0.0 for row in rows), default=0.0))
    trials = [
        {
            **row,
            "edits": Counter(row["edits"].split()),
            "ops_text": _fixed(row["ops"] / divisor, 3) if row["ops"] else "–",  # noqa: RUF001
            "images_text": _fixed(row["images_per_second"], 1),
        }
        for row in rows
    ]
    return {"trials": trials, "trials_unit": unit}


def _folded(section: str, keys: Sequence[Sequence[Any]]) -> tuple[str, list[Sequence[Any]], list[Sequence[Any]]]:
    """A section of the settings, its keys that are shown, and those without a value by default, which are folded."""
    empty = [row for row in keys if row[1] in ("", "none") and not row[2]]
    return section, [row for row in keys if row not in empty], empty


def _fixed(value: float | None, decimals: int) -> str:
    """A number with this many decimals; one that is positive and would be shown as 0 as less than the last of them."""
    if value is None:
        return "–"  # noqa: RUF001
    least = 10.0**-decimals
    return f"< {least:.{decimals}f}" if 0 < value < least / 2 else f"{value:,.{decimals}f}"


def _plan(rows: Sequence[Mapping[str, Any]] | None) -> list[dict[str, str | None]] | None:
    """Rows of the comparison with the plan, as texts; None without a plan."""
    if rows is None:
        return None
    shown = []
    for row in rows:
        label, write = WRITTEN[row["quantity"]]
        has_interval = row["inside"] is not None
        shown.append(
            {
                "quantity": label,
                "expected": write(row["expected"]),
                "interval": f"{write(row['low'])} to {write(row['high'])}" if has_interval else None,
                "measured": write(row["measured"]),
                "inside": ("yes" if row["inside"] else "no") if has_interval else None,
            }
        )
    return shown


def _evenness(row: Mapping[str, Any]) -> list[str]:
    """Stability, share of the peak and metered energy as sentences, as far as they are known."""
    sentences = []
    if row["stability_mean"] is not None:
        stability = format_stability(row["stability_mean"], row["stability_variation"])
        sentences.append(f"{stability[0].upper()}{stability[1:]}, in 30 equal intervals")
    if row["share_of_peak"] is not None:
        share = format_peak_share(row["share_of_peak"], row["tensor_utilisation"])
        sentences.append(f"{share}, in the time of all slots")
    if row["meter_joules"] is not None:
        known = {key: row[f"meter_{key}"] for key in ("joules", "operations_per_joule", "source", "share", "level")}
        sentences.append(format_metered(Metered(**known, missing=())))
    return sentences


def _cost(row: Mapping[str, Any]) -> str:
    return format_efficiency(
        Efficiency(
            row["images_per_second"],
            row["data_wait"],
            row["energy_joules"],
            row["energy_of"],
            row["operations_per_joule"],
        )
    )


def _score_charts(data: Mapping[str, Any], draw: Callable[[Chart], Markup]) -> dict[str, str] | None:
    """Charts of score, error and regulated score over time; None before an epoch has ended."""
    series = data["series"]
    if series is None:
        return None
    unit, divisor = _time_unit(data["score"]["seconds"])
    times = [seconds / divisor for seconds in series["seconds"]]
    over = f"{unit} since the first trial began"
    rates, word = _ops_format(max(series["score"]))
    regulated, regulated_word = _ops_format(max(series["regulated"]))
    score, error = Curve(times, series["score"]), Curve(times, series["error"], "steps")
    product = Curve(times, series["regulated"])
    return {
        "score": draw(Chart([score], f"Score over time, {word}", over, rates, _WIDE)),
        "error": draw(Chart([error], "Error over time", over, lambda value: f"{100 * value:g} %")),
        "regulated": draw(Chart([product], f"Regulated score over time, {regulated_word}", over, regulated)),
        "score_unit": word,
        "regulated_unit": regulated_word,
    }


def _activity_charts(data: Mapping[str, Any], draw: Callable[[Chart], Markup]) -> dict[str, Any] | None:
    """Charts of throughput and running trials over time, with the utilisation; None before an epoch has ended."""
    activity = data["activity"]
    if activity is None:
        return None
    unit, divisor = _time_unit(data["score"]["seconds"])
    edges = [edge / divisor for edge in activity["edges"]]
    over = f"{unit} since the first trial began"
    rates, word = _ops_format(max(activity["ops"]))
    span = [edges[0], edges[-1]]
    throughput = [Curve(edges, activity["ops"], "bars"), Curve(span, [data["score"]["score"]] * 2, "level")]
    starts = [min(start / divisor, edges[-1]) for start, _ in activity["concurrency"]]
    ends = [*starts[1:], edges[-1]]
    level = Curve(
        [time for bounds in zip(starts, ends, strict=True) for time in bounds],
        [float(number) for _, number in activity["concurrency"] for _ in range(2)],
        "level",
    )
    trials = [Curve(edges, activity["trials"], "bars"), level]
    return {
        "utilisation": activity["utilisation"],
        "concurrency": ", then ".join(str(number) for number in dict.fromkeys(n for _, n in activity["concurrency"])),
        "ops_unit": word,
        "interval": format_duration(activity["edges"][1]),
        "ops": draw(Chart(throughput, f"Operations per second over time, {word}", over, rates)),
        "trials": draw(Chart(trials, "Running trials over time", over)),
    }


def _time_unit(seconds: float) -> tuple[str, float]:
    """Name and length in seconds of the time unit of an axis."""
    if seconds > 7200:
        return "hours", 3600.0
    if seconds > 180:
        return "minutes", 60.0
    return "seconds", 1.0


def _ops_format(maximum: float) -> tuple[Callable[[float], str], str]:
    """Text of a value on an axis of operations per second with this maximum, and the unit of the axis."""
    divisor, unit = ops_scale(maximum)
    return lambda value: f"{value / divisor:g}", unit
