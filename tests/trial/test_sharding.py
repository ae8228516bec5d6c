"""The workers' shares: every image once, none alone, and one worker computes what several would."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.training.sharding import training_batches, validation_batches


def _worlds(size: int) -> list[ProcessGroup]:
    return [ProcessGroup(rank, size) for rank in range(size)]


@given(st.integers(2, 3000), st.integers(2, 600), st.integers(1, 9), st.integers(0, 9))
def test_training_shares_hold_every_image_once_and_none_is_alone(images: int, batch: int, size: int, seed: int) -> None:
    if images < 2 * size:
        return
    shares = [training_batches(images, batch, world, seed) for world in _worlds(size)]
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
    shares = [validation_batches(images, batch, world) for world in _worlds(size)]
    assert [image for share in shares for taken in share for image in taken] == list(range(images))
    assert all(len(taken) <= batch for share in shares for taken in share)
