"""Which hyperparameters a trial gets: the first point, and later Optuna's tree-structured Parzen estimator (TPE).

Each point is sampled from a study of its own, in memory, made of the trials so far: a proposal changes nothing, and
it is the same after a restart. Optuna is imported only when the first point is sampled.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiperf_orch.config import SearchSettings
from aiperf_orch.records import Hyperparameters
from aiperf_orch.search.history import Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


def first_point(settings: SearchSettings) -> Hyperparameters:
    """What a search begins with: smallest kernel, no dropout, and the first batch size (by default the largest)."""
    batch_size = settings.first_batch_size or settings.batch_size[1]
    return Hyperparameters(kernel_size=min(settings.kernel_sizes), dropout=0.0, batch_size=batch_size)


def sample(settings: SearchSettings, trials: Iterable[Trial], seed: int) -> Hyperparameters:
    """A point by TPE after these trials; running ones count as bad (constant liar), failed ones not at all."""
    import optuna

    distributions = _distributions(settings)
    with _quiet():
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        study = optuna.create_study(sampler=sampler, storage=optuna.storages.InMemoryStorage())
        study.add_trials([_frozen(trial, distributions) for trial in trials])
        asked = study.ask(distributions)
    return Hyperparameters(**asked.params)


def _distributions(settings: SearchSettings) -> dict[str, BaseDistribution]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    low, high = settings.batch_size
    return {
        "kernel_size": CategoricalDistribution(settings.kernel_sizes),
        "dropout": FloatDistribution(0.0, settings.max_dropout),
        "batch_size": IntDistribution(low, high),
    }


def _frozen(trial: Trial, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    ended = TrialState.FAIL if trial.error is None else TrialState.COMPLETE
    return create_trial(
        state=TrialState.RUNNING if trial.running else ended,
        value=trial.error,
        params=trial.hyperparameters.model_dump(),
        distributions=distributions,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna neither logs nor warns of what is experimental; afterwards it does as before."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
