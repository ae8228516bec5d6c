"""Datasets that fit into memory: kept on the device, a batch is an index operation."""

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
        """Shape (height, width, channels) of an image, in the order of network graphs."""
        channels, height, width = self.train_images.shape[1:]
        return height, width, channels


class InMemory:
    """A `Dataset` of arrays, without augmentation."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        self.input_shape, self.classes, self.digest = arrays.input_shape, arrays.classes, arrays.digest
        self.train_images, self.val_images = len(arrays.train_labels), len(arrays.val_labels)
        self._device = device
        self._train = _channels_last(arrays.train_images).to(device), arrays.train_labels.to(device)
        self._val = _channels_last(arrays.val_images).to(device), arrays.val_labels.to(device)

    def training(self, batches: Sequence[Indices], seed: int) -> Iterator[Batch]:  # noqa: ARG002 (no randomness)
        """Yield the training images of each batch."""
        return self._batches(*self._train, batches)

    def validation(self, batches: Sequence[Indices]) -> Iterator[Batch]:
        """Yield the validation images of each batch."""
        return self._batches(*self._val, batches)

    def close(self) -> None:
        """Do nothing: there are no processes to end."""

    def _batches(self, images: Tensor, labels: Tensor, batches: Sequence[Indices]) -> Iterator[Batch]:
        for chosen in on_device(batches, self._device):
            yield Batch(images.index_select(0, chosen).permute(0, 3, 1, 2), labels[chosen])


def _channels_last(images: Tensor) -> Tensor:
    """Images as (N, height, width, channels), so that the strides of batches are channels last.

    For one channel PyTorch cannot infer the layout otherwise, and torch.compile would choose a slower one.
    """
    return images.permute(0, 2, 3, 1).contiguous()


def on_device(batches: Sequence[Indices], device: torch.device) -> Sequence[Tensor]:
    """Copy the indices of all batches to the device at once, because a copy in each step would wait for the device."""
    if not batches:
        return ()
    lengths = [len(indices) for indices in batches]
    return torch.split(torch.from_numpy(np.concatenate(batches)).to(device), lengths)
