"""Staging of packed data: each byte once a node, never more nodes than slots, checksums, full disks, interruptions."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from aiperf_orch.records.base import EndReason
from aiperf_orch.trial.data import read_slots, shard_staging
from aiperf_orch.trial.data.dataset import Dataset
from aiperf_orch.trial.data.packed import open_packed
from aiperf_orch.trial.data.packing import pack
from aiperf_orch.trial.data.read_slots import ReadSlots
from aiperf_orch.trial.data.shard_staging import stage_shards
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from data_fixtures import training_images

NODES, READERS = 16, 3


@pytest.fixture
def packed(tree: Path, tmp_path: Path) -> Path:
    pack(tree, tmp_path / "packed", shard_bytes=10_000)
    return tmp_path / "packed"


def _shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("shard-*")}


def test_trials_read_the_copy(
    packed: Path, tmp_path: Path, opened: Callable[..., Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = training_images(opened(packed), 1)
    capsys.readouterr()
    copied = opened(packed, stage=str(tmp_path / "disk"))
    error = capsys.readouterr().err
    assert f"to {tmp_path / 'disk'}, once for this node" in error
    assert f"copied {len(_shards(packed))} shards in " in error
    for shard in packed.glob("shard-*"):
        shard.rename(shard.with_suffix(".away"))
    assert torch.equal(training_images(copied, 1), expected)
    [copy] = [path for path in (tmp_path / "disk").iterdir() if path.is_dir()]
    assert {path.name for path in copy.iterdir()} == {path.stem for path in packed.glob("*.away")}


def test_each_byte_is_read_once_a_node_and_never_by_more_nodes_than_slots(packed: Path, tmp_path: Path) -> None:
    """Nodes are processes with two trials each."""
    script = (
        "import sys, threading, time; from pathlib import Path\n"
        "from aiperf_orch.trial.data import read_slots, shard_staging\n"
        "from aiperf_orch.trial.data.packed import open_packed\n"
        "read_slots._PAUSE, copy = (0.01, 0.02), shard_staging._copy\n"
        "def timed(source, target, shard, slot):\n"
        "    begun = time.monotonic(); copy(source, target, shard, slot); time.sleep(0.01)\n"
        "    print(begun, time.monotonic(), shard.bytes, flush=True)\n"
        "shard_staging._copy = timed\n"
        "packed, disk, slots = map(Path, sys.argv[1:])\n"
        f"slots = read_slots.ReadSlots(slots, {READERS})\n"
        "trials = [threading.Thread(target=shard_staging.stage_shards, args=(open_packed(packed), disk, slots))"
        " for _ in range(2)]\n"
        "[each.start() for each in trials]; [each.join() for each in trials]\n"
    )

    def run(node: int) -> list[list[float]]:
        command = [sys.executable, "-c", script, str(packed), str(tmp_path / f"disk{node}"), str(tmp_path / "slots")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]

    with ThreadPoolExecutor(NODES) as pool:
        nodes = list(pool.map(run, range(NODES)))
    size = sum(len(data) for data in _shards(packed).values())
    assert [sum(read for _, _, read in node) for node in nodes] == [size] * NODES
    changes = sorted(change for node in nodes for begin, end, _ in node for change in ((begin, 1), (end, -1)))
    readers = [sum(change for _, change in changes[:number]) for number in range(len(changes) + 1)]
    assert 1 <= max(readers) <= READERS
    for node in range(NODES):
        [copy] = [path for path in (tmp_path / f"disk{node}").iterdir() if path.is_dir()]
        assert _shards(copy) == _shards(packed)


def test_copy_goes_on_after_a_kill_and_after_files_were_deleted(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, disk, slots = open_packed(packed), tmp_path / "disk", tmp_path / "slots"
    names = sorted(_shards(packed))
    script = (
        "import sys, time; from pathlib import Path\n"
        "from aiperf_orch.trial.data import packed, read_slots, shard_staging\n"
        "copy, (folder, disk, slots) = shard_staging._copy, map(Path, sys.argv[1:])\n"
        "def slow(source, target, *rest):\n"
        "    if source.name == 'shard-00002':\n"
        "        target.with_name(f'.{target.name}.part').write_bytes(b'half')\n"
        "        print('here', flush=True); time.sleep(60)\n"
        "    copy(source, target, *rest)\n"
        "shard_staging._copy = slow\n"
        "shard_staging.stage_shards(packed.open_packed(folder), disk, read_slots.ReadSlots(slots, 1))\n"
    )
    command = [sys.executable, "-c", script, str(packed), str(disk), str(slots)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.kill()
    assert [path.parent.suffix for path in disk.glob("*/shard-*")] == [".part"] * 2

    copy, copied = shard_staging._copy, []

    def noted(source: Path, *rest: Any) -> None:
        copied.append(source.name)
        copy(source, *rest)

    monkeypatch.setattr(shard_staging, "_copy", noted)
    root = stage_shards(folder, disk, ReadSlots(slots, 1, lease_seconds=0.5))  # the slot of the killed one, in time
    assert copied == names[2:]
    assert _shards(root) == _shards(packed)
    assert not [*root.glob(".*")]
    (root / "shard-00003").unlink()
    assert stage_shards(folder, disk) == root
    assert copied == [*names[2:], "shard-00003"]
    assert _shards(root) == _shards(packed)
    assert stage_shards(folder, disk) == root
    assert len(copied) == len(names) - 1


def test_damaged_shard_is_not_used(packed: Path, tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    damaged = packed / "shard-00002"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(
        TrialFailedError, match=r"shard-00002: its SHA-256 is not that .* pack the tree again"
    ) as raised:
        opened(packed, stage=str(tmp_path / "disk"))
    assert raised.value.reason is EndReason.BAD_DATA
    assert not list((tmp_path / "disk").glob("*/*shard-00002*"))


def test_without_room_the_data_is_read_in_place(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, disk = open_packed(packed), tmp_path / "disk"
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        assert stage_shards(folder, disk) == packed
    assert f"bytes are needed, and 1,000 are free): reading from {packed}\n" in capsys.readouterr().err

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "shard")

    with monkeypatch.context() as patch:
        patch.setattr(shard_staging, "_copy", full)
        assert stage_shards(folder, disk, ReadSlots(tmp_path / "slots", 1)) == packed
    assert f"No space left on device): reading from {packed}\n" in capsys.readouterr().err
    assert not list(disk.glob("*.part"))
    assert stage_shards(folder, disk, ReadSlots(tmp_path / "slots", 1)).parent == disk  # the slot was released
    (disk / "not writable").write_text("")
    assert stage_shards(folder, disk / "not writable") == packed


def test_copy_that_others_may_write_to_is_not_used(packed: Path, tmp_path: Path) -> None:
    folder, disk = open_packed(packed), tmp_path / "disk"
    root = stage_shards(folder, disk)
    os.chmod(root, 0o777)  # noqa: PTH101
    assert stage_shards(folder, disk) == packed


def test_a_trial_without_room_does_not_wait_for_a_slot(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_slots, "_PAUSE", (0.01, 0.02))
    usage, slots = shutil.disk_usage(tmp_path), ReadSlots(tmp_path / "slots", 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with slots.held():
        staged: list[Path] = []
        trial = threading.Thread(target=lambda: staged.append(stage_shards(open_packed(packed), tmp_path / "d", slots)))
        trial.start()
        trial.join(20)
    assert staged == [packed]
