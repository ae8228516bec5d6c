"""Synthetic images: reproducible, in the shape of the settings."""

from __future__ import annotations

import numpy as np
import torch

from aiperf_orch.network import seeds
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data.open_dataset import load_dataset
from aiperf_orch.trial.runtime.process_group import ProcessGroup


def test_images_do_not_depend_on_the_batches() -> None:
    settings = DataRecord(name="synthetic", image_size=16, classes=4)
    network = seeds.small_residual(settings.input_shape, settings.outputs)
    first, again = (load_dataset(settings, network, torch.device("cpu"), ProcessGroup()) for _ in range(2))
    assert (first.train_images, first.val_images, first.digest) == (200, 20, again.digest)
    [whole] = first.training([np.arange(8)], seed=1)
    parts = list(again.training([np.arange(3), np.arange(3, 8)], seed=2))
    assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
    assert whole.labels.tolist() == [0, 1, 2, 3] * 2
    assert whole.images.is_contiguous(memory_format=torch.channels_last)
    assert whole.images.shape == (8, 3, 16, 16)
