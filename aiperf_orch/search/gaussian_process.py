"""A Gaussian process over the distances between networks: what error to expect of one that was not trained yet.

Kept from Auto-Keras (Jin et al. 2019): the covariance falls exponentially with the distance, and a network is judged by
a confidence bound. Different: the distances are those of `embedding`, for which exp(-distance / length) is a valid
covariance, so that no embedding of distances (theirs is Bourgain's) or clipping of eigenvalues is needed. The length is
the median distance, the prior's mean and variance are those of the errors, and the noise is a fixed part of that
variance. The set of networks is bounded (`history.MODELLED`): a fit costs a millisecond however long the history, and
is made from nothing whenever the set changes, because a decomposition that is updated would differ in its last bits
from that of a search that starts again.

The bound is half a standard deviation below the mean (`search.beta`), the paper's is 2.576. In units of the errors'
deviation that is so much that the farthest child mostly has the lowest bound: annealing then makes 3.5 edits a proposal,
and grows networks rather than betters them. By `benchmarks/approximation.py` (an invented error, 60 trials, means of 24
searches) searches from the small seed network with 2.576 ended at 9.62 % with our distances and at 11.82 % with the exact
ones, with 0.5 at 3.45 and 3.12 %, and with random bounds at 3.50 %: there the bound gains nothing over random children of
the best trials. From ResNet-50 it does: 3.08 %, against 6.16 % with random bounds. 0.5 was chosen of 0.001, 0.1, 0.3, 0.5,
1 and 2.576 by two invented errors, one of which is this, and other seeds. On real trainings searches with 0.5 were compared
with random morphing, and win by little (`benchmarks/search_quality.py`), but not with 2.576.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import ThreadpoolController

NOISE: Final = 0.01  # variance of a measured error, as a part of the errors' variance
SMALLEST_SCALE: Final = 0.01  # of the errors' standard deviation: few errors, or equal ones, do not make us sure
SMALLEST_LENGTH: Final = 1.0  # one layer

Floats = npt.NDArray[np.float64]


class GaussianProcess:
    """The posterior after n networks were measured.

    Attributes:
        scale: prior standard deviation, a fraction as the errors are.
    """

    def __init__(self, distances: Floats, errors: Floats) -> None:
        """Fit to n >= 1 networks: distances (n, n) in layers, of negative type, and errors (n,)."""
        self._mean = float(errors.mean())
        self.scale = max(float(errors.std()), SMALLEST_SCALE)
        between = distances[np.triu_indices(errors.size, 1)]
        self._length = max(float(np.median(between)), SMALLEST_LENGTH) if between.size else SMALLEST_LENGTH
        covariance = np.exp(-distances / self._length)
        covariance[np.diag_indices(errors.size)] += NOISE
        # BLAS would start a thread a core, on a login node that is not ours alone, and sum in another order on each machine
        with _blas().limit(limits=1, user_api="blas"):
            self._inverse = cho_solve(cho_factor(covariance, lower=True), np.eye(errors.size))
        self._weights = self._inverse @ ((errors - self._mean) / self.scale)

    def predict(self, distances: Floats) -> tuple[float, float]:
        """Mean and standard deviation of a network's error, by its distances (n,) to the measured ones."""
        covariance = np.exp(-distances / self._length)
        mean = self._mean + self.scale * float(covariance @ self._weights)
        return mean, self.scale * math.sqrt(max(1 - float(covariance @ self._inverse @ covariance), 0.0))


@cache
def _blas() -> ThreadpoolController:
    """The libraries that linear algebra runs in; found once."""
    return ThreadpoolController()
