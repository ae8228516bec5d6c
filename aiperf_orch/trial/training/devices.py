"""Device of a worker: an accelerator that PyTorch supports, otherwise the CPU."""

from __future__ import annotations

import torch

from aiperf_orch.trial.runtime.process_group import ProcessGroup


def select_device(group: ProcessGroup) -> torch.device:
    """Select the accelerator by local rank, or the CPU; workers share accelerators if there are fewer of them."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        return torch.device("cpu")
    index = group.local_rank % torch.accelerator.device_count()
    torch.accelerator.set_device_index(index)
    return torch.device(accelerator.type, index)


def device_name(device: torch.device) -> str:
    """Return the model name of a device, such as "NVIDIA H100", or its type if PyTorch does not know the model."""
    get_name = getattr(torch.get_device_module(device), "get_device_name", None)
    return str(get_name(device)) if get_name else device.type
