"""Prediction of a campaign: many playbacks of resampled trials, and the quantities in which they agree or differ.

Each playback takes one of the samples, each as probable as the others, weighs its trials at random (a Bayesian
bootstrap), lets their networks grow in another way (`growth`), and plays the campaign with them. The interval of a
quantity holds 90 % of the playbacks, from the 5 % to the 95 % quantile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from aiperf_orch.campaign.score_arithmetic import regulated_score
from aiperf_orch.planning.growth import growth_of
from aiperf_orch.planning.playback import Playback, Played, Source
from aiperf_orch.planning.samples import Sample
from aiperf_orch.planning.trial_arrays import TrialArrays
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.progress import tracked

LEVEL: Final = 0.9
"""Share of the playbacks that an interval holds."""
_PLAYBACKS: Final = 400
_FEWEST_PLAYBACKS: Final = 40
_MOST_DRAWS: Final = 100_000_000  # of trials, in all playbacks
_MOST_ROUNDS: Final = 400_000  # in all playbacks, unless the fewest playbacks have more; about a minute


@dataclass(frozen=True, slots=True)
class Interval:
    """A predicted number: the median of the playbacks, and the bounds; None where the source has no spread."""

    expected: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The campaign that is predicted.

    Attributes:
        slots: number of concurrent trials.
        seconds: its duration.
        epochs_of_round: maximum number of epochs of a trial of a round.
        error_limit: the highest error of a rankable result.
    """

    slots: int
    seconds: float
    epochs_of_round: Callable[[int], int]
    error_limit: float


@dataclass(frozen=True)
class Prediction:
    """The playbacks of a campaign.

    Attributes:
        playbacks: all of them.
        has_spread: whether the samples have more than one trial, so that playbacks can differ.
    """

    playbacks: Sequence[Played]
    has_spread: bool

    def interval(self, quantity: Callable[[Played], float | None]) -> Interval | None:
        """The interval of a quantity; None where a playback does not have it, as a number."""
        found = [quantity(each) for each in self.playbacks]
        values = [value for value in found if value is not None and math.isfinite(value)]
        if len(values) < len(found):
            return None
        return self._interval_of(values)

    def time_of_reaching(self) -> Interval | None:
        """Time at which the error is at the limit or below; None where it is not in nearly every playback."""
        found = self._interval_of([each.reached for each in self.playbacks])
        latest = found.expected if found.high is None else found.high
        return found if math.isfinite(latest) else None

    def share(self, part: str) -> float:
        """Mean share of the time of all slots that a part takes, such as `training`."""
        parts = ("idle", "before", "training", "validation", "lost")
        spent = math.fsum(getattr(each, name) for each in self.playbacks for name in parts)
        return math.fsum(getattr(each, part) for each in self.playbacks) / spent if spent else 0.0

    def _interval_of(self, values: Sequence[float]) -> Interval:
        if not self.has_spread:
            return Interval(float(values[0]))
        ordered, last = sorted(values), len(values) - 1
        low, high = math.floor(last * (1 - LEVEL) / 2), math.ceil(last * (1 + LEVEL) / 2)
        return Interval(ordered[last // 2], ordered[low], ordered[high])


def predict(samples: Sequence[Sample], target: Target, *, until_reached: bool = False) -> Prediction:
    """Predict a campaign; the same samples give the same prediction.

    Args:
        samples: What was measured, of one or more sources; each has at least one trial.
        target: The campaign.
        until_reached: Play only until the error is at the limit.

    Raises:
        UsageError: The trials of the samples are so short that the campaign would have too many of them.
    """
    generator = np.random.default_rng(0)
    number = _FEWEST_PLAYBACKS if until_reached else _number_of_playbacks(samples, target)
    sources = [Source(each, TrialArrays.of(each), growth_of(each)) for each in samples]
    playbacks = []
    for _ in tracked(range(number), "playing campaigns"):
        source = sources[int(generator.integers(len(sources)))]
        playback = Playback(source, target.slots, target.epochs_of_round, target.error_limit, generator)
        playbacks.append(playback.play(target.seconds, until_reached=until_reached))
    return Prediction(playbacks, sum(len(each.trials) for each in samples) > 1)


def regulated(played: Played) -> float | None:
    """Regulated score of a playback; None without an error."""
    if played.error is None:
        return None
    return regulated_score(played.score, max(played.error, 1e-12))


def _number_of_playbacks(samples: Sequence[Sample], target: Target) -> int:
    means = []
    for sample in samples:
        spent = [each.before + each.epochs * each.period + each.after for each in sample.trials]
        gap = math.fsum(sample.gaps) / len(sample.gaps) if sample.gaps else 0.0
        means.append(math.fsum(spent) / len(spent) + gap)
    rounds = 1 + target.seconds / max(min(means), 1e-3)
    draws = target.slots * rounds
    if draws * _FEWEST_PLAYBACKS > _MOST_DRAWS:
        raise UsageError(
            f"the trials of the source last {min(means):.3g} s on average, so that this campaign would have about "
            f"{draws:,.0f} of them, too many to be played: plan fewer nodes or a shorter duration, or give a source "
            "with trials of a usual length"
        )
    return int(min(_PLAYBACKS, _MOST_DRAWS // draws, max(_FEWEST_PLAYBACKS, _MOST_ROUNDS // rounds)))
