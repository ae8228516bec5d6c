"""CIFAR-10 from its binary version (cifar-10-batches-bin), kept and augmented on the device.

The version for Python is not supported: it is pickled, and unpickling a file executes code from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data.dataset import Batch, Indices
from aiperf_orch.trial.data.in_memory import on_device
from aiperf_orch.trial.data.listing import bad_data, data_root, node_failure
from aiperf_orch.trial.data.read_failures import is_node_failure

_FOLDER: Final = "cifar-10-batches-bin"
_TRAIN: Final = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_VAL: Final = ("test_batch.bin",)
_SIDE: Final = 32
_RECORD: Final = 1 + 3 * _SIDE * _SIDE  # bytes: label, red pixels, green pixels, blue pixels
_MEAN: Final = (0.4914, 0.4822, 0.4465)  # of the training pixels: red, green, blue, from 0 to 1
_DEVIATION: Final = (0.2470, 0.2435, 0.2616)
_PADDING: Final = 4  # pixels around a training image, from which a square of the original size is cropped


class Cifar10:
    """A `Dataset` of 32x32 colour images in 10 classes."""

    def __init__(self, settings: DataRecord, device: torch.device) -> None:
        """Read the files.

        Raises:
            TrialFailedError: BAD_DATA if a file is missing or damaged; NODE_FAILURE if this node cannot read it.
        """
        root = data_root(settings)
        root = root / _FOLDER if (root / _FOLDER).is_dir() else root
        self.input_shape, self.classes = settings.input_shape, settings.outputs
        train = np.concatenate([_read_records(root / name, self.classes) for name in _TRAIN])
        val = np.concatenate([_read_records(root / name, self.classes) for name in _VAL])
        digest = hashlib.sha256(train.reshape(-1).data)
        digest.update(val.reshape(-1).data)
        self.digest = digest.hexdigest()
        self.train_images, self.val_images = len(train), len(val)
        self._device = device
        self._mean, self._scale = (
            torch.tensor(values, device=device).view(1, 3, 1, 1)
            for values in ([255 * mean for mean in _MEAN], [1 / (255 * deviation) for deviation in _DEVIATION])
        )
        padded = pad(torch.from_numpy(_images(train)), [_PADDING] * 4)
        self._train = padded.to(device), torch.from_numpy(_labels(train)).to(device)
        self._val = torch.from_numpy(_images(val)).to(device), torch.from_numpy(_labels(val)).to(device)

    def training(self, batches: Sequence[Indices], seed: int) -> Iterator[Batch]:
        """Yield the training images, each shifted by up to 4 pixels and mirrored at random."""
        generator = np.random.Generator(np.random.PCG64(seed))
        draws = generator.integers((2 * _PADDING + 1, 2 * _PADDING + 1, 2), size=(self.train_images, 3))
        shifts = torch.from_numpy(draws).to(self._device)
        side = torch.arange(_SIDE, device=self._device)
        images, labels = self._train
        for chosen in on_device(batches, self._device):
            down, across, mirrored = shifts[chosen].T.unsqueeze(2)
            rows, columns = down + side, across + torch.where(mirrored == 1, _SIDE - 1 - side, side)
            crops = images[chosen[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # channels are last
            yield self._normalised(crops.permute(0, 3, 1, 2), labels[chosen])

    def validation(self, batches: Sequence[Indices]) -> Iterator[Batch]:
        """Yield the validation images, without augmentation."""
        images, labels = self._val
        for chosen in on_device(batches, self._device):
            yield self._normalised(images[chosen], labels[chosen])

    def close(self) -> None:
        """Do nothing: there are no processes to end."""

    def _normalised(self, images: Tensor, labels: Tensor) -> Batch:
        pixels = (images.to(torch.float32) - self._mean) * self._scale
        return Batch(pixels.contiguous(memory_format=torch.channels_last), labels)


def _read_records(path: Path, classes: int) -> NDArray[np.uint8]:
    """Read the records (N, 3073) of a file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        if is_node_failure(error):
            raise node_failure(error) from None
        raise bad_data(
            f"{path}: cannot be read ({error.strerror}): data.path must be the folder of the binary version of "
            f"CIFAR-10, {_FOLDER} (the pickled version for Python is not supported)"
        ) from None
    if not data or len(data) % _RECORD:
        raise bad_data(
            f"{path}: the size of {len(data)} bytes is not a multiple of {_RECORD}: "
            "the file is truncated, or not of CIFAR-10"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
    if records[:, 0].max() >= classes:
        raise bad_data(f"{path}: contains the label {records[:, 0].max()}: the file is damaged, or not of CIFAR-10")
    return records


def _images(records: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return records[:, 1:].reshape(-1, 3, _SIDE, _SIDE)


def _labels(records: NDArray[np.uint8]) -> NDArray[np.int64]:
    return records[:, 0].astype(np.int64)
