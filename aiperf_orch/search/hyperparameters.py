"""Hyperparameters of a trial: the first point, then points sampled by TPE (`tpe`) from a bounded set of trials.

The kernel size is conditional: only `deeper` has one, so a trial without such an edit says nothing about it.
"""

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
    good_trials, bad_trials = _split(known)
    kernels = settings.kernel_sizes
    kernel = tpe.sample_choice(
        _used_kernels(good_trials, kernels), _used_kernels(bad_trials, kernels), len(kernels), generator
    )
    good, bad = ([each.hyperparameters for each in trials] for trials in (good_trials, bad_trials))
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


def _used_kernels(trials: Sequence[Observation], kernels: Sequence[int]) -> list[int]:
    """Indices in `kernels` of the kernel sizes of the trials with an edit that used it."""
    points = [each.hyperparameters for each in trials if any(edit.kernel for edit in each.edits)]
    return [kernels.index(point.kernel_size) for point in points if point.kernel_size in kernels]


def _split(known: Sequence[Observation]) -> tuple[list[Observation], list[Observation]]:
    """The trials with the lowest errors (of equal errors the oldest), and all others; oldest first."""
    ended = [(each.error, index) for index, each in enumerate(known) if each.error is not None]
    best = {index for _, index in sorted(ended)[: tpe.good_count(len(ended))]}
    good = [each for index, each in enumerate(known) if index in best]
    return good, [each for index, each in enumerate(known) if index not in best]


def random_point(settings: SearchSettings, generator: np.random.Generator) -> Hyperparameters:
    """Sample a point uniformly within the bounds."""
    low, high = settings.batch_size
    return Hyperparameters(
        kernel_size=settings.kernel_sizes[generator.integers(len(settings.kernel_sizes))],
        dropout=float(generator.uniform(0, settings.max_dropout)),
        batch_size=int(generator.integers(low, high, endpoint=True)),
    )
