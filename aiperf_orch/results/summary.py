"""A result in words, as the terminal and the mail say it."""

from __future__ import annotations

from aiperf_orch.results import rules
from aiperf_orch.results.efficiency import in_words
from aiperf_orch.results.result import Result
from aiperf_orch.util.units import format_duration, format_ops


def summary_lines(result: Result) -> list[str]:
    """Score, error, regulated score, verdict with every missed rule, and each line of the records that does not count."""
    score = result.score
    mark = " (SIMULATED: no training took place)" if result.simulated else ""
    lines = [
        f"score            {format_ops(score.score)}{mark}",
        f"error            {'none measured' if score.error is None else f'{score.error:.2%}'}"
        + (f" (counted as half a validation image, {score.error_counted:.3%})" if score.error_is_zero else ""),
        f"regulated score  {'none' if score.regulated is None else format_ops(score.regulated)}",
        f"                 {score.operations:,} operations in {format_duration(score.seconds)}: {score.epochs} epochs of "
        f"{len(result.collected.trials)} trials, {result.networks} networks",
    ]
    if cost := in_words(result.efficiency):
        lines.append(f"                 {cost}")
    missed = rules.misses(result)
    if missed:
        lines.append(f"not rankable     by the rules {rules.VERSION}:")
        width = max(len(miss.rule.id) for miss in missed)
        lines += [f"  {miss.rule.id.ljust(width)}  {miss.rule.sentence}; {miss.why}" for miss in missed]
    else:
        lines.append(f"rankable         by the rules {rules.VERSION}")
    return [*lines, *(f"warning: {fault}" for fault in result.faults)]
