"""Measurements of a package's epochs, as hashes by which two packages of the same epochs are recognised.

The hashes do not depend on names, dates or settings. An epoch has three of them:

- measured: loss, error, operations and duration, of epochs that are long enough for durations to differ;
- timed: start in the campaign, duration and operations, which are the same in a copy with other losses;
- learned: loss, error and operations, which are the same in a copy with other times, but also in an honest campaign
  that repeats another one with its seed on a machine that computes deterministically.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from aiperf_orch.records.events import Epoch

_BYTES: Final = 8  # of a hash
_SHARE: Final = 10  # one tenth of the epochs
_LEAST: Final = 10  # epochs, or all: fewer may be equal by chance
_LONG: Final = timedelta(seconds=10)  # repeated epochs of this length rarely take equal milliseconds
_MICROSECOND: Final = timedelta(microseconds=1)

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Measurements:
    """Hashes of a campaign's counted epochs, each kind sorted and without repetitions.

    Attributes:
        sha256: of loss, error, operations and duration of all epochs.
        simulated: whether they were simulated: then only wholly equal ones are the same.
        measured: hashes of loss, error, operations and duration, of long epochs.
        timed: hashes of start, duration and operations.
        learned: hashes of loss, error and operations.
    """

    sha256: str
    simulated: bool
    measured: Hashes
    timed: Hashes
    learned: Hashes

    def equal(self, other: Measurements) -> bool:
        """Whether all epochs are the same, and there are any."""
        return self.timed.size > 0 and self.sha256 == other.sha256 and np.array_equal(self.timed, other.timed)

    def repeats(self, other: Measurements) -> bool:
        """Whether a tenth of these epochs, or more, are epochs of the other campaign."""
        if self.simulated or other.simulated:
            return self.equal(other)
        shared = np.intersect1d(self.measured, other.measured, assume_unique=True).size
        return shared >= max(1, self.measured.size / _SHARE) or _is_considerable(self.timed, other.timed)

    def holds_common(self, one: Measurements, other: Measurements) -> bool:
        """Whether at least half of the epochs that two campaigns have in common are in these measurements."""
        commons = [np.intersect1d(*pair, assume_unique=True) for pair in zip(one._kinds(), other._kinds(), strict=True)]
        return any(
            common.size > 0 and 2 * np.intersect1d(own, common, assume_unique=True).size >= common.size
            for own, common in zip(self._kinds(), commons, strict=True)
        )

    def learned_as(self, other: Measurements) -> bool:
        """Whether a considerable part of the losses and errors are those of the other campaign, at other times."""
        if self.simulated or other.simulated:
            return False
        return _is_considerable(self.learned, other.learned)

    def _kinds(self) -> tuple[Hashes, Hashes]:
        return self.measured, self.timed


def measurements_of(epochs: Sequence[Epoch], started: datetime | None, *, simulated: bool) -> Measurements:
    """Hash the epochs of a campaign.

    Args:
        epochs: those that count.
        started: the campaign's first begin; None where there is none, and no epoch.
        simulated: whether they were simulated.
    """
    measured, long, timed, learned = [], [], [], []
    for epoch in epochs:
        duration = (epoch.end - epoch.start) // _MICROSECOND
        start = (epoch.start - started) // _MICROSECOND if started else 0
        learned.append(f"{epoch.loss!r} {epoch.error!r} {epoch.ops}")
        measured.append(f"{learned[-1]} {duration}")
        if epoch.end - epoch.start >= _LONG:
            long.append(measured[-1])
        timed.append(f"{start} {duration} {epoch.ops}")
    sha256 = hashlib.sha256("\n".join(sorted(measured)).encode()).hexdigest()
    return Measurements(sha256, simulated, _hashes(long), _hashes(timed), _hashes(learned))


def _hashes(texts: Iterable[str]) -> Hashes:
    data = b"".join(hashlib.blake2b(text.encode(), digest_size=_BYTES).digest() for text in texts)
    return np.unique(np.frombuffer(data, dtype=np.uint64))


def _is_considerable(own: Hashes, other: Hashes) -> bool:
    """Whether a tenth of the own hashes, and ten or all of them, are hashes of the other campaign."""
    shared = np.intersect1d(own, other, assume_unique=True).size
    return shared > 0 and shared >= max(own.size / _SHARE, min(own.size, _LEAST))
