"""In which precision a network is trained: what the setting says, and what `auto` takes on which device.

Weights, gradients and momentum are kept in 32 bits whatever the precision; only products are computed in less, where
PyTorch's autocast holds that to be safe.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

import torch

from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph

_HALVES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}
_TENSOR_CORES: Final = (7, 0)  # compute capability of the first GPUs that multiply fp16 fast

_WORTH_BF16: Final = 3_000_000
"""Operations to train an image from which bf16 is faster on a CPU with instructions for it.

On a core of an AMD EPYC with avx512_bf16, small residual networks and batches of 32 and 128, bf16 was 0.98 to 1.10 times as
fast at 3.3 million (idle, batches of 64 and 128: 1.07 and 1.14), 1.12 and 1.29 at 7.3 million, 1.20 to 1.37 at 13 million,
and ResNet-50 at 64 px 1.8 times.
"""


@dataclass(frozen=True, slots=True)
class Precision:
    """`fp32`, `tf32`, `bf16` or `fp16`, on a type of device."""

    name: str
    device_type: str

    def autocast(self) -> AbstractContextManager[object]:
        """Computes what is inside in this precision."""
        half = _HALVES.get(self.name)
        return nullcontext() if half is None else torch.autocast(self.device_type, half)

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps gradients of fp16 from vanishing; of the others it does nothing."""
        return torch.amp.GradScaler(self.device_type, enabled=self.name == "fp16")

    def set_up(self) -> None:
        """Make this process compute what is not 16 bit in tf32, or in full 32 bits: PyTorch lets convolutions be tf32."""
        torch.set_float32_matmul_precision("high" if self.name == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = self.name == "tf32"


def choose(wanted: str, device: torch.device, network: Graph) -> Precision:
    """The precision for a setting: the same for every trial of a network on the same machine.

    `auto` takes bf16 where the device has instructions for it (on a CPU only for networks large enough to gain by it),
    else fp16 on NVIDIA's tensor cores, else fp32. tf32 where there is none is fp32, and a warning says so.
    """
    if wanted == "auto":
        wanted = _fastest(device, network)
    elif wanted == "tf32" and not _has_tf32(device):
        print(f"warning: {device.type} does not compute in tf32 here: training in fp32", file=sys.stderr, flush=True)
        wanted = "fp32"
    return Precision(wanted, device.type)


def _fastest(device: torch.device, network: Graph) -> str:
    if device.type == "cpu":
        return "bf16" if _cpu_has_bf16() and counts.count(network).train >= _WORTH_BF16 else "fp32"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        return "fp16" if torch.cuda.get_device_capability(device) >= _TENSOR_CORES else "fp32"
    supported = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    return "bf16" if supported is not None and supported() else "fp32"


def _cpu_has_bf16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)
