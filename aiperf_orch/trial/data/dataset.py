"""Interface of a dataset: batches of images by their indices, on the device, ready for the model.

`training.sharding` decides which worker takes which images in which order; a dataset loads, decodes and augments them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aiperf_orch.network.graph import Shape

Indices = NDArray[np.int64]

SKIPPED: Final = -100
"""Label of an image that could not be read and is not counted; `cross_entropy` ignores it."""


class Batch(NamedTuple):
    """Normalised images (N, channels, height, width), channels last in memory, and labels (N,) in int64, on the device.

    `skipped` is the number of labels that are SKIPPED.
    """

    images: Tensor
    labels: Tensor
    skipped: int = 0


class Dataset(Protocol):
    """A dataset, opened for one worker and its device."""

    input_shape: Shape
    classes: int
    train_images: int
    val_images: int
    digest: str
    """SHA-256 of the dataset's listing; equal on all machines that have the same images."""

    def training(self, batches: Sequence[Indices], seed: int) -> Iterator[Batch]:
        """Yield the training images of each batch, augmented; deterministic for a seed.

        Raises:
            TrialFailedError: BAD_DATA if more images than `data.max_broken` cannot be read.
        """

    def validation(self, batches: Sequence[Indices]) -> Iterator[Batch]:
        """Yield the validation images of each batch, without augmentation.

        Raises:
            TrialFailedError: BAD_DATA if an image cannot be read.
        """

    def close(self) -> None:
        """End the processes that load images."""
