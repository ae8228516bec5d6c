"""Importance of a hyperparameter: the share of the variance of the errors that it explains on its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

LEAST_TRIALS: Final = 20
"""With fewer trials no importance is stated."""
_MOST_GROUPS: Final = 8


def importance(values: Sequence[float], errors: Sequence[float]) -> float | None:
    """Share of the variance of the errors that the group means of a hyperparameter explain.

    Trials are grouped by the value; of more than 8 different values, into 8 groups of about equal size. With n trials
    in k groups the share is 1 - (SSW / (n - k)) / (SST / (n - 1)), where SSW is the sum of squares of the errors about
    the means of their groups, SST that about the mean of all: epsilon squared (Kelley 1935), which the number of
    groups does not raise. It states an association: shares of different hyperparameters overlap, and need not add up
    to 1.

    Args:
        values: Of the hyperparameter, one for each trial.
        errors: Lowest validation error of each trial.

    Returns:
        A number from 0 to 1; None of fewer than 20 trials, of equal values, or of equal errors.
    """
    if len(values) < LEAST_TRIALS:
        return None
    groups = _groups(np.array(values, float))
    number_of_groups = int(groups.max()) + 1
    measured = np.array(errors, float)
    total = float(np.square(measured - measured.mean()).sum())
    if number_of_groups == 1 or measured.min() == measured.max():
        return None
    within = 0.0
    for group in range(number_of_groups):
        members = measured[groups == group]
        within += float(np.square(members - members.mean()).sum())
    share = 1 - (within / (len(measured) - number_of_groups)) / (total / (len(measured) - 1))
    return min(max(share, 0.0), 1.0)


def _groups(values: np.ndarray) -> np.ndarray:
    """Number of the group of each value, without a gap; equal values are in one group."""
    different, groups = np.unique(values, return_inverse=True)
    if len(different) > _MOST_GROUPS:
        ordered = np.sort(values)
        edges = ordered[[len(ordered) * part // _MOST_GROUPS for part in range(1, _MOST_GROUPS)]]
        _, groups = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)
    return groups
