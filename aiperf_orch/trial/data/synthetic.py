"""Random images for trying out a machine without a dataset; results with them are never rankable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch

from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data.dataset import Batch, Indices
from aiperf_orch.trial.data.in_memory import on_device
from aiperf_orch.util.dataset_catalogue import SYNTHETIC_IMAGES, known_digest

_POOL_BYTES: Final = 64 * 2**20  # of distinct images, which are repeated
_POOL_IMAGES: Final = 1024


class Synthetic:
    """A `Dataset` of 50 training and 5 validation images in each class, on the device, equal on all machines.

    There are few distinct images, and labels are unrelated to them: the error stays at that of random guessing.
    """

    def __init__(self, settings: DataRecord, device: torch.device) -> None:
        self.input_shape, self.classes = settings.input_shape, settings.outputs
        self.train_images, self.val_images = (number * self.classes for number in SYNTHETIC_IMAGES)
        self.digest = str(known_digest("synthetic", self.input_shape, self.classes))
        height, width, channels = self.input_shape
        pool = max(2, min(_POOL_IMAGES, _POOL_BYTES // (4 * height * width * channels)))
        # drawn on the CPU: the random numbers of devices differ
        images = torch.randn(pool, channels, height, width, generator=torch.Generator().manual_seed(0))
        self._images = images.to(device, memory_format=torch.channels_last)
        self._device = device

    def training(self, batches: Sequence[Indices], seed: int) -> Iterator[Batch]:  # noqa: ARG002 (no randomness)
        """Yield the images of each batch, without augmentation."""
        return self.validation(batches)

    def validation(self, batches: Sequence[Indices]) -> Iterator[Batch]:
        """Yield the images of each batch."""
        for chosen in on_device(batches, self._device):
            images = self._images[chosen % len(self._images)].contiguous(memory_format=torch.channels_last)
            yield Batch(images, chosen % self.classes)

    def close(self) -> None:
        """Do nothing: there are no processes to end."""
