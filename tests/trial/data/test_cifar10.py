"""CIFAR-10: reading of the binary files, augmentation, damaged files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aiperf_orch.network import seeds
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data.dataset import Dataset
from aiperf_orch.trial.data.open_dataset import load_dataset
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError

NAMES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
MEAN, DEVIATION = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of CIFAR-10 with four images in each file."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in NAMES:
        records = generator.integers(0, 256, (4, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / name).write_bytes(records.tobytes())
    return folder


def _open(path: Path) -> Dataset:
    settings = DataRecord(name="cifar10", path=str(path))
    return load_dataset(settings, seeds.small_residual((32, 32, 3), 10), torch.device("cpu"), ProcessGroup())


def _pixels(folder: Path, name: str, number: int) -> NDArray[np.float64]:
    record = np.frombuffer((folder / name).read_bytes(), np.uint8).reshape(-1, 3073)[number]
    return (record[1:].reshape(3, 32, 32) / 255 - MEAN[:, None, None]) / DEVIATION[:, None, None]


def test_images_and_digest_are_those_of_the_files(folder: Path) -> None:
    dataset = _open(folder.parent)
    assert (dataset.train_images, dataset.val_images, dataset.classes) == (20, 4, 10)
    assert dataset.digest == hashlib.sha256(b"".join((folder / name).read_bytes() for name in NAMES)).hexdigest()
    [batch] = dataset.validation([np.array([2, 0])])
    assert batch.labels.tolist() == [(folder / "test_batch.bin").read_bytes()[3073 * number] for number in (2, 0)]
    np.testing.assert_allclose(batch.images[0].numpy(), _pixels(folder, "test_batch.bin", 2), atol=1e-5)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_training_images_are_shifted_and_mirrored(folder: Path) -> None:
    dataset = _open(folder)
    [batch] = dataset.training([np.arange(20)], seed=3)
    parts = list(dataset.training([np.arange(7), np.arange(7, 20)], seed=3))
    assert torch.equal(batch.images, torch.cat([part.images for part in parts]))
    black = (-MEAN / DEVIATION)[:, None, None]
    seen = set()
    for number in range(20):
        padded = np.broadcast_to(black, (3, 40, 40)).copy()
        padded[:, 4:36, 4:36] = _pixels(folder, f"data_batch_{number // 4 + 1}.bin", number % 4)
        found = [
            (down, across, step)
            for down in range(9)
            for across in range(9)
            for step in (1, -1)
            if np.allclose(
                batch.images[number].numpy(), padded[:, down : down + 32, across : across + 32][:, :, ::step], atol=1e-5
            )
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "test_batch.bin").unlink(), "test_batch.bin: cannot be read.*pickled"),
        (
            lambda folder: (folder / "data_batch_2.bin").write_bytes(b"0" * 3072),
            "data_batch_2.bin: the size of 3072 bytes",
        ),
        (lambda folder: (folder / "data_batch_2.bin").write_bytes(b"0" * 3073), "contains the label 48"),
    ],
)
def test_missing_and_damaged_files_are_refused(folder: Path, change: Callable[[Path], object], message: str) -> None:
    change(folder)
    with pytest.raises(TrialFailedError, match=message) as raised:
        _open(folder)
    assert raised.value.reason is EndReason.BAD_DATA
