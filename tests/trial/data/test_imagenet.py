"""Dataset of an image tree: batches, augmentation, broken images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aiperf_orch.campaign.measured_trial import measured_trial
from aiperf_orch.network import seeds
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.settings.models import TrainingSettings
from aiperf_orch.trial.data.dataset import SKIPPED, Dataset
from aiperf_orch.trial.data.listing import list_tree
from aiperf_orch.trial.data.staging import stage_tree
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.training.torch_trainer import TorchTrainer
from data_fixtures import BATCHES, training_images


def test_images_and_labels(tree: Path, opened: Callable[..., Dataset]) -> None:
    dataset = opened(tree)
    assert (dataset.train_images, dataset.val_images) == (18, 6)
    first, second = dataset.training(BATCHES, seed=1)
    assert first.labels.tolist() == [2, 0, 0]
    assert second.labels.tolist() == [0, 1, 1, 1, 1, 1, 1, 2]
    assert (first.images.shape, first.images.dtype) == ((3, 3, 32, 32), torch.float32)
    assert first.images.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(training_images(dataset, 1), training_images(dataset, 2))


def test_batches_do_not_depend_on_the_number_of_loaders(tree: Path, opened: Callable[..., Dataset]) -> None:
    serial, parallel = opened(tree), opened(tree, loaders=2)
    abandoned = parallel.training(BATCHES, seed=9)
    next(abandoned)  # an epoch that is repeated, as after running out of memory
    assert torch.equal(training_images(serial, 1), training_images(parallel, 1))
    for first, second in zip(serial.validation([np.arange(6)]), parallel.validation([np.arange(6)]), strict=True):
        assert torch.equal(first.images, second.images)
        assert first.labels.tolist() == second.labels.tolist() == [0, 0, 1, 1, 2, 2]
    reordered = torch.cat([batch.images for batch in parallel.training([np.concatenate(BATCHES)], seed=1)])
    assert torch.equal(reordered, training_images(serial, 1))


def test_validation_images_are_resized_and_centre_cropped(tree: Path, opened: Callable[..., Dataset]) -> None:
    [batch] = opened(tree, image_size=28).validation([np.arange(6)])
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    files = [tree / "val" / name / f"{number}.JPEG" for name in ("ant", "bee", "cat") for number in (0, 1)]
    for got, file in zip(batch.images, files, strict=True):
        image = Image.open(file).convert("RGB")
        assert image.width > image.height
        resized = image.resize((32 * image.width // image.height, 32), Image.Resampling.BILINEAR)
        left = round((resized.width - 28) / 2)
        expected = (np.asarray(resized.crop((left, 2, left + 28, 30))) / 255 - mean) / deviation
        one_level = 1.01 / 255 / deviation.min()  # the dataset rounds once, this computation twice
        assert np.abs(got.permute(1, 2, 0).numpy() - expected).max() <= one_level


def test_dangling_link_is_a_broken_image(tree: Path, tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    digest = list_tree(tree, 3).digest
    (tree / "train/ant/0.JPEG").unlink()  # the first image, which is validated
    (tree / "train/ant/0.JPEG").symlink_to(tmp_path / "nowhere.jpg")
    assert list_tree(tree, 3).digest != digest
    for stage in (None, str(tmp_path / "disk")):
        dataset = opened(tree, max_broken=1, stage=stage)
        assert dataset.train_images == 18
        assert sum(batch.skipped for batch in dataset.training(BATCHES, seed=1)) == 1
    assert stage_tree(tree, list_tree(tree, 3), tmp_path / "disk", max_broken=1) != tree
    with pytest.raises(TrialFailedError, match=r"ant/0.JPEG: cannot be read .*No such file") as raised:
        opened(tree, max_broken=0)
    assert raised.value.reason is EndReason.BAD_DATA
    (tree / "val/cat/1.JPEG").unlink()
    (tree / "val/cat/1.JPEG").symlink_to("1.JPEG")  # a loop
    with pytest.raises(TrialFailedError, match=r"val/cat/1.JPEG: cannot be read"):
        list(opened(tree, max_broken=1).validation([np.arange(6)]))


def test_broken_images_are_skipped_up_to_the_limit_in_training(
    tree: Path, opened: Callable[..., Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = opened(tree, max_broken=2, loaders=1)
    whole = (tree / "train/cat/5.JPEG").read_bytes()
    (tree / "train/cat/5.JPEG").write_bytes(whole[: len(whole) // 2])
    (tree / "train/bee/1.JPEG").unlink()
    first, second = dataset.training(BATCHES, seed=1)
    assert (first.skipped, first.labels.tolist()) == (1, [SKIPPED, 0, 0])
    assert (second.skipped, second.labels.tolist()) == (1, [0, 1, SKIPPED, 1, 1, 1, 1, 2])
    assert first.images[0].std((1, 2)).max() == 0
    assert "skipped train/cat/5.JPEG, which cannot be read: OSError: " in capsys.readouterr().err
    (tree / "train/bee/2.JPEG").write_bytes(b"")
    with pytest.raises(TrialFailedError, match=r"bee/2.JPEG: cannot.*max_broken allows 2") as raised:
        list(dataset.training(BATCHES, seed=1))
    assert raised.value.reason is EndReason.BAD_DATA
    (tree / "val/cat/1.JPEG").write_bytes(whole[:99])
    with pytest.raises(TrialFailedError, match=r"val/cat/1.JPEG: cannot be read"):
        list(dataset.validation([np.arange(6)]))


class _OfTwo(ProcessGroup):
    """Process group of two workers with equal tensors."""

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor * 2


def test_limit_of_broken_images_applies_to_all_workers_together(tree: Path) -> None:
    data = DataRecord(name="imagenet", path=str(tree), image_size=32, classes=3, loaders=0, max_broken=1)
    spec = measured_trial(
        seeds.small_residual((32, 32, 3), 3), data, TrainingSettings(precision="fp32"), batch=8, epochs=2
    )
    (tree / "train/cat/5.JPEG").write_bytes(b"")
    with closing(TorchTrainer(spec, None, None)) as trainer:
        trainer.prepare()
        assert trainer.run_epoch(1, lambda: None).skipped == 1
        trainer._group = _OfTwo()
        with pytest.raises(
            TrialFailedError, match=r"2 images cannot be read, and data\.max_broken allows 1 in an epoch"
        ):
            trainer.run_epoch(2, lambda: None)
