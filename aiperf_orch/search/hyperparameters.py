"""Which hyperparameters a trial gets: the first point, and later one by TPE (`parzen`) after a bounded set of trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search import tpe
from aiperf_orch.search.history import Trial
from aiperf_orch.settings.models import SearchSettings

_RANDOM_UP_TO: Final = 10  # points that are known: fewer say nothing


def first_point(settings: SearchSettings) -> Hyperparameters:
    """What a search begins with: smallest kernel, no dropout, and the first batch size (by default the largest)."""
    batch_size = settings.first_batch_size or settings.batch_size[1]
    return Hyperparameters(kernel_size=min(settings.kernel_sizes), dropout=0.0, batch_size=batch_size)


def sample(settings: SearchSettings, trials: Sequence[Trial], generator: np.random.Generator) -> Hyperparameters:
    """A point by TPE after these trials; running ones count as bad (constant liar), failed ones not at all.

    Args:
        settings: the bounds of each hyperparameter.
        trials: what is known, oldest first.
        generator: where all randomness comes from.
    """
    known = [trial for trial in trials if trial.running or trial.error is not None]
    if len(known) < _RANDOM_UP_TO:
        return random_point(settings, generator)
    errors = sorted(trial.error for trial in known if trial.error is not None)
    good: list[Hyperparameters] = []
    bad: list[Hyperparameters] = []
    wanted = tpe.good_of(len(errors))
    for trial in known:
        is_good = trial.error is not None and len(good) < wanted and trial.error <= errors[wanted - 1]
        (good if is_good else bad).append(trial.hyperparameters)
    kernels = settings.kernel_sizes
    kernel = tpe.sample_choice(
        [kernels.index(point.kernel_size) for point in good if point.kernel_size in kernels],
        [kernels.index(point.kernel_size) for point in bad if point.kernel_size in kernels],
        len(kernels),
        generator,
    )
    dropout = tpe.sample_number(
        [point.dropout for point in good], [point.dropout for point in bad], 0.0, settings.max_dropout, generator
    )
    low, high = settings.batch_size
    batch_size = tpe.sample_number(
        [point.batch_size for point in good], [point.batch_size for point in bad], low - 0.5, high + 0.5, generator
    )
    return Hyperparameters(
        kernel_size=kernels[kernel], dropout=dropout, batch_size=min(max(round(batch_size), low), high)
    )


def random_point(settings: SearchSettings, generator: np.random.Generator) -> Hyperparameters:
    """A point that any within the bounds is as likely as."""
    low, high = settings.batch_size
    return Hyperparameters(
        kernel_size=settings.kernel_sizes[generator.integers(len(settings.kernel_sizes))],
        dropout=float(generator.uniform(0, settings.max_dropout)),
        batch_size=int(generator.integers(low, high, endpoint=True)),
    )
