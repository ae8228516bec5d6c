"""Interface of trainers: the part of a trial that trains and validates epochs, and how it reports failures.

`training.torch_trainer` trains, `simulated_trainer` imitates; `attempt` runs either of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import EpochMeasurements, TrainingSetup


class TrialFailedError(Exception):
    """The trial cannot continue; it ends with `reason` and the error's message."""

    def __init__(self, reason: EndReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PeerStoppedError(Exception):
    """Another worker of the trial was asked to stop, and all workers stopped at the same step."""


class Trainer(Protocol):
    """Trains one specification, one epoch per call.

    `check` is called several times per second and may raise an exception to leave the epoch immediately. A trainer lets
    that exception pass, and is not called again except for `close`. Every method may raise `TrialFailedError`.
    """

    def prepare(self) -> TrainingSetup:
        """Load data, build the model and inherit weights; called once, before any epoch."""

    def run_epoch(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        """Train and validate epoch `epoch` (from 1). The loss is NaN or infinite when training diverged."""

    def save_weights(self, path: Path) -> str:
        """Write the current weights, replacing the file atomically; return the SHA-256 of its bytes."""

    def save_checkpoint(self, path: Path, epoch: int) -> None:
        """Write the state after `epoch` from which training can continue, replacing the file atomically."""

    def load_checkpoint(self, path: Path) -> int:
        """Continue from a checkpoint; return the epoch after which it was written.

        Raises:
            OSError, ValueError: The file does not exist, or it is not usable.
            TransientError: The file could not be read for several minutes.
        """

    def close(self) -> None:
        """Release all resources; called once, also after a failure."""
