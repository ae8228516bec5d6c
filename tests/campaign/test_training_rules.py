"""Tests of the rules of training that trials follow and packages are checked against."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from aiperf_orch.campaign.training_rules import PRECISIONS, Patience, halved_batch, halvings, trial_round
from aiperf_orch.network.seeds import small_residual
from aiperf_orch.settings.models import TrainingSettings
from aiperf_orch.trial.training.precision import select_precision


@pytest.mark.parametrize(("batch", "expected"), [(32, [32, 16, 8, 4, 2]), (7, [7, 3]), (3, [3]), (2, [2])])
def test_a_batch_is_halved_down_to_two(batch: int, expected: list[int]) -> None:
    assert list(halvings(batch)) == expected
    assert halved_batch(expected[-1]) is None


def test_a_round_has_as_many_trials_as_run_at_once() -> None:
    assert [trial_round(trial, 3) for trial in range(7)] == [0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("errors", "exhausted"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.5], False),
        ([0.5, 0.5, 0.5], True),
        ([0.5, 0.5, 0.4], False),
        ([0.5, 0.4991, 0.4982], False),  # 0.4982 is 0.001 below 0.5
        ([0.5, 0.4999, 0.4998], True),  # each by less than 0.001
    ],
)
def test_patience_counts_epochs_without_improvement(errors: list[float], exhausted: bool) -> None:
    patience = Patience(2, 0.001)
    for error in errors:
        patience.add(error)
    assert patience.exhausted is exhausted


@pytest.mark.parametrize("setting", PRECISIONS)
def test_a_device_selects_a_precision_that_packages_may_state(setting: str) -> None:
    assert set(PRECISIONS) == set(get_args(TrainingSettings.model_fields["precision"].annotation))
    network = small_residual()
    assert select_precision(setting, torch.device("cpu"), network).name in PRECISIONS[setting]
