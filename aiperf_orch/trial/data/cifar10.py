"""CIFAR-10 from its binary version (cifar-10-batches-bin): held on the device whole, augmented there.

The version for Python is pickled, and unpickling a file runs what code it holds: it is not read.
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
from aiperf_orch.trial.data.listing import bad, node_failure, root_of
from aiperf_orch.trial.data.read_failures import is_nodes

_FOLDER: Final = "cifar-10-batches-bin"
_TRAIN: Final = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_VAL: Final = ("test_batch.bin",)
_SIDE: Final = 32
_RECORD: Final = 1 + 3 * _SIDE * _SIDE  # a label, and the red, the green and the blue pixels
_MEAN: Final = (0.4914, 0.4822, 0.4465)  # of its training pixels, red, green, blue, from 0 to 1
_DEVIATION: Final = (0.2470, 0.2435, 0.2616)
_PADDING: Final = 4  # pixels around a training image, of which a square of its own size is cut


class Cifar10:
    """A `Dataset` of 32x32 colour images in 10 classes."""

    def __init__(self, settings: DataRecord, device: torch.device) -> None:
        """Read the files.

        Raises:
            TrialFailedError: BAD_DATA, when one is missing, or is not what it should be.
        """
        root = root_of(settings)
        root = root / _FOLDER if (root / _FOLDER).is_dir() else root
        self.input_shape, self.classes = settings.input_shape, settings.outputs
        digest = hashlib.sha256()
        train = np.concatenate([_records(root / name, self.classes, digest) for name in _TRAIN])
        val = np.concatenate([_records(root / name, self.classes, digest) for name in _VAL])
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
        """The images, moved by up to 4 pixels and mirrored or not, as `seed` draws it for each."""
        chance = np.random.Generator(np.random.PCG64(seed))
        chances = chance.integers((2 * _PADDING + 1, 2 * _PADDING + 1, 2), size=(self.train_images, 3))
        drawn = torch.from_numpy(chances).to(self._device)
        side = torch.arange(_SIDE, device=self._device)
        images, labels = self._train
        for chosen in on_device(batches, self._device):
            down, across, mirrored = drawn[chosen].T.unsqueeze(2)
            rows, columns = down + side, across + torch.where(mirrored == 1, _SIDE - 1 - side, side)
            cut = images[chosen[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # channels come last
            yield self._finished(cut.permute(0, 3, 1, 2), labels[chosen])

    def validation(self, batches: Sequence[Indices]) -> Iterator[Batch]:
        """The images, as they are."""
        images, labels = self._val
        for chosen in on_device(batches, self._device):
            yield self._finished(images[chosen], labels[chosen])

    def close(self) -> None:
        """There is nothing to end."""

    def _finished(self, images: Tensor, labels: Tensor) -> Batch:
        pixels = (images.to(torch.float32) - self._mean) * self._scale
        return Batch(pixels.contiguous(memory_format=torch.channels_last), labels)


def _records(path: Path, classes: int, digest: hashlib._Hash) -> NDArray[np.uint8]:
    """The records of a file (N, 3073), which `digest` takes in."""
    try:
        data = path.read_bytes()
    except OSError as error:
        if is_nodes(error):
            raise node_failure(error) from None
        raise bad(
            f"{path}: cannot be read ({error.strerror}): data.path must be the folder of CIFAR-10's binary version, "
            f"{_FOLDER} (the version for Python is pickled, and is not read)"
        ) from None
    if not data or len(data) % _RECORD:
        raise bad(f"{path}: {len(data)} bytes are not records of {_RECORD}: it is cut short, or no file of CIFAR-10")
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
    if records[:, 0].max() >= classes:
        raise bad(f"{path}: has the label {records[:, 0].max()}: it is damaged, or no file of CIFAR-10")
    digest.update(data)
    return records


def _images(records: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return records[:, 1:].reshape(-1, 3, _SIDE, _SIDE)


def _labels(records: NDArray[np.uint8]) -> NDArray[np.int64]:
    return records[:, 0].astype(np.int64)
