"""Checkpoints: conversion of a learner's state and a trial's progress to bytes and back.

The learning rate schedule has no state: the learning rate is a function of the epoch.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import torch

from aiperf_orch.trial.training.learner import Learner


@dataclass(frozen=True, slots=True)
class Progress:
    """The last epoch that a checkpoint contains (0: none), and the batch size of one worker."""

    epoch: int
    batch: int


def to_bytes(learner: Learner, progress: Progress) -> bytes:
    """Serialize the complete state."""
    buffer = io.BytesIO()
    torch.save({"epoch": progress.epoch, "batch": progress.batch} | learner.state(), buffer)
    return buffer.getvalue()


def restore(learner: Learner, content: bytes) -> Progress:
    """Load the state of a checkpoint into a learner.

    Raises:
        ValueError: If `content` is not a checkpoint of this learner's network; the learner is then unchanged.
    """
    before = to_bytes(learner, Progress(0, 0))
    try:
        return _load(learner, content)
    except Exception as error:  # torch raises many types of exceptions for a damaged file
        _load(learner, before)
        raise ValueError(str(error)) from error


def _load(learner: Learner, content: bytes) -> Progress:
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=learner.device, weights_only=True)
    learner.load(state)
    return Progress(int(state["epoch"]), int(state["batch"]))
