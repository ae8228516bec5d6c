"""Factors of a score: what the ratio of two scores is made of.

The score of a campaign is the exact product of three factors: operations an image, images a second of a trial while an
epoch of it is under way, and the mean number of trials at work, which is the concurrency times the share of time in
which that many epochs are under way. The regulated score has one factor more, -ln(error).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiperf_orch.results.result import Result

NAMES: Final[Mapping[str, str]] = {
    "operations_per_image": "operations an image",
    "images_per_second": "images a second of one trial",
    "trials_at_work": "trials at work (mean)",
}
"""Factor -> its name for readers."""


@dataclass(frozen=True, slots=True)
class ScoreFactors:
    """Factors of a score.

    Attributes:
        operations_per_image: operations of the counted epochs divided by their images, trained and validated.
        images_per_second: images of the counted epochs divided by the sum of their durations, in seconds.
        trials_at_work: sum of the durations of counted epochs, divided by the seconds of the score.
        concurrency: number of trials at once, as the settings state it, the mean where it was changed; no factor.
    """

    operations_per_image: float
    images_per_second: float
    trials_at_work: float
    concurrency: float

    @property
    def time_at_work(self) -> float:
        """Share of time in which as many trials as the settings state are at work."""
        return self.trials_at_work / self.concurrency

    @property
    def score(self) -> float:
        """The product of the factors, operations per second."""
        return self.operations_per_image * self.images_per_second * self.trials_at_work


def score_factors(result: Result) -> ScoreFactors | None:
    """The factors of a result's score; None without operations, or in no time."""
    score = result.score
    images = score.train_images + score.val_images
    work = math.fsum((epoch.end - epoch.start).total_seconds() for epoch in result.collected.epochs)
    if not (score.operations and images and work and score.seconds):
        return None
    concurrency = result.slot_seconds(score.seconds) / score.seconds
    return ScoreFactors(score.operations / images, images / work, work / score.seconds, concurrency)


def main_factor(first: ScoreFactors, second: ScoreFactors) -> tuple[str, float]:
    """Name for readers, and ratio, of the factor that differs most between two scores: by the ratio's logarithm."""
    ratios = {name: getattr(second, name) / getattr(first, name) for name in NAMES}
    name = max(ratios, key=lambda each: abs(math.log(ratios[each])))
    return NAMES[name], ratios[name]
