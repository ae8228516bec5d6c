"""The controller's lock: live and dead holders, other hosts, damaged files, and concurrent starts."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.lock import Lock, read_holder
from aiperf_orch.util.errors import LockedError, TransientError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "controller.lock"


def _change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


def _leave_behind(path: Path, **fields: Any) -> None:
    """A lock as a crash leaves it: the operating system let go of its directory, the file stays."""
    os.close(Lock.acquire(path, take_over=False).guard)
    _change(path, **fields)


def test_a_new_campaign_has_no_holder(path: Path) -> None:
    assert read_holder(path) is None
    lock = Lock.acquire(path, take_over=False)
    assert lock.holder.generation == 1
    assert lock.holder.pid == os.getpid()
    assert read_holder(path) == lock.holder
    assert lock.holder.alive() is True


@pytest.mark.parametrize("take_over", [False, True])
def test_a_lock_of_a_live_holder_is_refused(path: Path, take_over: bool) -> None:
    lock = Lock.acquire(path, take_over=False)
    with pytest.raises(
        LockedError, match=rf"a live controller holds this campaign \(process {os.getpid()} on "
    ) as caught:
        Lock.acquire(path, take_over=take_over)
    assert caught.value.exit_status == 1
    lock.check_held()


def test_a_released_lock_is_acquired_with_the_next_generation(path: Path) -> None:
    lock = Lock.acquire(path, take_over=False)
    lock.release()
    holder = read_holder(path)
    assert holder is not None
    assert holder.alive() is False
    assert Lock.acquire(path, take_over=False).holder.generation == 2


def test_a_lock_of_a_dead_process_is_acquired(path: Path) -> None:
    script = (
        f"from pathlib import Path; from aiperf_orch.campaign.lock import Lock; "
        f"Lock.acquire(Path({str(path)!r}), take_over=False)"
    )
    subprocess.run([sys.executable, "-c", script], timeout=60, check=True)
    holder = read_holder(path)
    assert holder is not None
    assert holder.alive() is False
    assert Lock.acquire(path, take_over=False).holder.generation == 2


@pytest.mark.parametrize("changes", [{"started": 1}, {"boot": "another"}, {"pid": 2**60}])
def test_a_process_with_a_reused_pid_is_not_the_holder(path: Path, changes: dict[str, Any]) -> None:
    _leave_behind(path, **changes)
    assert Lock.acquire(path, take_over=False).holder.generation == 2


def test_a_zombie_is_dead(path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet reaped
    started = int(Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    _leave_behind(path, pid=child.pid, started=started)
    holder = read_holder(path)
    assert holder is not None
    assert holder.alive() is False
    assert Lock.acquire(path, take_over=False).holder.generation == 2
    child.wait(10)


def test_a_holder_on_another_host_needs_take_over(path: Path) -> None:
    _leave_behind(path, host="elsewhere", generation=7)
    holder = read_holder(path)
    assert holder is not None
    assert holder.alive() is None
    before = path.read_bytes()
    with pytest.raises(
        LockedError, match=r"a controller on elsewhere .* if you know that it has ended, give --take-over"
    ):
        Lock.acquire(path, take_over=False)
    assert path.read_bytes() == before
    assert Lock.acquire(path, take_over=True).holder.generation == 8


def test_a_released_lock_of_another_host_is_free(path: Path) -> None:
    _leave_behind(path, host="elsewhere", released=True)
    assert Lock.acquire(path, take_over=False).holder.generation == 2


def test_a_former_holder_notices_and_keeps_the_new_lock(path: Path) -> None:
    lock = Lock.acquire(path, take_over=False)
    _change(path, host="elsewhere", pid=77, generation=2)
    robbed = path.read_bytes()
    with pytest.raises(LockedError, match="was taken over by process 77 on elsewhere"):
        lock.check_held()
    lock.release()
    assert path.read_bytes() == robbed
    Layout(path.parent).config_file.touch()
    path.unlink()
    with pytest.raises(LockedError, match="a holder that cannot be read"):
        lock.check_held()


def test_a_campaign_that_is_absent_for_a_while_is_not_taken_over(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Layout(path.parent).config_file.touch()
    lock = Lock.acquire(path, take_over=False)
    aside = tmp_path.with_name("aside")
    path.parent.rename(aside)
    back = threading.Timer(1, lambda: aside.rename(path.parent))
    back.start()
    lock.check_held()
    back.join()
    path.parent.rename(aside)
    monkeypatch.setattr("aiperf_orch.campaign.lock.LONG_RETRY_SECONDS", 0.0)
    with pytest.raises(TransientError, match="no campaign is there"):
        lock.check_held()
    path.parent.mkdir()
    Layout(path.parent).config_file.touch()  # another campaign is made there
    with pytest.raises(LockedError, match="taken over"):
        lock.check_held()


@pytest.mark.parametrize("data", [b"", b"garbage", b"\xff\xff", b"{}", b"[]", b'{"host": "n1"}'])
def test_an_invalid_lock_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    for take_over in (False, True):
        with pytest.raises(LockedError, match=r"controller.lock: cannot be read as a lock .* delete it"):
            Lock.acquire(path, take_over=take_over)
    assert path.read_bytes() == data


# two that start at once

_RACER = """
import sys, time
from pathlib import Path
from aiperf_orch.campaign.lock import Lock
from aiperf_orch.util.errors import LockedError
held = []
print("ready", flush=True)
for line in sys.stdin:
    start, path = line.rstrip("\\n").split(" ", 1)
    while time.monotonic() < float(start):
        pass
    try:
        held.append(Lock.acquire(Path(path), take_over=False))
    except LockedError as error:
        print("lost:", error, flush=True)
    else:
        held[-1].check_held()
        print("won:", held[-1].holder.generation, flush=True)
"""


@pytest.mark.parametrize("left_behind", [False, True])
def test_exactly_one_of_two_controllers_gets_the_lock(tmp_path: Path, left_behind: bool) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", _RACER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for number in range(15):
            path = tmp_path / str(number) / "controller.lock"
            path.parent.mkdir()
            if left_behind:
                _leave_behind(path, boot="another")
            start = time.monotonic() + 0.02
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write(f"{start} {path}\n")
                racer.stdin.flush()
            said = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
            lost, won = sorted(said)
            assert won == f"won: {2 if left_behind else 1}", said
            assert lost.startswith(f"lost: {path}: "), said
            assert "another controller is starting this campaign" in lost or "a live controller holds" in lost, said
            holder = read_holder(path)
            assert holder is not None
            assert holder.pid == racers[said.index(won)].pid
    finally:
        for racer in racers:
            racer.communicate(timeout=60)
    assert [racer.returncode for racer in racers] == [0, 0]


@pytest.mark.parametrize("take_over", [False, True])
def test_an_acquisition_in_progress_is_not_overtaken(path: Path, take_over: bool) -> None:
    guard = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(guard, fcntl.LOCK_EX)
    with pytest.raises(LockedError, match="another controller is starting this campaign at this moment"):
        Lock.acquire(path, take_over=take_over)
    assert not path.exists()
    os.close(guard)
    assert Lock.acquire(path, take_over=take_over).holder.generation == 1


def test_a_deleted_lock_file_does_not_free_the_lock(path: Path) -> None:
    Lock.acquire(path, take_over=False)
    path.unlink()
    with pytest.raises(LockedError, match="another controller is starting this campaign"):
        Lock.acquire(path, take_over=True)
    assert not path.exists()


def test_a_refused_controller_releases_its_guard(path: Path) -> None:
    _leave_behind(path, host="elsewhere")
    for _ in range(2):
        with pytest.raises(LockedError, match="a controller on elsewhere"):  # and not that another one takes it up
            Lock.acquire(path, take_over=False)
    guard = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(guard)


def test_the_lock_file_suffices_without_file_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    lock = Lock.acquire(path, take_over=False)
    with pytest.raises(LockedError, match="a live controller holds this campaign"):
        Lock.acquire(path, take_over=False)
    lock.release()
    assert Lock.acquire(path, take_over=False).holder.generation == 2


def test_a_holder_in_another_pid_namespace_is_unknown(path: Path) -> None:
    lock = Lock.acquire(path, take_over=False)
    assert lock.holder.namespace
    assert lock.holder.namespace.startswith("pid:[")
    os.close(lock.guard)
    _change(path, namespace="pid:[1]", pid=2**22)
    holder = read_holder(path)
    assert holder is not None
    assert holder.alive() is None
    assert holder.location == "in another container"
    with pytest.raises(LockedError, match=r"in another container\) .* give --take-over"):
        Lock.acquire(path, take_over=False)
    assert Lock.acquire(path, take_over=True).holder.generation == 2


def test_a_lock_of_an_earlier_version_has_no_namespace(path: Path) -> None:
    _leave_behind(path, started=1)
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["namespace"]
    path.write_text(json.dumps(content), encoding="utf-8")
    holder = read_holder(path)
    assert holder is not None
    assert holder.alive() is False


def test_a_released_lock_is_free_although_a_child_still_has_its_descriptor(tmp_path):
    path = tmp_path / "controller.lock"
    lock = Lock.acquire(path, take_over=False)
    copy = os.dup(lock.guard)  # as of a child between fork and exec
    lock.release()
    try:
        Lock.acquire(path, take_over=False).release()
    finally:
        os.close(copy)
