"""The trials of a sample as arrays, from which slots draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aiperf_orch.planning.log_odds import bounded_log_odds
from aiperf_orch.planning.samples import Sample, TrialSample

SHORTEST: Final = 1e-3  # seconds of an epoch, and of a trial
_BEYOND: Final = 1 << 60  # epochs of a trial that ends at its limit only
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


@dataclass(frozen=True)
class TrialArrays:
    """Columns of the trials, shape (trials,), as `TrialSample` describes them.

    Attributes:
        complete: indices of the complete trials, by their epochs.
        curves: lowest error up to each epoch as log odds, shape (trials, epochs); None where no trial has an error.
        bandwidth: standard deviation of the noise of a smoothed bootstrap of the errors.
    """

    round: _Integers
    epochs: _Integers
    before: _Floats
    period: _Floats
    after: _Floats
    gaps: _Floats
    ops: _Floats
    validation: _Floats
    energy: _Floats
    lengths: _Integers
    cut_off: _Integers
    complete: _Integers
    curves: _Floats | None
    bandwidth: float

    @classmethod
    def of(cls, sample: Sample) -> TrialArrays:
        """The trials of a sample, at least one."""
        trials = sample.trials
        rounds = np.array([each.round for each in trials], np.int64)
        epochs = np.array([each.epochs for each in trials], np.int64)
        is_complete = np.array([each.is_complete for each in trials])
        complete = np.flatnonzero(is_complete)
        curves = _error_curves(trials, sample.validation_images)
        columns = {
            name: np.array([getattr(each, name) for each in trials], float)
            for name in ("before", "after", "gaps", "ops", "validation", "energy")
        }
        return cls(
            round=rounds,
            epochs=epochs,
            period=np.array([max(each.period, SHORTEST) for each in trials]),
            lengths=np.array([_length(each) for each in trials], np.int64),
            cut_off=np.flatnonzero(~is_complete),
            complete=complete[np.argsort(epochs[complete], kind="stable")],
            curves=curves,
            bandwidth=0.0 if curves is None else _bandwidth(curves[:, -1], rounds),
            **columns,
        )

    def draw_lengths(self, generator: np.random.Generator) -> _Integers:
        """Number of epochs that each trial has if the campaign's end does not cut it off, before any limit.

        A trial that was cut off goes on to the length of a complete one, drawn from those that went further.
        """
        lengths = self.lengths.copy()
        further = np.searchsorted(self.epochs[self.complete], self.epochs[self.cut_off], side="right")
        number = self.complete.size - further
        index = np.minimum(further + (generator.random(number.size) * number).astype(np.int64), self.complete.size - 1)
        has_any = number > 0
        lengths[self.cut_off[has_any]] = lengths[self.complete[index[has_any]]]
        return lengths


def _length(trial: TrialSample) -> int:
    """Epochs of a trial that ended before its limit by itself."""
    return trial.epochs if trial.is_complete and trial.epochs < trial.planned else _BEYOND


def _error_curves(trials: Sequence[TrialSample], images: int) -> _Floats | None:
    longest = max((len(each.errors) for each in trials), default=0)
    if not longest:
        return None
    curves = np.full((len(trials), longest), np.inf)
    for row, trial in zip(curves, trials, strict=True):
        if trial.errors:
            row[: len(trial.errors)] = [bounded_log_odds(error, images) for error in trial.errors]
            row[len(trial.errors) :] = row[len(trial.errors) - 1]
    return curves


def _bandwidth(best: _Floats, rounds: _Integers) -> float:
    """Silverman's rule, for the differences of the lowest errors from the medians of their rounds."""
    known = np.isfinite(best)
    groups = [best[known & (rounds == each)] for each in np.unique(rounds)]
    residuals = [group - np.median(group) for group in groups if group.size > 1]
    if not residuals:
        return 0.0
    values = np.concatenate(residuals)
    low, high = np.percentile(values, [25, 75])
    spread = min(float(values.std()), float(high - low) / 1.349) or float(values.std())
    return 0.9 * spread * float(values.size**-0.2)
