"""Errors as log odds, which have no bounds."""

from __future__ import annotations

import math


def log_odds(error: float) -> float:
    """Log odds of an error between 0 and 1, both excluded."""
    return math.log(error / (1.0 - error))


def bounded_log_odds(error: float, images: int) -> float:
    """Log odds of a measured error, which half a validation image keeps away from 0 and 1.

    Args:
        error: The error.
        images: Number of validation images.
    """
    return log_odds(min(max(error, 0.5 / images), 1.0 - 0.5 / images))


def nearest_error(odds: float, images: int) -> float:
    """The error nearest to these log odds that this number of validation images can give."""
    return round(images / (1.0 + math.exp(-odds))) / images
