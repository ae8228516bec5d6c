"""What `evaluate` asks of the process that loads torch, and that process's answer."""

from __future__ import annotations

from aiperf_orch.records.base import Name, Natural, Positive, Record, Sha256


class EvaluationRequest(Record):
    """A trained network, its validation set, and the way in which its error was measured.

    Attributes:
        spec: Path of the trial's specification, which has network and data set.
        weights: Path of its weights, whose header was checked.
        data: Folder of the data set; None for one that needs none.
        data_sha256: Recorded digest of the data set's listing; None where none was recorded.
        precision: Recorded precision.
        batch: Recorded batch size of a worker.
        workers: Recorded number of workers, each of which validated a share of the images.
    """

    spec: str
    weights: str
    data: str | None
    data_sha256: Sha256 | None
    precision: Name
    batch: Positive
    workers: Positive


class Evaluation(Record):
    """Measured error of a network.

    Attributes:
        images: Number of validation images.
        wrong_images: Number of those that the network misclassified.
        device: Name of the accelerator or processor.
        precision: Number format of the computation.
    """

    images: Positive
    wrong_images: Natural
    device: str
    precision: Name
