"""Distribution of images among workers: shares of each step that differ by at most one image."""

from __future__ import annotations

from typing import Final

import numpy as np

from aiperf_orch.trial.data.dataset import Indices
from aiperf_orch.trial.runtime.process_group import ProcessGroup

_VALIDATION_BATCH: Final = 512  # at most, and at most four times the training batch: no gradients use memory


def training_batches(images: int, batch: int, group: ProcessGroup, seed: int) -> list[Indices]:
    """Return this worker's share of each step of an epoch, in an order drawn from `seed`.

    Each step takes `batch` images for each worker, except the last one, which takes the remaining images. The workers
    together take every image once. Each share has at least two images, because a batch-norm over maps of side 1 cannot
    train on one: if the remaining images do not suffice for this, they join the step before.

    Args:
        images: The number of training images.
        batch: The batch size of one worker.
        group: The workers of the trial.
        seed: The seed of the order; it must be the same on all workers.

    Raises:
        ValueError: If there are fewer than two images for each worker.
    """
    if images < 2 * group.size:
        raise ValueError(f"{images} training images are not enough for {group.size} workers: each needs two")
    order = np.random.Generator(np.random.PCG64(seed)).permutation(images)
    step = batch * group.size
    bounds = list(range(0, images, step))
    if len(bounds) > 1 and images - bounds[-1] < 2 * group.size:
        bounds.pop()
    return [_share(taken, group) for taken in np.split(order, bounds[1:])]


def validation_batch_size(batch: int) -> int:
    """Return the number of images that one worker validates at once, for its batch size in training."""
    return min(4 * batch, _VALIDATION_BATCH)


def validation_batches(images: int, batch: int, group: ProcessGroup) -> list[Indices]:
    """Return this worker's share of the validation images in batches of at most `batch` images."""
    share = _share(np.arange(images), group)
    return [share[start : start + batch] for start in range(0, len(share), batch)]


def _share(indices: Indices, group: ProcessGroup) -> Indices:
    return np.array_split(indices, group.size)[group.rank]
