"""What a trainer is: the part of a trial that turns epochs into errors. `torch_trainer` trains, `simulated` pretends.

The life of a trial around it (claim, events, early stop, ends) is `lifecycle`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from aiperf_orch.records.base import EndReason, EnergyOf


class TrialFailedError(Exception):
    """The trial cannot go on; it ends with a typed reason and a message for a person."""

    def __init__(self, reason: EndReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PeerStoppedError(Exception):
    """Another worker of the trial was told to end, and all left at the same step."""


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """What a trainer found and uses: one worker an accelerator, `batch` is of each.

    `inherited` says whether weights came from a parent; `data_sha256` is the digest of the data set's listing.
    """

    batch: int
    device: str
    precision: str
    cores: int
    inherited: bool
    data_sha256: str | None = None
    workers: int = 1
    compiled: bool = False
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EpochMeasurements:
    """One epoch: images really trained and validated, mean training loss, wrong validation images, and the batch.

    `skipped` training images could not be read. `data_wait` is the share of the epoch that the step waited for data, and
    `energy` what all nodes took, in joules, of the parts that `energy_of` names; None where it is not known.
    """

    train_images: int
    val_images: int
    loss: float
    wrong: int
    batch: int
    skipped: int = 0
    data_wait: float | None = None
    energy: float | None = None
    energy_of: EnergyOf | None = None


class Trainer(Protocol):
    """Trains one specification, one epoch at a call.

    `check` is called at least a few times a second and may raise to leave the epoch at once; a trainer lets that through and
    is not called again. Every method may raise `TrialFailedError`.
    """

    def prepare(self) -> TrainingSetup:
        """Load data, build the model, inherit weights; called once, before any epoch."""

    def run_epoch(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        """Train and validate epoch `epoch` (from 1). The loss is NaN or infinite when training diverged."""

    def save_weights(self, path: Path) -> str:
        """Write the present weights, replacing the file whole; returns the SHA-256 of its bytes."""

    def save_checkpoint(self, path: Path, epoch: int) -> None:
        """Write all that is needed to go on after `epoch`, replacing the file whole."""

    def load_checkpoint(self, path: Path) -> int:
        """Go on from a checkpoint; returns the epoch it was written after.

        Raises:
            OSError, ValueError: when there is none, or it is unusable.
            TransientError: when it could not be read for minutes.
        """

    def close(self) -> None:
        """Let go of everything; called once, whatever happened before."""
