"""Forecast of a trial's error at a later epoch: the paper's rule for ranking trials that trained for few epochs.

Kept from Ren et al. 2021: accuracy = a * log2(epoch + b) + c is fitted to the measured accuracies and evaluated at a
later epoch, and twice the RMS error of the fit is subtracted; the forecast is used only if it is above the best
measured accuracy and at most 1. Different: their fit includes an invented point (120, 0.75), ours only measured ones,
and b is bounded by the later epoch (beyond it the curve is a straight line that the data do not determine). Only trials
that stopped before the end of their learning rate schedule are forecast (`controller.attempt_monitor`): the curve of
the others is complete. Measurements are in docs/research/search.md.

The curve is linear in a and c, so only b is searched (on a coarse grid, then by SciPy's bounded minimisation), with the
least-squares a and c of each b. Unlike a fit of all three parameters this ends for any curve, in about a millisecond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

FEWEST_EPOCHS: Final = 4  # one more than the curve has parameters: otherwise every fit is perfect
_SMALLEST_B: Final = 1e-3
_GRID: Final = 24  # grid points, evenly spaced in log b


def forecast_error(errors: Sequence[float], epoch: int, best_error: float) -> float | None:
    """Conservative forecast of the error at a later epoch, from the learning curve.

    Args:
        errors: validation errors (fractions) of epochs 1, 2, ... in order.
        epoch: epoch to forecast, counted from 1.
        best_error: smallest error that this trial measured.

    Returns:
        A fraction smaller than `best_error`; None if the forecast is not usable: fewer than 4 epochs, an error that is
        not finite, no predicted improvement, or a predicted accuracy above 1.
    """
    accuracies = 1 - np.asarray(errors, dtype=np.float64)
    if accuracies.size < FEWEST_EPOCHS or not np.isfinite(accuracies).all():
        return None
    log_grid = np.linspace(math.log(_SMALLEST_B), math.log(epoch), _GRID)
    nearest = int(np.argmin([_fit(accuracies, log_b)[0] for log_b in log_grid]))
    bounds = log_grid[max(nearest - 1, 0)], log_grid[min(nearest + 1, _GRID - 1)]
    log_b = minimize_scalar(lambda x: _fit(accuracies, x)[0], bounds=bounds, method="bounded").x
    log_b = min(log_b, log_grid[nearest], key=lambda x: _fit(accuracies, x)[0])
    mean_square, a, c = _fit(accuracies, log_b)
    predicted = a * math.log2(epoch + math.exp(log_b)) + c - 2 * math.sqrt(mean_square)
    return 1 - predicted if 1 - best_error < predicted <= 1 else None


def _fit(accuracies: npt.NDArray[np.float64], log_b: float) -> tuple[float, float, float]:
    """Mean squared error, a and c of the least-squares fit to accuracies (n,) for a given b."""
    logs = np.log2(np.arange(1, accuracies.size + 1) + math.exp(log_b))
    centred = logs - logs.mean()
    a = float(centred @ accuracies / (centred @ centred))
    residuals = accuracies - accuracies.mean() - a * centred
    return float((residuals**2).mean()), a, float(accuracies.mean() - a * logs.mean())
