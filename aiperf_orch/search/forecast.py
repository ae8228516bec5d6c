"""What error a trial would reach if it went on: the paper's rule for ranking trials that trained a short time.

Kept from Ren et al. 2021: a * log2(epoch + b) + c is fitted to the accuracies, evaluated at a far epoch, and twice the
RMS error of the fit is subtracted; the forecast counts only above the best accuracy seen, and at most at 1. Different:
their fit has an invented point (120, 0.75) beside the measured ones, ours has only these, and b ends at the far epoch
(beyond it the curve is a straight line that nothing holds).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import curve_fit

FEWEST_EPOCHS: Final = 4  # one more than the curve has parameters, or the fit would always be perfect
_SMALLEST_B: Final = 1e-6

_Floats = npt.NDArray[np.float64]


def forecast_error(errors: Sequence[float], epoch: int, best_error: float) -> float | None:
    """The cautious error expected at an epoch, from the measured curve.

    Args:
        errors: validation errors (fractions) of epochs 1, 2, ... in order.
        epoch: the far epoch to look at, counted from 1.
        best_error: the smallest error that this trial measured.

    Returns:
        A fraction smaller than `best_error`; None when the forecast is not usable: fewer than 4 epochs, a curve that
        cannot be fitted, no improvement foreseen, or an accuracy above 1.
    """
    accuracies = 1 - np.asarray(errors, dtype=np.float64)
    if accuracies.size < FEWEST_EPOCHS or not np.isfinite(accuracies).all():
        return None
    epochs = np.arange(1, accuracies.size + 1, dtype=np.float64)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            (a, b, c), _ = curve_fit(
                _curve,
                epochs,
                accuracies,
                p0=(0.0, 1.0, accuracies.mean()),
                bounds=((-np.inf, _SMALLEST_B, -np.inf), (np.inf, max(epoch, 2), np.inf)),
            )
    except (RuntimeError, ValueError):  # no convergence
        return None
    residuals = _curve(epochs, a, b, c) - accuracies
    predicted = float(a * np.log2(epoch + b) + c - 2 * np.sqrt(np.mean(residuals**2)))
    return 1 - predicted if 1 - best_error < predicted <= 1 else None


def _curve(epochs: _Floats, a: float, b: float, c: float) -> _Floats:
    return np.asarray(a * np.log2(epochs + b) + c)
