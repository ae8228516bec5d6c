"""Gaussian process over the distances between networks: predicts the error of a network before it is trained.

Kept from Auto-Keras (Jin et al. 2019): the covariance falls exponentially with the distance, and networks are compared
by a confidence bound. Different: the distances are those of `embedding`, for which exp(-distance / length) is a valid
covariance, so neither an embedding of distances (Bourgain's in Auto-Keras) nor clipping of eigenvalues is needed. The
length is the median distance, the prior's mean and variance are those of the errors, and the noise is a fixed fraction
of that variance.

The number of networks is bounded (`history.MAX_OBSERVATIONS`): a fit takes about a millisecond for any history. It is
computed from scratch whenever the set changes: an updated decomposition would differ in its last bits from that of a
search that is rebuilt from the journal. The choice of beta is explained in docs/research/search.md.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import ThreadpoolController

NOISE: Final = 0.01  # variance of a measured error, as a fraction of the errors' variance
SMALLEST_SCALE: Final = 0.01  # of the errors' standard deviation: few or equal errors give no certainty
SMALLEST_LENGTH: Final = 1.0  # one layer

Floats = npt.NDArray[np.float64]


class GaussianProcess:
    """Posterior after n measured networks.

    Attributes:
        scale: prior standard deviation of an error (fraction).
    """

    def __init__(self, distances: Floats, errors: Floats) -> None:
        """Fit to n >= 1 networks.

        Args:
            distances: pairwise distances (n, n) in layers, of negative type.
            errors: measured errors (n,), fractions.
        """
        self._mean = float(errors.mean())
        self.scale = max(float(errors.std()), SMALLEST_SCALE)
        pairwise = distances[np.triu_indices(errors.size, 1)]
        self._length = max(float(np.median(pairwise)), SMALLEST_LENGTH) if pairwise.size else SMALLEST_LENGTH
        covariance = np.exp(-distances / self._length)
        covariance[np.diag_indices(errors.size)] += NOISE
        # by default BLAS uses all cores of the login node, and sums in an order that depends on their number
        with _blas().limit(limits=1, user_api="blas"):
            self._inverse = cho_solve(cho_factor(covariance, lower=True), np.eye(errors.size))
        self._weights = self._inverse @ ((errors - self._mean) / self.scale)

    def predict(self, distances: Floats) -> tuple[float, float]:
        """Mean and standard deviation of a network's error from its distances (n,) to the measured networks."""
        covariance = np.exp(-distances / self._length)
        mean = self._mean + self.scale * float(covariance @ self._weights)
        return mean, self.scale * math.sqrt(max(1 - float(covariance @ self._inverse @ covariance), 0.0))


@cache
def _blas() -> ThreadpoolController:
    """Controller of the loaded BLAS libraries; the search for them is slow."""
    return ThreadpoolController()
