"""Playback: a campaign of any size, played with the trials of a sample.

Each slot draws one trial after the other, from those of the sample whose rounds are nearest to its own round, until the
time is over. All slots are played together, as arrays. docs/guides/planning.md states the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aiperf_orch.planning.growth import Growth
from aiperf_orch.planning.log_odds import log_odds, nearest_error
from aiperf_orch.planning.samples import Sample
from aiperf_orch.planning.trial_arrays import SHORTEST, TrialArrays

_FEWEST: Final = 8  # trials from which a slot draws
_ROUNDS: Final = 16  # for which growth is drawn at first
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


@dataclass
class Played:
    """What a played campaign brought. Times are in seconds; those of all slots are added.

    Attributes:
        trials: number of trials that began.
        epochs: number of epochs that count.
        operations: of these epochs.
        seconds: from the first begin to the end of the last epoch that counts.
        error: lowest error; None where the sample has none, or no epoch ended.
        energy: in joules; NaN where it is not known.
        first_epoch: time of the first end of an epoch; infinite without one.
        first_trial: time of the first end of a trial; infinite without one.
        reached: time at which the error was no longer above the limit; infinite where it stayed above it.
        idle: time without a trial, from the first begin on; the start of trials is part of it.
        before: time from the begin lines to the first epochs.
        training, validation: time of the epochs that count, by the operations of each.
        lost: time at work that no counted epoch used: after the last epoch of a trial, and in the one cut off.
    """

    trials: int = 0
    epochs: int = 0
    operations: float = 0.0
    seconds: float = 0.0
    error: float | None = None
    energy: float = 0.0
    first_epoch: float = np.inf
    first_trial: float = np.inf
    reached: float = np.inf
    idle: float = 0.0
    before: float = 0.0
    training: float = 0.0
    validation: float = 0.0
    lost: float = 0.0

    @property
    def score(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Source:
    """A sample, prepared for many playbacks."""

    sample: Sample
    arrays: TrialArrays
    growth: Growth


@dataclass(frozen=True)
class _Drawn:
    """Trials that slots drew in a round: index of each, its begin, its first epoch, seconds and epochs that count."""

    index: _Integers
    begin: _Floats
    first: _Floats
    period: _Floats
    done: _Integers


class Playback:
    """One playback: how the trials of a source are weighed, go on, and grow is drawn once, at the beginning."""

    def __init__(
        self,
        source: Source,
        slots: int,
        epochs_of_round: Callable[[int], int],
        error_limit: float,
        generator: np.random.Generator,
    ) -> None:
        """Draw what holds for the whole campaign.

        Args:
            source: The trials; at least one.
            slots: Number of concurrent trials.
            epochs_of_round: Maximum number of epochs of a trial of a round.
            error_limit: The error whose time `Played.reached` states.
            generator: Source of all randomness.
        """
        self._source, self._trials, self._slots = source, source.arrays, slots
        self._epochs_of_round, self._limit, self._generator = epochs_of_round, log_odds(error_limit), generator
        self._weights = generator.exponential(size=self._trials.round.size)
        self._lengths = self._trials.draw_lengths(generator)
        self._offsets, self._gaps = (
            np.asarray(found or (0.0,), float) for found in (source.sample.offsets, source.sample.gaps)
        )
        self._pools: dict[int, tuple[_Integers, _Floats]] = {}
        self._walk: _Floats = np.zeros((0, 3))
        self._walk_seed = int(generator.integers(2**32))

    def play(self, seconds: float, *, until_reached: bool = False) -> Played:
        """Play a campaign.

        Args:
            seconds: Duration from the first begin.
            until_reached: End when no trial can reach the limit of the error earlier any more.
        """
        played = Played()
        time = self._generator.choice(self._offsets, self._slots)
        time -= time.min()
        played.idle = float(np.minimum(time, seconds).sum())
        for number in count():
            at_work = np.flatnonzero(time < (min(seconds, played.reached) if until_reached else seconds))
            if not at_work.size:
                return played
            time[at_work] = self._run(played, time[at_work], number, seconds)
        raise AssertionError("count() does not end")

    def _run(self, played: Played, begin: _Floats, number: int, seconds: float) -> _Floats:
        """Add one trial of each slot; returns the times at which the slots begin their next one."""
        trials, index = self._trials, self._draw(number, begin.size)
        more, longer, shift = self._growth(number)
        period, before = trials.period[index] * np.exp(longer), trials.before[index]
        length = np.minimum(self._lengths[index], self._epochs_of_round(number))
        first = begin + before
        done = np.clip(np.floor((seconds - first) / period + 1e-9), 0, length).astype(np.int64)
        end = np.maximum(first + length * period + trials.after[index], begin + SHORTEST)
        self._add(played, _Drawn(index, begin, first, period, done), np.minimum(end, seconds), more, longer)
        if done.any():
            counted = np.flatnonzero(done)
            drawn = _Drawn(index[counted], begin[counted], first[counted], period[counted], done[counted])
            played.seconds = max(played.seconds, float((drawn.first + drawn.done * drawn.period).max()))
            played.first_epoch = min(played.first_epoch, float((drawn.first + drawn.period).min()))
            self._add_errors(played, drawn, shift)
        if (end <= seconds).any():
            played.first_trial = min(played.first_trial, float(end.min()))
        following = end + trials.gaps[index] * self._generator.choice(self._gaps, index.size)
        played.idle += float((np.minimum(following, seconds) - np.minimum(end, seconds)).sum())
        return np.asarray(following)

    def _add(self, played: Played, drawn: _Drawn, end: _Floats, more: float, longer: float) -> None:
        """Add the epochs of trials, and their time until their end."""
        trials, work, spent = self._trials, drawn.done * drawn.period, end - drawn.begin
        validation = work * trials.validation[drawn.index]
        started = np.minimum(drawn.first - drawn.begin, spent)
        played.trials += drawn.index.size
        played.epochs += int(drawn.done.sum())
        played.operations += float(np.exp(more) * (drawn.done @ trials.ops[drawn.index]))
        played.energy += float(np.exp(longer) * (drawn.done @ trials.energy[drawn.index]))
        played.before += float(started.sum())
        played.validation += float(validation.sum())
        played.training += float((work - validation).sum())
        played.lost += float(np.maximum(spent - started - work, 0.0).sum())  # rounding can make it negative

    def _add_errors(self, played: Played, drawn: _Drawn, shift: float) -> None:
        """Add the lowest error of trials with a counted epoch, and the time at which it reached the limit."""
        curves = self._trials.curves
        if curves is None:
            return
        noise = shift + self._generator.normal(0.0, self._trials.bandwidth, drawn.index.size)
        known = np.minimum(drawn.done, curves.shape[1])
        lowest = float((curves[drawn.index, known - 1] + noise).min())
        if np.isfinite(lowest):
            error = nearest_error(lowest, self._source.sample.validation_images)
            played.error = error if played.error is None else min(played.error, error)
        if drawn.first.min() >= played.reached:
            return
        above = (curves[drawn.index] > (self._limit - noise)[:, None]).sum(axis=1)
        reached = np.flatnonzero(above < known)
        if reached.size:
            times = drawn.first[reached] + (above[reached] + 1) * drawn.period[reached]
            played.reached = min(played.reached, float(times.min()))

    def _growth(self, number: int) -> tuple[float, float, float]:
        """Difference of a round from the sample's: log operations, log duration, log odds of the error."""
        while number >= len(self._walk):
            generator = np.random.default_rng(self._walk_seed)
            self._walk = self._source.growth.walk(max(2 * len(self._walk), _ROUNDS), self._slots, generator)
        more, longer, shift = self._walk[number]
        return float(more), float(longer), float(shift)

    def _draw(self, number: int, size: int) -> _Integers:
        """Trials for slots in a round: from those of the nearest rounds, at least eight, by their weights."""
        rounds = self._trials.round
        number = min(number, int(rounds.max()))
        if number not in self._pools:
            distance = np.abs(rounds - number)
            limit = np.sort(distance)[min(_FEWEST, distance.size) - 1]
            pool = np.flatnonzero(distance <= limit)
            bounds = np.cumsum(self._weights[pool])
            self._pools[number] = pool, bounds / bounds[-1]
        pool, bounds = self._pools[number]
        return np.asarray(pool[np.searchsorted(bounds, self._generator.random(size), side="right")])
