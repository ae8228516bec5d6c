"""report.html: the result of a campaign as one HTML page. The layout is in the template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from matplotlib.ticker import Formatter, FuncFormatter

import aiperf_orch
from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.campaign.failure_policy import is_failure
from aiperf_orch.campaign.public_settings import redacted
from aiperf_orch.network import counts
from aiperf_orch.records.base import EndReason
from aiperf_orch.results.activity_series import activity_of
from aiperf_orch.results.efficiency import format_efficiency
from aiperf_orch.results.html import render_page
from aiperf_orch.results.plots import Curve, chart
from aiperf_orch.results.result import Result
from aiperf_orch.results.rules import rules_of
from aiperf_orch.results.score import series
from aiperf_orch.results.tables import leaderboard_rows, result_row
from aiperf_orch.settings.base import ADVANCED, written_key
from aiperf_orch.settings.comparison import flatten
from aiperf_orch.settings.models import SiteSettings, private_keys
from aiperf_orch.util.text import one_line
from aiperf_orch.util.units import format_duration, format_number, format_ops, ops_scale

_MOST_TRIALS: Final = 25
_MOST_FAILURES: Final = 25
_MOST_FAULTS: Final = 10
_MOST_CHARACTERS: Final = 200
_IDLE: Final = {
    "start_up": "Idle: trial starting",
    "first_trial": "Idle: before the first trial",
    "no_trial": "Idle: no trial placed",
    "beyond_concurrency": "Idle: slots beyond the concurrency",
    "after_end": "Idle: after the deadline or the last trial",
    "lost": "Idle: trial or agent lost",
}
_WIDE: Final = (9.4, 2.5)  # inches


def write_report(result: Result, path: Path | None = None) -> Path:
    """Write the report, replacing an earlier one; the default path is report.html of the campaign. Returns the path."""
    path = path or result.directory.report
    replace_file(path, render_report(result).encode())
    return path


def render_report(result: Result) -> str:
    """Render the report as HTML; the same records give the same bytes."""
    score, rules = result.score, rules_of(result)
    missed = {miss.rule.id: _public_line(miss.why, result) for miss in rules.misses(result)}
    rows = leaderboard_rows(result)
    return render_page(
        "report.html.j2",
        row=result_row(result),
        score=score,
        started=f"{result.started:%Y-%m-%d %H:%M} UTC" if result.started else None,
        version=rules.version,
        counting=counts.CONVENTION,
        rules=[(rule, missed.get(rule.id)) for rule in rules.rules],
        missed=missed,
        faults=[_public_line(fault, result) for fault in result.faults[:_MOST_FAULTS]],
        more_faults=max(len(result.faults) - _MOST_FAULTS, 0),
        simulated=result.simulated,
        pictures=_score_charts(result),
        activity=_activity_charts(result),
        cost=format_efficiency(result.efficiency),
        node_hours=_node_hours(result),
        trials=[row | {"edits": Counter(row["edits"].split())} for row in rows[:_MOST_TRIALS]],
        more_trials=max(len(rows) - _MOST_TRIALS, 0),
        **_failures(result),
        system=_system(result),
        settings=_settings(result.directory.settings, result.directory.config.salt or ""),
        software=aiperf_orch.__version__,
        ops=format_ops,
        number=format_number,
        duration=format_duration,
    )


def _score_charts(result: Result) -> dict[str, str] | None:
    """Charts of score, error and regulated score over time; None before an epoch has ended."""
    points = [point for point in series(result.started, result.collected.epochs, result.duration) if point[1].epochs]
    if not points:
        return None
    unit, divisor = _time_unit(result.score.seconds)
    times = [seconds / divisor for seconds, _ in points]
    rates, word = _ops_format(max(score.score for _, score in points))
    regulated, regulated_word = _ops_format(max(score.regulated or 0 for _, score in points))
    over = f"{unit} since the first trial began"
    score = Curve(times, [score.score for _, score in points])
    error = Curve(times, [score.error or 0.0 for _, score in points], "steps")
    product = Curve(times, [score.regulated or 0.0 for _, score in points])
    return {
        "score": chart([score], label=f"Score over time, {word}", x_label=over, y_format=rates, size=_WIDE),
        "error": chart(
            [error],
            label="Error over time",
            x_label=over,
            y_format=FuncFormatter(lambda value, _: f"{100 * value:g} %"),
        ),
        "regulated": chart(
            [product], label=f"Regulated score over time, {regulated_word}", x_label=over, y_format=regulated
        ),
        "score_unit": word,
        "regulated_unit": regulated_word,
    }


def _activity_charts(result: Result) -> dict[str, Any] | None:
    """Charts of throughput and running trials over time, with the utilisation; None before an epoch has ended."""
    activity = activity_of(result)
    if activity is None:
        return None
    unit, divisor = _time_unit(result.score.seconds)
    edges = [float(edge) / divisor for edge in activity.edges]
    over = f"{unit} since the first trial began"
    rates, word = _ops_format(float(activity.ops.max()))
    concurrency = result.directory.settings.campaign.concurrency
    span = [edges[0], edges[-1]]
    throughput = [Curve(edges, activity.ops.tolist(), "bars"), Curve(span, [result.score.score] * 2, "level")]
    trials = [Curve(edges, activity.trials.tolist(), "bars"), Curve(span, [float(concurrency)] * 2, "level")]
    return {
        "utilisation": activity.utilisation,
        "concurrency": concurrency,
        "ops_unit": word,
        "interval": format_duration(float(activity.edges[1])),
        "ops": chart(throughput, label=f"Operations per second over time, {word}", x_label=over, y_format=rates),
        "trials": chart(trials, label="Running trials over time", x_label=over),
    }


def _node_hours(result: Result) -> list[tuple[str, float, float]] | None:
    """Use of the nodes, node-hours, and their share of those given; None where no agent held a node."""
    hours = result.node_hours
    if hours is None or not hours.given:
        return None
    idle = [(_IDLE[name], spent, share) for name, spent, share in hours.shares()]
    return [("Given", hours.given, 1.0), ("At work", hours.at_work, hours.at_work / hours.given), *idle]


def _failures(result: Result) -> dict[str, Any]:
    """Numbers of attempts by end reason, and the failed attempts, newest first."""
    ends = result.state.ends
    failed = [end for end in ends if is_failure(end.reason)]
    number, bad = Counter(end.reason for end in ends), {end.reason for end in failed}
    return {
        "attempts": sum(len(trial.attempts) for trial in result.state.trials.values()),
        "retried": sum(len(trial.attempts) > 1 for trial in result.state.trials.values()),
        "failed": len(failed),
        "reasons": [(reason.value, number[reason], reason in bad) for reason in EndReason if number[reason]],
        "failures": [
            {
                "trial": end.trial,
                "attempt": end.attempt,
                "reason": end.reason.value,
                "message": _public_line(end.message, result),
                "then": "not retried" if end.final else "retried",
                "epochs": end.epochs,
            }
            for end in failed[: -_MOST_FAILURES - 1 : -1]
        ],
        "more_failures": max(len(failed) - _MOST_FAILURES, 0),
    }


def _system(result: Result) -> list[tuple[str, Any]]:
    """System and software of the trials, as their begin lines state them."""
    begins = [begin for trial in result.collected.trials for begin in trial.begins]
    settings = result.directory.settings
    versions = {f"{name} {version}" for begin in begins for name, version in begin.versions.items()}
    fields: list[tuple[str, Any]] = [
        ("System", settings.system.name),
        ("Submitter", settings.system.submitter),
        ("Contact", settings.system.contact),
        ("Scheduler", settings.scheduler.kind),
        ("Hosts of trials", len({host for begin in begins for host in begin.hosts})),
        ("Devices", _listed({begin.device for begin in begins})),
        ("CPU cores of a trial", _listed({str(begin.cores) for begin in begins})),
        ("Precision", _listed(set(result.precisions))),
        ("Trainer", _listed({begin.trainer for begin in begins})),
        ("Software of the trials", _listed(versions)),
        ("Largest clock skew", f"{result.clock_skew:.3f} s"),
    ]
    return [(name, value) for name, value in fields if value not in (None, "")]


def _settings(settings: SiteSettings, salt: str) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """Sections of the settings; for each key its name, its value, and whether the value is not the default."""
    values, defaults = settings.model_dump(mode="json"), SiteSettings().model_dump(mode="json")
    sections = []
    for section, keys in values.items():
        for name in keys.keys() & {key for part, key in private_keys() if part == section}:
            keys[name] = redacted(keys[name], salt)
        usual, model = flatten(defaults[section]), getattr(settings, section)
        rows = [
            (written_key(model, key), _format_value(value), value != usual.get(key))
            for key, value in flatten(keys).items()
        ]
        sections.append((section, sorted(rows, key=lambda row: row[0].startswith(f"{ADVANCED}."))))
    return sections


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "none"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _public_line(text: str, result: Result) -> str:
    """A message as one line of bounded length, without the path of the campaign directory."""
    line = one_line(text.replace(f"{result.directory.path}/", ""))
    return line if len(line) <= _MOST_CHARACTERS else line[: _MOST_CHARACTERS - 1] + "…"


def _listed(values: set[str]) -> str:
    return ", ".join(sorted(values)[:12]) + (f" and {len(values) - 12} more" if len(values) > 12 else "")


def _time_unit(seconds: float) -> tuple[str, float]:
    """Name and length in seconds of the time unit of an axis."""
    if seconds > 7200:
        return "hours", 3600.0
    if seconds > 180:
        return "minutes", 60.0
    return "seconds", 1.0


def _ops_format(maximum: float) -> tuple[Formatter, str]:
    """Formatter and unit of an axis of operations per second with this maximum."""
    divisor, unit = ops_scale(maximum)
    write: Callable[[float, object], str] = lambda value, _: f"{value / divisor:g}"  # noqa: E731
    return FuncFormatter(write), unit
