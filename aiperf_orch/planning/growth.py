"""Growth of networks: how operations, durations and errors change from parents to children.

The trials of a round have few parents in common, and these again: what one edit changes is inherited by all
descendants. The mean of a round is thus a walk whose steps are those of few parents, and another campaign takes another
walk. The steps are measured: the differences, in logarithms, between children and their parents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aiperf_orch.planning.log_odds import bounded_log_odds
from aiperf_orch.planning.samples import Sample, TrialSample

_FEWEST_STEPS: Final = 3
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Growth:
    """Steps of the walk of one campaign.

    Attributes:
        steps: child - parent, without their mean: log operations of an epoch, its log duration, log odds of the lowest
            error, shape (steps, 3).
        depths: mean number of generations from the seed by round, never decreasing, shape (rounds,).
        parents: effective number of parents of the trials of a round, shape (rounds,).
        trials: number of trials of a round, shape (rounds,).
    """

    steps: _Floats
    depths: _Floats
    parents: _Floats
    trials: _Floats

    def walk(self, rounds: int, slots: int, generator: np.random.Generator) -> _Floats:
        """Differences of another campaign from this one by round, in logarithms, shape (rounds, 3).

        The walks of both campaigns are drawn, since the measured one is one of many, too. A longer walk of the same
        random state begins with the shorter one.

        Args:
            rounds: Number of rounds of the other campaign.
            slots: Number of its concurrent trials, and of the trials of a round.
            generator: Source of all randomness.
        """
        walk = np.zeros((rounds, 3))
        if len(self.steps) < _FEWEST_STEPS:
            return walk
        last = len(self.depths) - 1
        for each in range(1, rounds):
            parents = self.parents[min(each, last)]
            others = effective_parents(parents, self.trials[min(each, last)], slots)
            walk[each] = self._mean_step(others, generator)
            if each > last:  # nothing was measured here: only the other campaign walks
                walk[each] *= np.sqrt(self.depths[last] / max(last, 1))
            else:
                walk[each] -= self._mean_step(parents, generator)
                walk[each] *= np.sqrt(self.depths[each] - self.depths[each - 1])
        return np.asarray(np.cumsum(walk, axis=0))

    def _mean_step(self, parents: float, generator: np.random.Generator) -> _Floats:
        drawn = generator.integers(len(self.steps), size=max(round(parents), 1))
        return np.asarray(self.steps[drawn].mean(axis=0))


def effective_parents(parents: float, trials: float, slots: int) -> float:
    """Effective number of parents of a round of another size.

    Of m equally frequent parents, n trials that each draw one have m n / (n + m - 1) effectively: m follows from the
    measured round, and is without a bound where all of its trials have different parents.

    Args:
        parents: Effective number in a measured round.
        trials: Number of trials of that round.
        slots: Number of trials of the other round.
    """
    if parents >= trials:
        return float(slots)
    frequent = parents * (trials - 1) / (trials - parents)
    return frequent * slots / (slots + frequent - 1)


def growth_of(sample: Sample) -> Growth:
    """The growth in a campaign. Steps are between complete trials that have an epoch."""
    trials = {each.trial: each for each in sample.trials}
    depth: dict[int, int] = {}
    members: dict[int, list[TrialSample]] = {}
    for each in sample.trials:
        depth[each.trial] = 1 if each.parent is None else depth.get(each.parent, 0) + 1
        members.setdefault(each.round, []).append(each)
    pairs = [(each, trials[each.parent]) for each in sample.trials if each.parent in trials]
    images = sample.validation_images
    steps = [
        [_log_ratio(child.ops, parent.ops), _log_ratio(child.period, parent.period), _change(child, parent, images)]
        for child, parent in pairs
        if all(each.is_complete and each.epochs for each in (child, parent))
    ]
    found = np.asarray(steps, float).reshape(-1, 3)
    rounds = range(max(members) + 1)
    depths = [float(np.mean([depth[each.trial] for each in members.get(number, [])] or [0])) for number in rounds]
    return Growth(
        steps=found - found.mean(axis=0) if len(found) else found,
        depths=np.maximum.accumulate(depths),
        parents=np.array([_measured_parents(members.get(number, [])) for number in rounds]),
        trials=np.array([float(len(members.get(number, [])) or 1) for number in rounds]),
    )


def _measured_parents(trials: list[TrialSample]) -> float:
    """Number of equally frequent parents with the same sum of squared shares."""
    if not trials:
        return 1.0
    named = [-1 - each.trial if each.parent is None else each.parent for each in trials]
    counts = np.unique(named, return_counts=True)[1]
    return float(counts.sum() ** 2 / (counts**2).sum())


def _change(child: TrialSample, parent: TrialSample, images: int) -> float:
    if not (child.errors and parent.errors):
        return 0.0
    return bounded_log_odds(child.errors[-1], images) - bounded_log_odds(parent.errors[-1], images)


def _log_ratio(value: float, base: float) -> float:
    return float(np.log(value / base)) if value > 0 and base > 0 else 0.0
