"""Summary of a result as text, for the terminal and the mail."""

from __future__ import annotations

from typing import Final

from aiperf_orch.results.efficiency import format_efficiency
from aiperf_orch.results.metered import format_metered, metered_of
from aiperf_orch.results.peak_share import format_peak_share
from aiperf_orch.results.result import Result
from aiperf_orch.results.rules import rules_of
from aiperf_orch.results.score import Score
from aiperf_orch.results.stability import format_stability
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import format_duration, format_ops

_MOST_FAULTS: Final = 20
"""Records that do not count that are listed."""


def summary_lines(result: Result) -> list[str]:
    """Score, error, regulated score, missed rules, and a warning for each record that does not count."""
    score = result.score
    mark = " (SIMULATED: no training took place)" if result.simulated else ""
    lines = [
        f"score            {format_ops(score.score)}{mark}",
        f"error            {_format_error(score)}",
        f"regulated score  {'none' if score.regulated is None else format_ops(score.regulated)}",
        f"                 {score.operations:,} operations in {format_duration(score.seconds)}: "
        f"{score.epochs} epochs of {len(result.collected.trials)} trials, {result.networks} networks",
    ]
    if efficiency := format_efficiency(result.efficiency):
        lines.append(f"                 {efficiency}")
    lines += [f"                 {part}" for part in (_stability(result), _peak_share(result), _meter(result)) if part]
    rules = rules_of(result)
    missed = rules.misses(result)
    if missed:
        lines.append(f"not rankable     by the rules {rules.version}:")
        width = max(len(miss.rule.id) for miss in missed)
        lines += [f"  {miss.rule.id.ljust(width)}  {miss.rule.sentence}; {miss.why}" for miss in missed]
    else:
        lines.append(f"rankable         by the rules {rules.version}")
    lines += [f"warning: {fault}" for fault in result.faults[:_MOST_FAULTS]]
    more = len(result.faults) - _MOST_FAULTS
    return [*lines, *([f"warning: {more:,} more lines do not count"] if more > 0 else [])]


def _stability(result: Result) -> str | None:
    stability = result.stability
    return format_stability(stability.mean, stability.variation) if stability else None


def _meter(result: Result) -> str | None:
    try:
        metered = metered_of(result)
    except UsageError as error:
        return f"no energy by a meter: {error}"
    return format_metered(metered) if metered else None


def _peak_share(result: Result) -> str | None:
    peak = result.peak_share
    return format_peak_share(peak.share, peak.utilisation) if peak else None


def _format_error(score: Score) -> str:
    if score.error is None:
        return "none measured"
    if score.error_is_zero:
        return f"{score.error:.2%} (counted as half a validation image, {score.error_counted:.3%})"
    return f"{score.error:.2%}"
