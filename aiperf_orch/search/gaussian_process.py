"""A Gaussian process over the distances between networks: what error to expect of one that was not trained yet.

Kept from Auto-Keras (Jin et al. 2019): the covariance falls exponentially with the edit distance, and a network is
judged by a confidence bound. Different: they embed the distances in a Euclidean space (Bourgain) to make the kernel
valid. We take exp(-distance / length), which is not positive semi-definite for every set of networks, and project it
on the eigenvectors with positive eigenvalues, new networks like old ones (spectrum clip: Chen et al. 2009,
"Similarity-based Classification"). The length is the median distance, the prior's mean and variance are those of the
errors, and the noise is a fixed part of that variance.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

NOISE: Final = 0.01  # variance of a measured error, as a part of the errors' variance
SMALLEST_SCALE: Final = 0.01  # of the errors' standard deviation: few errors, or equal ones, do not make us sure
SMALLEST_LENGTH: Final = 1.0  # one layer
_SMALLEST_EIGENVALUE: Final = 1e-9

Floats = npt.NDArray[np.float64]


class GaussianProcess:
    """The posterior after n networks were measured.

    Attributes:
        scale: prior standard deviation, a fraction as the errors are.
    """

    def __init__(self, distances: Floats, errors: Floats) -> None:
        """Fit to n >= 1 networks: distances (n, n) in layers, symmetric, and errors (n,)."""
        self._mean = float(errors.mean())
        self.scale = max(float(errors.std()), SMALLEST_SCALE)
        between = distances[np.triu_indices(errors.size, 1)]
        self._length = max(float(np.median(between)), SMALLEST_LENGTH) if between.size else SMALLEST_LENGTH
        eigenvalues, eigenvectors = np.linalg.eigh(np.exp(-distances / self._length))
        kept = eigenvalues > _SMALLEST_EIGENVALUE
        self._basis = eigenvectors[:, kept] / np.sqrt(eigenvalues[kept] + NOISE)
        self._weights = self._basis.T @ ((errors - self._mean) / self.scale)

    def predict(self, distances: Floats) -> tuple[float, float]:
        """Mean and standard deviation of a network's error, by its distances (n,) to the measured ones."""
        projected = np.exp(-distances / self._length) @ self._basis
        mean = self._mean + self.scale * float(projected @ self._weights)
        return mean, self.scale * math.sqrt(max(1 - float(projected @ projected), 0.0))
