"""Shares of workers: every image once, at least two in a share, the same steps for any number of workers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.training.sharding import training_batches, validation_batches


def _groups(size: int) -> list[ProcessGroup]:
    return [ProcessGroup(rank, size) for rank in range(size)]


@given(st.integers(2, 3000), st.integers(2, 600), st.integers(1, 9), st.integers(0, 9))
def test_training_shares_hold_every_image_once(images: int, batch: int, size: int, seed: int) -> None:
    assume(images >= 2 * size)
    shares = [training_batches(images, batch, group, seed) for group in _groups(size)]
    assert sorted(np.concatenate([taken for share in shares for taken in share])) == list(range(images))
    assert len({len(share) for share in shares}) == 1
    lengths = [[len(taken) for taken in share] for share in shares]
    assert min(map(min, lengths)) >= 2
    assert max(map(max, lengths)) <= batch + 2
    assert all(max(step) - min(step) <= 1 for step in zip(*lengths, strict=True))
    alone = training_batches(images, batch * size, ProcessGroup(), seed)
    if len(alone) == len(shares[0]):
        for step, taken in enumerate(alone):
            assert list(taken) == [image for share in shares for image in share[step]]


@given(st.integers(1, 3000), st.integers(1, 600), st.integers(1, 9))
def test_validation_shares_hold_every_image_once(images: int, batch: int, size: int) -> None:
    shares = [validation_batches(images, batch, group) for group in _groups(size)]
    assert [image for share in shares for taken in share for image in taken] == list(range(images))
    assert all(len(taken) <= batch for share in shares for taken in share)


@pytest.mark.parametrize(
    ("images", "batch", "size", "lengths"),
    [
        (10, 4, 1, [[4, 4, 2]]),
        (9, 4, 1, [[4, 5]]),  # a single remaining image joins the step before
        (3, 4, 1, [[3]]),
        (16, 3, 2, [[3, 3, 2], [3, 3, 2]]),
        (17, 3, 2, [[3, 3, 3], [3, 3, 2]]),
        (15, 3, 2, [[3, 5], [3, 4]]),  # three remaining images are not two for each worker
        (4, 9, 2, [[2], [2]]),
    ],
)
def test_lengths_of_training_shares(images: int, batch: int, size: int, lengths: list[list[int]]) -> None:
    shares = [training_batches(images, batch, group, 0) for group in _groups(size)]
    assert [[len(taken) for taken in share] for share in shares] == lengths


@pytest.mark.parametrize(
    ("images", "batch", "size", "lengths"),
    [(7, 3, 1, [[3, 3, 1]]), (6, 3, 1, [[3, 3]]), (7, 3, 2, [[3, 1], [3]]), (1, 3, 2, [[1], []])],
)
def test_lengths_of_validation_shares(images: int, batch: int, size: int, lengths: list[list[int]]) -> None:
    shares = [validation_batches(images, batch, group) for group in _groups(size)]
    assert [[len(taken) for taken in share] for share in shares] == lengths


def test_fewer_than_two_training_images_for_each_worker_are_refused() -> None:
    with pytest.raises(ValueError, match="5 training images are not enough for 3 workers: each needs two"):
        training_batches(5, 4, ProcessGroup(0, 3), 0)
