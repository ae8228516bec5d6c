"""Adapter for parts of PyTorch without a stability promise, used by training.

`tests/trial/test_torch_internals.py` fails when a release of PyTorch changes one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

_GROWTH_TRACKER: Final = "_growth_tracker"


def cpu_has_bf16_instructions() -> bool:
    """Return whether this CPU multiplies bf16 in hardware; PyTorch has no public function for this."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def scaler_numbers(scaler: torch.amp.GradScaler) -> Tensor:
    """Return the changing state of an enabled scaler, (scale, steps since it changed), in float64 on the CPU.

    The second number is only in `state_dict()`, under a private key.
    """
    state = scaler.state_dict()
    return torch.tensor([state["scale"], state[_GROWTH_TRACKER]], dtype=torch.float64)


def set_scaler_numbers(scaler: torch.amp.GradScaler, numbers: Tensor) -> None:
    """Set the state that `scaler_numbers` returns."""
    changed = {"scale": float(numbers[0]), _GROWTH_TRACKER: int(numbers[1])}
    scaler.load_state_dict(scaler.state_dict() | changed)


def keep_addresses(tensors: Iterable[Tensor]) -> None:
    """Declare that tensors stay where they are: CUDA graphs then use them in place instead of copying them each step.

    They may be changed in place.
    """
    for tensor in tensors:
        torch._dynamo.mark_static_address(tensor)


def sgd_step(
    parameters: list[nn.Parameter],
    momentum_buffers: list[Tensor | None],
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    fused: bool,
) -> None:
    """Update parameters by their gradients as `torch.optim.SGD.step` does, without the bookkeeping of the optimizer.

    The bookkeeping takes a twentieth of a small network's step, see `docs/research/training.md`. The function is not
    part of the documented interface of `torch.optim`.
    """
    with torch.no_grad():
        sgd(
            list(parameters),
            cast("list[Tensor]", [parameter.grad for parameter in parameters]),
            momentum_buffers,
            fused=fused,
            lr=learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
