"""Rules of the training of trials that trials follow and packages are checked against."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MIN_BATCH: Final = 2
"""Smallest batch that training uses: a batch-norm over maps of side 1 has no statistics with one image."""

PRECISIONS: Final = {
    "auto": frozenset({"fp32", "bf16", "fp16"}),
    "fp32": frozenset({"fp32"}),
    "tf32": frozenset({"tf32", "fp32"}),
    "bf16": frozenset({"bf16"}),
    "fp16": frozenset({"fp16"}),
}
"""Precisions that a device may select for each value of `training.precision`."""


def trial_seed(seed: int, trial: int) -> int:
    """The seed of a trial, below 2^31, which initialises weights and shuffles images.

    Args:
        seed: the setting `campaign.seed`.
        trial: number of the trial.
    """
    return int.from_bytes(hashlib.blake2b(f"{seed} {trial}".encode(), digest_size=4).digest()) >> 1


def trial_round(trial: int, concurrency: int) -> int:
    """The round of a trial, from 0: a round has as many trials as the campaign trains at the same time."""
    return trial // concurrency


def halved_batch(batch: int) -> int | None:
    """The batch that is tried after one that did not fit into memory; None if there is none."""
    return batch // 2 if batch >= 2 * MIN_BATCH else None


def halvings(batch: int) -> Iterator[int]:
    """A batch and all that follow it when memory does not suffice."""
    tried: int | None = batch
    while tried is not None:
        yield tried
        tried = halved_batch(tried)


@dataclass
class Patience:
    """Early stopping: counts the epochs since the error improved by `min_delta`.

    Attributes:
        epochs: number of epochs without improvement after which training stops.
        min_delta: smallest difference that is an improvement.
    """

    epochs: int
    min_delta: float
    _waited: int = 0
    _best: float = math.inf

    def add(self, error: float) -> None:
        """Count one more epoch."""
        if error < self._best - self.min_delta:
            self._waited, self._best = 0, error
        else:
            self._waited += 1

    @property
    def exhausted(self) -> bool:
        """Whether training stops now."""
        return self._waited >= self.epochs
