"""Precision of training: selection for a device and a network, autocast, loss scaling.

Weights, gradients and momentum are kept in 32 bits in every precision; only operations for which PyTorch's autocast
considers it safe are computed in 16 bits.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

import torch

from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.trial.training.torch_internals import cpu_has_bf16_instructions

_DTYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}
_TENSOR_CORES: Final = (7, 0)  # compute capability of the first GPUs with fast fp16 products
_TF32: Final = (8, 0)  # and of the first with tf32
_MIN_OPERATIONS_FOR_BF16: Final = 3_000_000
"""Operations to train one image from which bf16 is faster on a CPU with bf16 instructions.

Measurements: `docs/research/training.md`.
"""


@dataclass(frozen=True, slots=True)
class Precision:
    """Precision `fp32`, `tf32`, `bf16` or `fp16` on a type of device."""

    name: str
    device_type: str

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context in which operations are computed in this precision."""
        dtype = _DTYPES.get(self.name)
        return nullcontext() if dtype is None else torch.autocast(self.device_type, dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Return a gradient scaler, which is enabled only for fp16."""
        return torch.amp.GradScaler(self.device_type, enabled=self.name == "fp16")

    def set_up(self) -> None:
        """Set the precision of this process's 32-bit products, which PyTorch computes in tf32 for convolutions."""
        torch.set_float32_matmul_precision("high" if self.name == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = self.name == "tf32"


def select_precision(setting: str, device: torch.device, network: Graph) -> Precision:
    """Select the precision for a value of `training.precision`; deterministic for a network and a machine.

    `auto` selects bf16 if the device has instructions for it (on a CPU only for networks that are large enough to
    benefit), otherwise fp16 on NVIDIA tensor cores, otherwise fp32. tf32 becomes fp32, with a warning, on devices
    without it.
    """
    name = setting
    if setting == "auto":
        name = _fastest(device, network)
    elif setting == "tf32" and not _has_tf32(device):
        print(f"warning: {device.type} does not support tf32: training in fp32", file=sys.stderr, flush=True)
        name = "fp32"
    return Precision(name, device.type)


def available_precision(name: str, device: torch.device) -> Precision:
    """Return a recorded precision where a device computes in it, and fp32 where it does not."""
    available = {
        "tf32": _has_tf32(device),
        "bf16": _has_bf16(device),
        "fp16": device.type == "cuda",
    }
    return Precision(name if available.get(name) else "fp32", device.type)


def _fastest(device: torch.device, network: Graph) -> str:
    if device.type == "cpu":
        worthwhile = counts.count(network).train >= _MIN_OPERATIONS_FOR_BF16
        return "bf16" if worthwhile and _has_bf16(device) else "fp32"
    if _has_bf16(device):
        return "bf16"
    tensor_cores = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _TENSOR_CORES
    return "fp16" if tensor_cores else "fp32"


def _has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16."""
    if device.type == "cpu":
        return cpu_has_bf16_instructions()
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    supported = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    return supported is not None and bool(supported())


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= _TF32
