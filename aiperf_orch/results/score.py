"""Score, error and regulated score of a campaign at any time (Ren et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aiperf_orch.campaign import score_arithmetic
from aiperf_orch.campaign.score_arithmetic import exact_seconds, regulated_score
from aiperf_orch.records.events import Epoch

_SERIES_INTERVAL: Final = timedelta(minutes=6)
_LEAST_POINTS: Final = 20


@dataclass(frozen=True, slots=True)
class Score:
    """Score of a campaign at a time.

    Attributes:
        operations: exact number of operations of the counted epochs.
        seconds: from the first begin of any trial to the end of the last counted epoch.
        score: operations per second.
        error: lowest top-1 error of the counted epochs; None before an epoch has ended.
        regulated: score x -ln(`error_counted`).
        error_counted: the error, or 1 / (2 x validation images) for an error of 0.
        epochs: number of counted epochs.
        train_images: images trained in the counted epochs.
        val_images: images validated in the counted epochs.
    """

    operations: int = 0
    seconds: float = 0.0
    score: float = 0.0
    error: float | None = None
    regulated: float | None = None
    error_counted: float | None = None
    epochs: int = 0
    train_images: int = 0
    val_images: int = 0

    @property
    def error_is_zero(self) -> bool:
        """Whether the error is 0, so that the regulated score uses half a validation image instead."""
        return self.error == 0


@dataclass
class RunningScore:
    """Accumulator of epochs in the order of their ends; `at_present` returns the score of those added."""

    start: datetime
    operations: int = 0
    epochs: int = 0
    train_images: int = 0
    val_images: int = 0
    last_end: datetime | None = None
    best: Epoch | None = None

    def add(self, epoch: Epoch) -> None:
        """Count an epoch, which must not end before those added earlier."""
        self.operations += epoch.ops
        self.epochs += 1
        self.train_images += epoch.train_images
        self.val_images += epoch.val_images
        self.last_end = epoch.end
        if self.best is None or epoch.error < self.best.error:
            self.best = epoch

    def at_present(self) -> Score:
        """Score of the epochs added so far."""
        if self.last_end is None or self.best is None:
            return Score()
        measured = self.last_end - self.start
        score = score_arithmetic.score(self.operations, measured)
        error = self.best.error
        counted = error if error > 0 else 1 / (2 * self.best.val_images)
        return Score(
            operations=self.operations,
            seconds=float(exact_seconds(measured)),
            score=score,
            error=error,
            regulated=regulated_score(score, counted),
            error_counted=counted,
            epochs=self.epochs,
            train_images=self.train_images,
            val_images=self.val_images,
        )


def score_of(start: datetime | None, epochs: Iterable[Epoch]) -> Score:
    """Compute the score of epochs that count, sorted by their ends; `start` is the first begin of any trial."""
    if start is None:
        return Score()
    running = RunningScore(start)
    for epoch in epochs:
        running.add(epoch)
    return running.at_present()


def series(start: datetime | None, epochs: list[Epoch], duration: float) -> list[tuple[float, Score]]:
    """Compute the score over time: every 6 minutes and at the end, with at least 20 points for short campaigns.

    Args:
        start: the first begin of any trial; None before it.
        epochs: epochs that count, sorted by their ends.
        duration: time limit of the campaign in seconds; it sets the interval of a short campaign.

    Returns:
        Pairs of seconds since the start and the score at that time; the last pair is at the end of the last epoch.
    """
    if start is None or not epochs:
        return []
    last = epochs[-1].end
    span = min(timedelta(seconds=duration), last - start)
    interval = min(_SERIES_INTERVAL, span / _LEAST_POINTS) or timedelta(milliseconds=1)
    running, points, number, index = RunningScore(start), [], 1, 0
    while start + number * interval < last:
        time = start + number * interval
        while epochs[index].end <= time:
            running.add(epochs[index])
            index += 1
        points.append((float(exact_seconds(time - start)), running.at_present()))
        number += 1
    for epoch in epochs[index:]:
        running.add(epoch)
    return [*points, (float(exact_seconds(last - start)), running.at_present())]
