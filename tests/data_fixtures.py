"""Batches of the image tree of `tests/image_tree.py`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from aiperf_orch.trial.data.dataset import Dataset

BATCHES = [np.array([17, 0, 4]), np.arange(5, 13)]


def training_images(dataset: Dataset, seed: int) -> Tensor:
    return torch.cat([batch.images for batch in dataset.training(BATCHES, seed)])
