"""Which images each worker takes: shares of every step that differ by one image at most, and nothing taken twice."""

from __future__ import annotations

import numpy as np

from aiperf_orch.trial.data.dataset import Indices
from aiperf_orch.trial.runtime.process_group import ProcessGroup


def training_batches(images: int, batch: int, world: ProcessGroup, seed: int) -> list[Indices]:
    """This worker's share of each step of an epoch, in an order drawn from `seed`, which all workers share.

    Every step takes `batch` images for each worker but the last, which takes what is left. Together the workers take every
    image once. Each share holds at least two images, without which a batch-norm over maps of side 1 cannot train: what is
    left joins the step before where it does not suffice.

    Raises:
        ValueError: when there are not two images for every worker.
    """
    if images < 2 * world.size:
        raise ValueError(f"{images} training images do not suffice for {world.size} workers, two for each")
    order = np.random.Generator(np.random.PCG64(seed)).permutation(images)
    step = batch * world.size
    bounds = list(range(0, images, step))
    if len(bounds) > 1 and images - bounds[-1] < 2 * world.size:
        bounds.pop()
    return [_share(taken, world) for taken in np.split(order, bounds[1:])]


def validation_batches(images: int, batch: int, world: ProcessGroup) -> list[Indices]:
    """This worker's share of the validation images, in batches of at most `batch`; together each image once."""
    share = _share(np.arange(images), world)
    return [share[start : start + batch] for start in range(0, len(share), batch)]


def _share(indices: Indices, world: ProcessGroup) -> Indices:
    return np.array_split(indices, world.size)[world.rank]
