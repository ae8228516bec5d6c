"""Data sets that fit into memory whole: held on the device, a batch is a lookup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aiperf_orch.network.graph import Shape
from aiperf_orch.trial.data.dataset import Batch, Indices


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """Images (N, channels, height, width) in float32, normalised, and labels (N,) in int64 from 0 to `classes` - 1."""

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    classes: int
    digest: str

    @property
    def input_shape(self) -> Shape:
        """(height, width, channels) of one image, as networks say it."""
        channels, height, width = self.train_images.shape[1:]
        return height, width, channels


class InMemory:
    """A `Dataset` over arrays, without augmentation."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        self.input_shape, self.classes, self.digest = arrays.input_shape, arrays.classes, arrays.digest
        self.train_images, self.val_images = len(arrays.train_labels), len(arrays.val_labels)
        self._device = device
        self._train = _last(arrays.train_images).to(device), arrays.train_labels.to(device)
        self._val = _last(arrays.val_images).to(device), arrays.val_labels.to(device)

    def training(self, batches: Sequence[Indices], seed: int) -> Iterator[Batch]:  # noqa: ARG002 (nothing is drawn)
        """The training images of each batch."""
        return self._batches(*self._train, batches)

    def validation(self, batches: Sequence[Indices]) -> Iterator[Batch]:
        """The validation images of each batch."""
        return self._batches(*self._val, batches)

    def close(self) -> None:
        """There is nothing to end."""

    def _batches(self, images: Tensor, labels: Tensor, batches: Sequence[Indices]) -> Iterator[Batch]:
        for chosen in on_device(batches, self._device):
            yield Batch(images.index_select(0, chosen).permute(0, 3, 1, 2), labels[chosen])


def _last(images: Tensor) -> Tensor:
    """Images (N, height, width, channels): taken from these a batch is channels last by its strides, too.

    Of one channel PyTorch cannot tell otherwise, and torch.compile would choose a slower layout.
    """
    return images.permute(0, 2, 3, 1).contiguous()


def on_device(batches: Sequence[Indices], device: torch.device) -> Sequence[Tensor]:
    """The indices of each batch, copied all at once: a copy in each step would wait for the device."""
    if not batches:
        return ()
    lengths = [len(indices) for indices in batches]
    return torch.split(torch.from_numpy(np.concatenate(batches)).to(device), lengths)
