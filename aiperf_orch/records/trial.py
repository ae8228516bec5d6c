"""Trial specifications: trials/NNNNN.json."""

from __future__ import annotations

from typing import Any, Literal

from aiperf_orch.records.base import VERSION, Error, Natural, OperationsPerImage, Positive, Record, Sha256
from aiperf_orch.settings.models import DataSettings, TrainingSettings


class Hyperparameters(Record):
    """One point of the hyperparameter search. `kernel_size` belongs to the convolutions that this step's edits add."""

    kernel_size: Positive
    dropout: Error
    batch_size: Positive


class TrialSpec(Record):
    """All that a trial needs to run, again and again, anywhere: trials/NNNNN.json."""

    version: Literal[1] = VERSION
    campaign: str
    trial: Natural
    round: Natural
    seed: Natural
    parent: Natural | None
    parent_error: Error | None = None
    edits: list[dict[str, Any]]
    network_hash: Sha256
    operations: OperationsPerImage
    hyperparameters: Hyperparameters
    epochs: Positive
    patience: Positive
    data: DataSettings
    training: TrainingSettings
    network: dict[str, Any]
