"""Trial specifications: the wire format of `trials/NNNNN.json`.

The data set and the training recipe have wire models here, with the keys of the settings: a site file may gain settings
without a change of this format.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo

from aiperf_orch.records.base import Error, Natural, Positive, Record, Sha256
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.util import dataset_catalogue
from aiperf_orch.util.dataset_catalogue import DATASET_SIZES, DatasetName
from aiperf_orch.util.units import WRITTEN_DURATION, NumberOnly, Seconds, exact_duration

SPECIFICATION_FORMAT: Final = 1
"""Version of this format. Raise it with every incompatible change, a new key included."""

_Count = Annotated[int, Field(ge=1, le=10**9)]


def _of_settings(value: Any, info: ValidationInfo) -> Any:
    """A duration of a settings object, which is a number, as text; a file has seconds with their unit."""
    if info.mode == "python":
        return exact_duration(value) if isinstance(value, float) else value
    if not isinstance(value, str) or not _WRITTEN_DURATION.match(value):
        raise ValueError(f"must be a duration such as 600s, not {value!r:.60}")
    return value


_Duration = Annotated[Seconds, Field(gt=0, le=366 * 86400), BeforeValidator(_of_settings)]
_WRITTEN_DURATION: Final = re.compile(WRITTEN_DURATION.replace("$", r"\Z"))
_Share = Annotated[float, Field(ge=0, le=1)]


class SettingsRecord(Record):
    """Base of the wire models of settings sections: validated from a section, it takes the fields that it has."""

    model_config = ConfigDict(strict=True, from_attributes=True)


class DataRecord(SettingsRecord):
    """Data set of a trial. Paths are private: a specification leaves the machine, and has None in their place."""

    name: DatasetName = "digits"
    path: str | None = None
    image_size: Annotated[int, Field(ge=8, le=4096)] = 224
    classes: Annotated[int, Field(ge=2, le=1_000_000)] = 1000
    loaders: Annotated[int, Field(ge=0, le=1024)] | None = None
    stage: str | None = None
    max_broken: Annotated[int, Field(ge=0)] = 10

    @property
    def sizes(self) -> tuple[int, int] | None:
        """Number of training and of validation images; None for a data set that may have any number."""
        return DATASET_SIZES.get((self.name, self.outputs))

    @property
    def needs_path(self) -> bool:
        """Whether the data set lies in a folder that the settings must name."""
        return dataset_catalogue.needs_path(self.name)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image as networks read it."""
        return dataset_catalogue.image_shape(self.name, self.image_size)

    @property
    def outputs(self) -> int:
        """Number of classes that a network distinguishes."""
        return dataset_catalogue.class_count(self.name, self.classes)


class SimulatedRecord(SettingsRecord):
    """Parameters of the simulated trainer; `epoch_seconds` is in seconds for the seed network."""

    epoch_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.05
    failure_rate: _Share = 0.0
    failure_reason: Literal["TRAINING_DIVERGED", "TRIAL_ERROR", "BAD_DATA", "LOST"] = "TRIAL_ERROR"


class TrainingRecord(SettingsRecord):
    """Training recipe of a trial; the keys are those of the settings' section `training`."""

    trainer: Literal["torch", "simulated"] = "torch"
    warmup_epochs: list[_Count] = [15, 30, 45]
    epochs: _Count = 60
    patience: _Count = 6
    patience_per_round: Annotated[int, Field(ge=0)] = 2
    max_patience: _Count = 20
    min_delta: _Share = 0.001
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 0.1
    final_learning_rate: Annotated[float, Field(ge=0, le=100)] = 0.0
    momentum: _Share = 0.9
    weight_decay: _Share = 1e-4
    label_smoothing: _Share = 0.1
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    compile: bool = False
    hang_after: _Duration = 600.0
    inherit_weights: bool = True
    simulated: SimulatedRecord = SimulatedRecord()


class Hyperparameters(Record):
    """One point of the hyperparameter search. `kernel_size` applies to the convolutions that the trial's edits add."""

    kernel_size: Positive
    dropout: Error
    batch_size: Positive


class TrialSpec(Record):
    """All that a trial needs to run, repeatedly and on any node."""

    version: Annotated[Literal[1], NumberOnly] = SPECIFICATION_FORMAT
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
    data: DataRecord
    training: TrainingRecord
    network: dict[str, Any]
