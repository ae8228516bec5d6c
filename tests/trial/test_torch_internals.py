"""Private parts of PyTorch that the adapters use: fails when a release of PyTorch changes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aiperf_orch.trial.training.torch_internals import (
    cpu_has_bf16_instructions,
    scaler_numbers,
    set_scaler_numbers,
    sgd_step,
)


def test_cpu_features_are_known() -> None:
    assert type(cpu_has_bf16_instructions()) is bool


def test_state_of_a_scaler_is_copied_to_another() -> None:
    first = torch.amp.GradScaler("cpu", init_scale=512.0)
    state = first.state_dict()
    first.load_state_dict(state | {"_growth_tracker": 7})
    assert scaler_numbers(first).tolist() == [512.0, 7.0]
    second = torch.amp.GradScaler("cpu")
    set_scaler_numbers(second, scaler_numbers(first))
    assert second.state_dict() == first.state_dict()


@pytest.mark.parametrize("fused", [False, True])
def test_sgd_step_equals_the_step_of_the_optimizer(fused: bool) -> None:
    options: dict[str, Any] = {"momentum": 0.9, "weight_decay": 1e-3}
    start = [torch.randn(3, 4), torch.randn(5)]
    gradients = [[torch.randn_like(each) for each in start] for _ in range(3)]
    expected, found = ([nn.Parameter(each.clone()) for each in start] for _ in range(2))
    optimizer = torch.optim.SGD(expected, lr=0.1, fused=fused, **options)
    momenta: list[Tensor | None] = [torch.zeros_like(each) for each in start]
    for step in gradients:
        for parameters in (expected, found):
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = gradient.clone()
        optimizer.step()
        sgd_step(found, momenta, learning_rate=0.1, fused=fused, **options)
    torch.testing.assert_close(found, expected)
