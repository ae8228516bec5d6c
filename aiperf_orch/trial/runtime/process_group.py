"""The workers that train one trial together: this one's rank, how many there are, and what they say to each other.

One worker drives one accelerator, or the cores of a CPU; a trial on one accelerator has one worker and needs no
process group. Only tensors cross. Who starts the workers and tells them where to meet is `workers`' and `follower`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor

_TIMEOUT: Final = timedelta(days=1)  # the watch on hangs is the trial's, and has a setting of its own


class _Group:
    """The processes of all ranks: collectives of tensors on the device, and a second group for wishes, on the CPU."""

    def __init__(self, flags: dist.ProcessGroup) -> None:
        self._flags = flags
        self._flag = torch.zeros(1, dtype=torch.int32)
        self._reducing: dist.Work | None = None

    def any_rank(self, wish: bool) -> bool:
        """See `ProcessGroup.any_rank`."""
        if self._reducing is not None:
            self._reducing.wait()
            if self._flag.item():
                return True
        self._flag.fill_(wish)
        self._reducing = dist.all_reduce(self._flag, group=self._flags, async_op=True)
        return False


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """Where this worker stands: `rank` of `size` in all, `local_rank` of `local_size` on its node."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    _group: _Group | None = field(default=None, repr=False, compare=False)

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
        """Meet the other ranks; returns when all are there.

        Args:
            rank: this worker's number among `size`.
            size: how many there are in all. One alone meets nobody.
            local_rank: this worker's number among the `local_size` of its node, which is its accelerator's too.
            local_size: how many there are on this node. More than it has accelerators share them.
            store: host and port where rank 0's store is found.
            listen_fd: of rank 0, the store's socket, which listens already.
            device: the type of the devices that tensors are on, as "cuda".

        Raises:
            RuntimeError: when the others do not come.
        """
        shared = False
        if device != "cpu":
            devices = torch.accelerator.device_count()
            torch.accelerator.set_device_index(local_rank % devices)
            shared = local_size > devices
        if size == 1:
            return cls()
        meeting = dist.TCPStore(  # type: ignore[attr-defined]
            *store,
            world_size=size,
            is_master=rank == 0,
            master_listen_fd=listen_fd,
            wait_for_workers=False,
            use_libuv=False,  # with it torch 2.7, and any that was built without libuv, refuses a socket that listens
        )
        dist.init_process_group(_backend(device, shared), store=meeting, rank=rank, world_size=size, timeout=_TIMEOUT)
        flags = dist.new_group(backend="gloo", timeout=_TIMEOUT)
        return cls(rank, size, local_rank, local_size, _Group(flags))

    @property
    def is_rank_0(self) -> bool:
        """Whether this worker writes the trial's files and reports its results."""
        return self.rank == 0

    def any_rank(self, wish: bool) -> bool:
        """Whether any rank wished to leave, told to all at the same call; called by all equally often.

        The wishes of a call are known at the next one, so that nobody waits for them. One worker alone has its will at once.
        """
        return self._group.any_rank(wish) if self._group else wish

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Add up the tensors of all ranks, in place; all call it alike."""
        if self._group:
            dist.all_reduce(tensor)
        return tensor

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors by rank 0's, in place; all have them in the same order, of the same shapes."""
        if self._group:
            for work in [dist.broadcast(tensor, src=0, async_op=True) for tensor in tensors]:
                work.wait()

    def leave(self) -> None:
        """End the process group, when all have done what they had to."""
        if self._group:
            dist.destroy_process_group()


def _backend(device: str, shared: bool) -> str | None:
    """What carries tensors; None is what PyTorch takes for that kind of device."""
    if device == "cpu" or shared:  # nccl refuses two ranks on one device
        return "gloo"
    return "cpu:gloo,cuda:nccl" if device == "cuda" else None
