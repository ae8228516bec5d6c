"""torch.compile for the training step: how the kernels are made and launched, whether it works on a node.

What is compiled, and for which batches, is decided in `learner`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor


class Compilation(StrEnum):
    """How a training step is compiled. Trials use FUSED: the others were not measured on an accelerator yet.

    `benchmarks/trial.py` compares them where there is an accelerator.
    """

    FUSED = "fused kernels"
    GRAPHS = "CUDA graphs"  # and all launches of a step recorded once, then repeated by one call
    AUTOTUNED = "max-autotune"  # kernels chosen by measuring many while compiling, which takes minutes


def compile_function(function: Callable[..., Tensor], device: torch.device, how: Compilation) -> Callable[..., Tensor]:
    """Return a function that torch.compile compiles at its first call, for fixed shapes."""
    match how:
        case Compilation.FUSED:
            # on a CPU the wrapper that calls the kernels is C++ too: faster for small networks, see
            # docs/research/training.md
            return torch.compile(function, dynamic=False, options={"cpp_wrapper": device.type == "cpu"})
        case Compilation.GRAPHS:
            return torch.compile(function, dynamic=False, mode="reduce-overhead")
        case Compilation.AUTOTUNED:
            return torch.compile(function, dynamic=False, mode="max-autotune-no-cudagraphs")


def can_compile(device: torch.device, how: Compilation) -> bool:
    """Return whether torch.compile works on this node, by compiling a small function; warn if it does not."""
    try:
        values = torch.ones(8, device=device, requires_grad=True)
        torch.autograd.backward(compile_function(_small_function, device, how)(values))
    except Exception as error:  # missing or old compiler, unwritable cache: each raises another type
        warn_uncompiled(error)
        return False
    return True


def warn_uncompiled(error: Exception) -> None:
    """Print a warning that training continues without torch.compile, with the reason."""
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[0] if lines else ''}"
    print(f"warning: torch.compile failed, training continues without it ({reason})", file=sys.stderr, flush=True)


def _small_function(values: Tensor) -> Tensor:
    return (values.relu() * 2 + 1).sum()
