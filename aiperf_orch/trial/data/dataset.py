"""What a data set is to a trainer: batches of images by their indices, on the device, ready for the model.

Which images a worker takes in which order is `sharding`'s; a source only loads, decodes and augments them.
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
"""Label of an image that could not be read and does not count: what `cross_entropy` ignores."""


class Batch(NamedTuple):
    """Normalised images (N, channels, height, width), channels last in memory, and labels (N,) in int64, on the device.

    `skipped` of the labels are SKIPPED.
    """

    images: Tensor
    labels: Tensor
    skipped: int = 0


class Dataset(Protocol):
    """A data set, opened for one worker and its device."""

    input_shape: Shape
    classes: int
    train_images: int
    val_images: int
    digest: str
    """SHA-256 of the data set's listing: the same wherever the same images are."""

    def training(self, batches: Sequence[Indices], seed: int) -> Iterator[Batch]:
        """The training images of each batch, augmented; the same for the same seed.

        Raises:
            TrialFailedError: BAD_DATA when more images than the setting allows cannot be read.
        """

    def validation(self, batches: Sequence[Indices]) -> Iterator[Batch]:
        """The validation images of each batch, each as it is.

        Raises:
            TrialFailedError: BAD_DATA when one of them cannot be read.
        """

    def close(self) -> None:
        """End what loads images."""
