"""Ranks of a process group connect, with every build of torch."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
import torch.distributed as dist

from aiperf_orch.trial.runtime.process_group import ProcessGroup


def test_ranks_connect_at_a_listening_socket_without_libuv(monkeypatch: pytest.MonkeyPatch) -> None:
    """With libuv, torch 2.7 and builds without libuv refuse to serve a socket that already listens."""
    stores: dict[int, Any] = {}

    def init_process_group(_backend: Any, *, store: Any, rank: int, **_: Any) -> None:
        stores[rank] = store
        store.set(f"rank {rank}", "connected")
        store.wait(["rank 0", "rank 1"])

    monkeypatch.setattr(dist, "init_process_group", init_process_group)
    monkeypatch.setattr(dist, "new_group", lambda **_: None)
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()

    def join(rank: int) -> None:
        ProcessGroup.join(rank, 2, rank, 2, address, listen_fd=None if rank else server.detach())

    ranks = [threading.Thread(target=join, args=(rank,), daemon=True) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    assert sorted(stores) == [0, 1]
    assert [store.libuvBackend for store in stores.values()] == [False, False]


def test_a_single_worker_needs_no_process_group() -> None:
    group = ProcessGroup()
    assert group.is_rank_0
    assert group.any_rank(True)
    assert not group.any_rank(False)
