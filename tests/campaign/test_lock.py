"""The controller's lock: alive, dead, of another host, garbage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.lock import Lock, read_holder
from aiperf_orch.errors import LockedError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "controller.lock"


def _change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_nobody_holds_it_at_first(path: Path) -> None:
    assert read_holder(path) is None
    lock = Lock.acquire(path, take_over=False)
    assert lock.holder.generation == 1
    assert lock.holder.pid == os.getpid()
    assert read_holder(path) == lock.holder
    assert lock.holder.alive() is True


@pytest.mark.parametrize("take_over", [False, True])
def test_a_live_holder_is_never_robbed(path: Path, take_over: bool) -> None:
    lock = Lock.acquire(path, take_over=False)
    with pytest.raises(
        LockedError, match=rf"a live controller holds this campaign \(process {os.getpid()} on "
    ) as caught:
        Lock.acquire(path, take_over=take_over)
    assert caught.value.exit_status == 1
    lock.check_ours()


def test_once_let_go_it_can_be_taken_and_the_generation_goes_on(path: Path) -> None:
    lock = Lock.acquire(path, take_over=False)
    lock.release()
    holder = read_holder(path)
    assert holder is not None
    assert holder.alive() is False
    assert Lock.acquire(path, take_over=False).holder.generation == 2


def test_a_dead_process_leaves_it_to_the_next(path: Path) -> None:
    script = (
        f"from pathlib import Path; from aiperf_orch.campaign.lock import Lock; "
        f"Lock.acquire(Path({str(path)!r}), take_over=False)"
    )
    subprocess.run([sys.executable, "-c", script], timeout=30, check=True)
    holder = read_holder(path)
    assert holder is not None
    assert holder.alive() is False
    assert Lock.acquire(path, take_over=False).holder.generation == 2


@pytest.mark.parametrize("changes", [{"started": 1}, {"boot": "another"}, {"pid": 2**60}])
def test_a_process_of_the_same_number_is_not_the_holder(path: Path, changes: dict[str, Any]) -> None:
    Lock.acquire(path, take_over=False)
    _change(path, **changes)
    assert Lock.acquire(path, take_over=False).holder.generation == 2


def test_a_zombie_is_dead(path: Path) -> None:
    Lock.acquire(path, take_over=False)
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet reaped
    started = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
    _change(path, pid=child.pid, started=started)
    holder = read_holder(path)
    assert holder is not None
    assert holder.alive() is False
    child.wait(10)


def test_another_hosts_controller_is_asked_after(path: Path) -> None:
    Lock.acquire(path, take_over=False)
    _change(path, host="elsewhere", generation=7)
    holder = read_holder(path)
    assert holder is not None
    assert holder.alive() is None
    before = path.read_bytes()
    with pytest.raises(
        LockedError, match=r"a controller on elsewhere .* if you know that it is gone, give --take-over"
    ):
        Lock.acquire(path, take_over=False)
    assert path.read_bytes() == before
    assert Lock.acquire(path, take_over=True).holder.generation == 8


def test_another_hosts_controller_that_let_go_is_gone(path: Path) -> None:
    Lock.acquire(path, take_over=False)
    _change(path, host="elsewhere", released=True)
    assert Lock.acquire(path, take_over=False).holder.generation == 2


def test_who_was_robbed_notices_and_leaves_the_lock_alone(path: Path) -> None:
    lock = Lock.acquire(path, take_over=False)
    _change(path, host="elsewhere", pid=77, generation=2)
    robbed = path.read_bytes()
    with pytest.raises(LockedError, match="was taken over by process 77 on elsewhere"):
        lock.check_ours()
    lock.release()
    assert path.read_bytes() == robbed
    path.unlink()
    with pytest.raises(LockedError, match="nobody that can be read"):
        lock.check_ours()


@pytest.mark.parametrize("data", [b"", b"garbage", b"\xff\xff", b"{}", b"[]", b'{"host": "n1"}'])
def test_garbage_is_no_lock(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    for take_over in (False, True):
        with pytest.raises(LockedError, match=r"controller.lock: cannot be read as a lock .* delete it"):
            Lock.acquire(path, take_over=take_over)
    assert path.read_bytes() == data
