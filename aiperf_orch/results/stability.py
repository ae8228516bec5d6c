"""Stability of the score: how even a campaign's operations per second are in its second half."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aiperf_orch.records.events import Epoch
from aiperf_orch.util.units import format_ops

_INTERVALS: Final = 30
"""Number of equal intervals of the second half."""
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Stability:
    """Operations per second in 30 equal intervals of a campaign's second half.

    The operations of an epoch are spread evenly over its duration. Sums are rounded once, so that the same records give
    the same numbers on every machine.

    Attributes:
        mean: Mean of the intervals, operations per second.
        variation: Coefficient of variation: population standard deviation / `mean`; None where the mean is 0.
    """

    mean: float
    variation: float | None


def stability_of(start: datetime | None, epochs: Sequence[Epoch]) -> Stability | None:
    """Compute the stability from the first begin to the end of the last epoch.

    Args:
        start: The first begin of any trial; None before it.
        epochs: Epochs that count, sorted by their ends.
    """
    length = (epochs[-1].end - start) // _TICK if start and epochs else 0
    if start is None or length <= 0:
        return None
    parts: list[list[float]] = [[] for _ in range(_INTERVALS)]
    for epoch in epochs:
        # times in ticks x intervals of the whole campaign: an interval has `length` of them
        begin, end = ((time - start) // _TICK * 2 * _INTERVALS for time in (epoch.start, epoch.end))
        begin = min(begin, end - 1)  # an epoch without a duration counts at its end
        first = max(begin // length, _INTERVALS)
        for number in range(first, min((end - 1) // length, 2 * _INTERVALS - 1) + 1):
            overlap = min(end, (number + 1) * length) - max(begin, number * length)
            parts[number - _INTERVALS].append(epoch.ops * overlap / (end - begin))
    seconds = length / 1e6 / (2 * _INTERVALS)
    rates = [math.fsum(each) / seconds for each in parts]
    mean = math.fsum(rates) / _INTERVALS
    deviation = math.sqrt(math.fsum((rate - mean) ** 2 for rate in rates) / _INTERVALS)
    return Stability(mean, deviation / mean if mean > 0 else None)


def format_stability(mean: float, variation: float | None) -> str:
    """Format as `second half: 1.2 Tera-OPS on average, coefficient of variation 3.1 %`."""
    varies = "" if variation is None else f", coefficient of variation {variation:.1%}"
    return f"second half: {format_ops(mean)} on average{varies}"
