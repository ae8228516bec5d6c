"""Checkpoints: a learner's state and a trial's counters as bytes, and back again.

The schedule needs no state of its own: the learning rate follows from the epoch.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import torch

from aiperf_orch.trial.training.learner import Learner


@dataclass(frozen=True, slots=True)
class Counters:
    """The epoch that a checkpoint was written after, and the batch of one worker."""

    epoch: int
    batch: int


def pack(learner: Learner, counters: Counters) -> bytes:
    """The whole state as the bytes of a checkpoint."""
    buffer = io.BytesIO()
    torch.save({"epoch": counters.epoch, "batch": counters.batch} | learner.state(), buffer)
    return buffer.getvalue()


def unpack(learner: Learner, written: bytes) -> Counters:
    """Give a learner the state of a checkpoint.

    Raises:
        ValueError: when it is not a checkpoint of this learner's network; the learner is then as it was.
    """
    before = pack(learner, Counters(0, 0))
    try:
        return _load(learner, written)
    except Exception as error:  # a damaged file makes torch raise almost anything
        _load(learner, before)
        raise ValueError(str(error)) from error


def _load(learner: Learner, written: bytes) -> Counters:
    state: dict[str, Any] = torch.load(io.BytesIO(written), map_location=learner.device, weights_only=True)
    learner.load(state)
    return Counters(int(state["epoch"]), int(state["batch"]))
