"""Hyperparameters of a trial: the first point, then points sampled by TPE (`tpe`) from a bounded set of trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search import tpe
from aiperf_orch.search.history import Observation
from aiperf_orch.settings.models import SearchSettings

STARTUP_TRIALS: Final = 10  # with fewer known trials points are uniformly random


def first_point(settings: SearchSettings) -> Hyperparameters:
    """First point of a search: smallest kernel, no dropout, and the first batch size (by default the largest)."""
    batch_size = settings.first_batch_size or settings.batch_size[1]
    return Hyperparameters(kernel_size=min(settings.kernel_sizes), dropout=0.0, batch_size=batch_size)


def sample(
    settings: SearchSettings, observations: Sequence[Observation], generator: np.random.Generator
) -> Hyperparameters:
    """Sample a point by TPE; running trials count as bad (constant liar), failed trials are ignored.

    Args:
        settings: bounds of each hyperparameter.
        observations: running and ended trials, oldest first.
        generator: source of all randomness.
    """
    known = [each for each in observations if each.running or each.error is not None]
    if len(known) < STARTUP_TRIALS:
        return random_point(settings, generator)
    good, bad = _split(known)
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


def _split(known: Sequence[Observation]) -> tuple[list[Hyperparameters], list[Hyperparameters]]:
    """Points of the trials with the lowest errors (of equal errors the oldest), and of all others; oldest first."""
    errors = sorted(each.error for each in known if each.error is not None)
    wanted = tpe.good_count(len(errors))
    good: list[Hyperparameters] = []
    bad: list[Hyperparameters] = []
    for each in known:
        is_good = each.error is not None and len(good) < wanted and each.error <= errors[wanted - 1]
        if is_good:
            good.append(each.hyperparameters)
        else:
            bad.append(each.hyperparameters)
    return good, bad


def random_point(settings: SearchSettings, generator: np.random.Generator) -> Hyperparameters:
    """Sample a point uniformly within the bounds."""
    low, high = settings.batch_size
    return Hyperparameters(
        kernel_size=settings.kernel_sizes[generator.integers(len(settings.kernel_sizes))],
        dropout=float(generator.uniform(0, settings.max_dropout)),
        batch_size=int(generator.integers(low, high, endpoint=True)),
    )
