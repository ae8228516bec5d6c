"""Permitted difference between the clocks of nodes, controller and scheduler."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from aiperf_orch.records.events import Begin

CLOCK_TOLERANCE: Final = timedelta(seconds=10)
"""Difference that is permitted in addition to the clock skew of begin lines."""
_LARGEST_SKEW: Final = timedelta(days=1)


def clock_tolerance(begins: Iterable[Begin]) -> timedelta:
    """The largest clock skew that the begin lines of an attempt state, at most one day, plus `CLOCK_TOLERANCE`."""
    stated = max((abs(begin.clock_skew) for begin in begins), default=0.0)
    return CLOCK_TOLERANCE + timedelta(seconds=min(stated, _LARGEST_SKEW.total_seconds()))
