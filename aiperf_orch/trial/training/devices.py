"""Which device a worker trains on: any that PyTorch calls an accelerator, else the CPU."""

from __future__ import annotations

import torch

from aiperf_orch.trial.runtime.process_group import ProcessGroup


def select_device(world: ProcessGroup) -> torch.device:
    """This worker's accelerator, or the CPU; workers beyond the number of accelerators share them."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        return torch.device("cpu")
    index = world.local_rank % torch.accelerator.device_count()
    torch.accelerator.set_device_index(index)
    return torch.device(accelerator.type, index)


def device_name(device: torch.device) -> str:
    """Its model where it has one to say, as "NVIDIA H100", else its type."""
    named = getattr(torch.get_device_module(device), "get_device_name", None)
    return str(named(device)) if named else device.type
