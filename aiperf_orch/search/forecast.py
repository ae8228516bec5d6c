"""What error a trial would reach if it went on: the paper's rule for ranking trials that trained a short time.

Kept from Ren et al. 2021: a * log2(epoch + b) + c is fitted to the accuracies, evaluated at a far epoch, and twice the
RMS error of the fit is subtracted; the forecast counts only above the best accuracy seen, and at most at 1. Different:
their fit has an invented point (120, 0.75) beside the measured ones, ours has only these, and b ends at the far epoch
(beyond it the curve is a straight line that nothing holds).

The curve is linear in a and c. So b is searched on a fine grid, with the best a and c of each: unlike an iterative fit
this finds the least squares of any curve, and always takes about a millisecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

FEWEST_EPOCHS: Final = 4  # one more than the curve has parameters, or the fit would always be perfect
_SMALLEST_B: Final = 1e-3
_GRID: Final = 400  # values of b, each some 3 % above the one before it


def forecast_error(errors: Sequence[float], epoch: int, best_error: float) -> float | None:
    """The cautious error expected at an epoch, from the measured curve.

    Args:
        errors: validation errors (fractions) of epochs 1, 2, ... in order.
        epoch: the far epoch to look at, counted from 1.
        best_error: the smallest error that this trial measured.

    Returns:
        A fraction smaller than `best_error`; None when the forecast is not usable: fewer than 4 epochs, an error that
        is not a finite number, no improvement foreseen, or an accuracy above 1.
    """
    accuracies = 1 - np.asarray(errors, dtype=np.float64)
    if accuracies.size < FEWEST_EPOCHS or not np.isfinite(accuracies).all():
        return None
    b = np.geomspace(_SMALLEST_B, epoch, _GRID)
    logs = np.log2(np.arange(1, accuracies.size + 1) + b[:, None])
    centred = logs - logs.mean(axis=1, keepdims=True)
    a = centred @ accuracies / (centred**2).sum(axis=1)
    residuals = accuracies - accuracies.mean() - a[:, None] * centred
    squares = (residuals**2).mean(axis=1)
    best = int(squares.argmin())
    at_epoch = accuracies.mean() + a[best] * (np.log2(epoch + b[best]) - logs[best].mean())
    predicted = float(at_epoch - 2 * np.sqrt(squares[best]))
    return 1 - predicted if 1 - best_error < predicted <= 1 else None
