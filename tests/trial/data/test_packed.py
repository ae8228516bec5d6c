"""Trials on packed data: the same batches and the same digest as on the tree, broken images, invalid settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data.data_paths import LocatedDataSettings
from aiperf_orch.trial.data.dataset import Dataset
from aiperf_orch.trial.data.imagenet import ImageTree
from aiperf_orch.trial.data.listing import list_tree
from aiperf_orch.trial.data.open_dataset import validate_dataset
from aiperf_orch.trial.data.packing import pack
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from data_fixtures import BATCHES, training_images


@pytest.fixture
def packed(tree: Path, tmp_path: Path) -> Path:
    pack(tree, tmp_path / "packed", shard_bytes=10_000)
    return tmp_path / "packed"


def _overwritten(packed: Path, image: bytes) -> None:
    """Damage an image within its shard."""
    offset, number = 0, 0
    for path, size in list_tree(packed.parent / "images", None).files():
        shard = packed / f"shard-{number:05d}"
        if path == image:
            with shard.open("r+b") as file:
                file.seek(offset)
                file.write(bytes(size))
            return
        offset += size
        if offset == shard.stat().st_size:
            offset, number = 0, number + 1
    raise AssertionError(image)


@pytest.mark.parametrize("loaders", [0, 2])
def test_packed_data_gives_the_batches_of_the_tree(
    tree: Path, packed: Path, opened: Callable[..., Dataset], loaders: int
) -> None:
    of_tree, of_shards = opened(tree), opened(packed, loaders=loaders)
    assert of_shards.digest == of_tree.digest == list_tree(tree, 3).digest
    assert (of_shards.train_images, of_shards.val_images) == (18, 6)
    for seed in (1, 2):
        assert torch.equal(training_images(of_shards, seed), training_images(of_tree, seed))
    both = of_shards.validation([np.arange(6)]), of_tree.validation([np.arange(6)])
    for one, other in zip(*both, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.labels.tolist() == other.labels.tolist()


def test_shards_stay_open_and_are_closed_at_the_end(packed: Path, opened: Callable[..., Dataset]) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    dataset = opened(packed)
    for seed in (1, 2):
        training_images(dataset, seed)
    assert 0 < len(os.listdir("/proc/self/fd")) - before <= len(list(packed.glob("shard-*")))  # noqa: PTH208
    dataset.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_broken_images_in_shards_are_skipped_and_named(
    packed: Path, opened: Callable[..., Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    _overwritten(packed, b"train/bee/2.JPEG")
    dataset = opened(packed, max_broken=1)
    assert sum(batch.skipped for batch in dataset.training(BATCHES, seed=1)) == 1
    assert "skipped train/bee/2.JPEG, which cannot be read: UnidentifiedImageError" in capsys.readouterr().err
    _overwritten(packed, b"val/cat/1.JPEG")
    with pytest.raises(TrialFailedError, match=r"val/cat/1.JPEG: cannot be read") as raised:
        list(dataset.validation([np.arange(6)]))
    assert raised.value.reason is EndReason.BAD_DATA


def test_check_finds_what_is_wrong_with_packed_data(tree: Path, packed: Path) -> None:
    settings = DataRecord(name="imagenet", path=str(packed), image_size=32, classes=3, max_broken=0)
    validate_dataset(settings)
    with pytest.raises(TrialFailedError, match=r"has 3 classes, but the network has 4 outputs: .* data.classes: 3"):
        validate_dataset(settings.model_copy(update={"classes": 4}))
    _overwritten(packed, b"val/ant/0.JPEG")
    with pytest.raises(TrialFailedError, match=r"val/ant/0.JPEG: cannot be read"):
        validate_dataset(settings)
    (packed / "shard-00001").unlink()
    with pytest.raises(TrialFailedError, match=r"shard-00001: cannot be read .* pack the tree again"):
        validate_dataset(settings)


def test_packed_data_missing_only_on_this_node_is_a_node_failure(packed: Path, tmp_path: Path) -> None:
    settings = LocatedDataSettings(
        name="imagenet",
        path=str(packed),
        image_size=32,
        classes=3,
        loaders=0,
        index=tmp_path / "data.index",
        writes_index=True,
    )
    for _ in range(2):
        ImageTree(settings, torch.device("cpu"), ProcessGroup()).close()
    packed.rename(tmp_path / "not mounted")
    with pytest.raises(TrialFailedError, match="this node does not see the data") as raised:
        ImageTree(settings, torch.device("cpu"), ProcessGroup())
    assert raised.value.reason is EndReason.NODE_FAILURE
