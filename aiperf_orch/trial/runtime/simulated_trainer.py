"""The simulated trainer: errors and durations from a seeded model of learning curves, for tests of everything around it.

It trains nothing and imports no torch; every record that it leads to says "simulated". A network's curve falls
exponentially towards a floor that is lower for more operations, up to a point, and for a lucky hash; a child whose
parent was trained begins where the parent ended.
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
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.runtime.trainer import EpochMeasurements, TrainingSetup, TrialFailedError
from aiperf_orch.util.dataset_catalogue import DATASET_SIZES

_TRAIN_IMAGES, _VAL_IMAGES = DATASET_SIZES["digits", 10]
_STEP_SECONDS: Final = 0.02
_EPOCHS_TO_LEARN: Final = 4.0


class SimulatedTrainer:
    """See the module. The same specification and attempt always give the same errors."""

    def __init__(self, spec: TrialSpec, attempt: int) -> None:
        self._spec = spec
        self._settings = spec.training.simulated
        luck = self._uniform("floor")
        size = math.log2(max(spec.operations.train, 2))
        self._floor = (0.01 + 0.3 * math.exp(-size / 12)) * (0.6 + 0.8 * luck)
        inherits = spec.training.inherit_weights and spec.parent_error is not None
        self._start = max(spec.parent_error or 0.0, self._floor) if inherits else 0.9
        self._inherited = inherits
        fails = self._uniform(f"failure {attempt}") < self._settings.failure_rate
        self._failure_epoch = 1 + int(self._uniform("failure epoch") * spec.epochs) if fails else None

    def prepare(self) -> TrainingSetup:
        """There is nothing to prepare."""
        return TrainingSetup(
            batch=self._spec.hyperparameters.batch_size,
            device="simulated",
            precision=self._spec.training.precision,
            cores=len(os.sched_getaffinity(0)),
            inherited=self._inherited,
        )

    def run_epoch(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        """Wait as long as the settings say, and look up the curve."""
        check()
        end = time.monotonic() + self._settings.epoch_seconds * (0.8 + 0.4 * self._uniform(f"time {epoch}"))
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _STEP_SECONDS))
            check()
        if epoch == self._failure_epoch:
            self._fail(EndReason(self._settings.failure_reason))
        learnt = math.exp(-epoch / _EPOCHS_TO_LEARN)
        error = self._floor + (self._start - self._floor) * learnt
        noisy = min(max(error * (0.9 + 0.2 * self._uniform(f"error {epoch}")), 0.0), 1.0)
        return EpochMeasurements(
            _TRAIN_IMAGES,
            _VAL_IMAGES,
            2.3 * noisy + 0.5,
            round(noisy * _VAL_IMAGES),
            self._spec.hyperparameters.batch_size,
        )

    def save_weights(self, path: Path) -> str:
        """Write what stands for weights: the network's hash."""
        data = self._spec.network_hash.encode()
        replace_file(path, data, retry_for=LONG_RETRY_SECONDS)
        return hashlib.sha256(data).hexdigest()

    def save_checkpoint(self, path: Path, epoch: int) -> None:
        """Write the epoch: the curve needs no other state."""
        replace_file(path, str(epoch).encode(), retry_for=LONG_RETRY_SECONDS)

    def load_checkpoint(self, path: Path) -> int:
        """Read the epoch."""
        return int(read_file(path, retry_for=LONG_RETRY_SECONDS))

    def close(self) -> None:
        """There is nothing to let go of."""

    def _fail(self, reason: EndReason) -> None:
        if reason is EndReason.LOST:
            os._exit(3)  # a process that dies and says nothing
        raise TrialFailedError(reason, "a simulated failure, as the settings ask for")

    def _uniform(self, what: str) -> float:
        """A number in [0, 1) that depends on the trial's seed, the network and `what`."""
        text = f"{self._spec.seed} {self._spec.network_hash} {what}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / 2**56
