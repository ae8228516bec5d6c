"""Process group of a trial: the ranks that train together, and their collective operations on tensors.

One worker drives one accelerator, or the cores of a CPU. A trial with one worker needs no process group. The tasks
start the workers and connect them (`worker_pool`, `rendezvous`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor

_TIMEOUT: Final = timedelta(days=1)  # the trial detects hangs itself, by `training.hang_after`


class _FlagReduction:
    """Asynchronous logical OR over all ranks, in a group of its own on the CPU."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = group
        self._flag = torch.zeros(1, dtype=torch.int32)
        self._pending: dist.Work | None = None

    def any_rank(self, flag: bool) -> bool:
        """Return the result of the previous call, and start the reduction of this one."""
        if self._pending is not None:
            self._pending.wait()
            if self._flag.item():
                return True
        self._flag.fill_(flag)
        self._pending = dist.all_reduce(self._flag, group=self._group, async_op=True)
        return False


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This worker's rank among all workers of the trial, and their collective operations.

    Attributes:
        rank: Global rank.
        size: World size.
        local_rank: Rank among the workers of this node.
        local_size: Number of workers on this node.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    _flags: _FlagReduction | None = field(default=None, repr=False, compare=False)

    @classmethod
    def join(
        cls,
        rank: int,
        size: int,
        local_rank: int,
        local_size: int,
        store: tuple[str, int],
        *,
        listen_fd: int | None = None,
        device: str = "cpu",
    ) -> ProcessGroup:
        """Initialize the process group; returns when all ranks have joined.

        Args:
            rank: Global rank of this worker.
            size: World size. A single worker connects to none.
            local_rank: Rank on this node, which is also the number of its accelerator.
            local_size: Number of workers on this node. More workers than accelerators share them.
            store: Host and port of the store of rank 0.
            listen_fd: Of rank 0, the file descriptor of the store's socket, which already listens.
            device: Type of the devices that hold the tensors, for example "cuda".

        Raises:
            RuntimeError: Other ranks did not join.
        """
        shared = False
        if device != "cpu":
            devices = torch.accelerator.device_count()
            torch.accelerator.set_device_index(local_rank % devices)
            shared = local_size > devices
        if size == 1:
            return cls()
        connected = dist.TCPStore(  # type: ignore[attr-defined]
            *store,
            world_size=size,
            is_master=rank == 0,
            master_listen_fd=listen_fd,
            wait_for_workers=False,
            use_libuv=False,  # with it torch 2.7, and any build without libuv, refuses a socket that listens
        )
        dist.init_process_group(_backend(device, shared), store=connected, rank=rank, world_size=size, timeout=_TIMEOUT)
        flags = dist.new_group(backend="gloo", timeout=_TIMEOUT)
        return cls(rank, size, local_rank, local_size, _FlagReduction(flags))

    @property
    def is_rank_0(self) -> bool:
        """Whether this worker writes the trial's files and reports its results."""
        return self.rank == 0

    def any_rank(self, flag: bool) -> bool:
        """Logical OR of `flag` over all ranks (collective).

        Asynchronous, so that no rank waits: the result is one call behind, except at world size 1.
        """
        return self._flags.any_rank(flag) if self._flags else flag

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum the tensors of all ranks, in place (collective)."""
        if self._flags:
            dist.all_reduce(tensor)
        return tensor

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors by those of rank 0, in place (collective); same order and shapes on all ranks."""
        if self._flags:
            for work in [dist.broadcast(tensor, src=0, async_op=True) for tensor in tensors]:
                work.wait()

    def leave(self) -> None:
        """Destroy the process group, after the last collective operation."""
        if self._flags:
            dist.destroy_process_group()


def _backend(device: str, shared: bool) -> str | None:
    """Backend of collective operations; None for PyTorch's default of the device type."""
    if device == "cpu" or shared:  # nccl refuses two ranks on one device
        return "gloo"
    return "cpu:gloo,cuda:nccl" if device == "cuda" else None
