"""Simulated trainer: errors and durations from a seeded model of learning curves, for tests of everything around it.

It trains nothing and imports no torch; every record that it leads to says "simulated". The error of a network falls
exponentially towards a floor, which is lower for more operations (up to a point) and depends on the network's hash. A
child of a trained parent starts at the parent's error.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.durable_files import read_file, replace_file
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import SIMULATED, EpochMeasurements, TrainingSetup
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util.dataset_catalogue import DATASET_SIZES

_TRAIN_IMAGES, _VAL_IMAGES = DATASET_SIZES["digits", 10]
_STEP_SECONDS: Final = 0.02
_EPOCHS_TO_LEARN: Final = 4.0


class SimulatedTrainer:
    """Trainer whose errors depend only on the specification and the attempt."""

    def __init__(self, spec: TrialSpec, attempt: int) -> None:
        self._spec = spec
        self._settings = spec.training.simulated
        size = math.log2(max(spec.operations.train, 2))
        self._floor = (0.01 + 0.3 * math.exp(-size / 12)) * (0.6 + 0.8 * self._uniform("floor"))
        self._inherited = spec.training.inherit_weights and spec.parent_error is not None
        self._start = max(spec.parent_error or 0.0, self._floor) if self._inherited else 0.9
        fails = self._uniform(f"failure {attempt}") < self._settings.failure_rate
        self._failure_epoch = 1 + int(self._uniform("failure epoch") * spec.epochs) if fails else None

    def prepare(self) -> TrainingSetup:
        """Return the setup; there is nothing to prepare."""
        return TrainingSetup(
            batch=self._spec.hyperparameters.batch_size,
            device=SIMULATED,
            precision=self._spec.training.precision,
            cores=len(os.sched_getaffinity(0)),
            inherited=self._inherited,
            versions={},
        )

    def run_epoch(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        """Wait as long as the settings say, and return the point of the learning curve."""
        check()
        end = time.monotonic() + self._settings.epoch_seconds * (0.8 + 0.4 * self._uniform(f"time {epoch}"))
        while (remaining := end - time.monotonic()) > 0:
            time.sleep(min(remaining, _STEP_SECONDS))
            check()
        if epoch == self._failure_epoch:
            self._fail(EndReason(self._settings.failure_reason))
        progress = math.exp(-epoch / _EPOCHS_TO_LEARN)
        error = self._floor + (self._start - self._floor) * progress
        noisy = min(max(error * (0.9 + 0.2 * self._uniform(f"error {epoch}")), 0.0), 1.0)
        return EpochMeasurements(
            train_images=_TRAIN_IMAGES,
            val_images=_VAL_IMAGES,
            loss=2.3 * noisy + 0.5,
            error=round(noisy * _VAL_IMAGES) / _VAL_IMAGES,
            batch=self._spec.hyperparameters.batch_size,
        )

    def save_weights(self, path: Path) -> str:
        """Write the network's hash in place of weights."""
        data = self._spec.network_hash.encode()
        replace_file(path, data, retry_for=LONG_RETRY_SECONDS)
        return hashlib.sha256(data).hexdigest()

    def save_checkpoint(self, path: Path, epoch: int) -> None:
        """Write the epoch: the learning curve has no other state."""
        replace_file(path, str(epoch).encode(), retry_for=LONG_RETRY_SECONDS)

    def load_checkpoint(self, path: Path) -> int:
        """Read the epoch."""
        return int(read_file(path, retry_for=LONG_RETRY_SECONDS))

    def close(self) -> None:
        """Do nothing: there are no resources to release."""

    def _fail(self, reason: EndReason) -> None:
        if reason is EndReason.LOST:
            os._exit(3)  # a process that ends without an end event
        raise TrialFailedError(reason, "a simulated failure, as the settings request")

    def _uniform(self, purpose: str) -> float:
        """Random number in [0, 1) that depends on the trial's seed, the network and `purpose`."""
        text = f"{self._spec.seed} {self._spec.network_hash} {purpose}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / 2**56
