"""Arithmetic of the benchmark's score (Ren et al. 2021), shared by results and by the display of a running campaign."""

from __future__ import annotations

import math
from datetime import timedelta
from fractions import Fraction


def exact_seconds(span: timedelta) -> Fraction:
    """The duration in seconds, exact to the microsecond."""
    return Fraction(span // timedelta(microseconds=1), 1_000_000)


def score(operations: int, measured: timedelta) -> float:
    """Operations of the counted epochs divided by the measured time, in operations per second.

    Args:
        operations: Exact number of operations of all counted epochs.
        measured: Time from the first begin of any trial to the end of the last counted epoch. The score is 0 where it
            is not positive.
    """
    seconds = exact_seconds(measured)
    return float(operations / seconds) if seconds > 0 else 0.0


def regulated_score(score: float, error: float) -> float:
    """Score x -ln(error), for an error above 0."""
    return score * math.log(1 / error)
