"""Samples of trials with round numbers, for the tests of planning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aiperf_orch.planning.samples import Sample, TrialSample


@pytest.fixture
def trial() -> Callable[..., TrialSample]:
    """Makes a complete trial of 4 epochs: 2 s before them, 10 s each, 1 s after them."""

    def make(**changes: Any) -> TrialSample:
        fields: dict[str, Any] = {
            "trial": 0,
            "round": 0,
            "parent": None,
            "planned": 4,
            "epochs": 4,
            "is_complete": True,
            "before": 2.0,
            "period": 10.0,
            "after": 1.0,
            "gaps": 1,
            "ops": 1000.0,
            "validation": 0.2,
            "energy": 50.0,
            "errors": (0.5, 0.4, 0.3, 0.2),
        }
        return TrialSample(**fields | changes)

    return make


@pytest.fixture
def sample(trial: Callable[..., TrialSample]) -> Callable[..., Sample]:
    """Makes a sample, by default of one trial and gaps of 3 s."""

    def make(*trials: TrialSample, **changes: Any) -> Sample:
        fields: dict[str, Any] = {"name": "abcde", "slots": 1, "gaps": (3.0,), "validation_images": 10}
        return Sample(trials=trials or (trial(),), **fields | changes)

    return make
