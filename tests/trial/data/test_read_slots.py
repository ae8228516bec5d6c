"""Slots for reading the shared file system: never more holders than slots, also after crashes and stalls."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aiperf_orch.trial.data import read_slots
from aiperf_orch.trial.data.data_paths import LocatedDataSettings
from aiperf_orch.trial.data.read_slots import HeldSlot, ReadSlots


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_slots, "_PAUSE", (0.01, 0.02))


def _content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text().split()[0] for path in folder.iterdir()}


def test_never_more_holders_than_slots(tmp_path: Path) -> None:
    slots, lock, holders, most = ReadSlots(tmp_path / "slots", 3), threading.Lock(), [], []

    def hold(number: int) -> None:
        with slots.held():
            with lock:
                holders.append(number)
                most.append(len(holders))
            time.sleep(0.03)
            with lock:
                holders.remove(number)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(hold, range(16)))
    assert max(most) == 3
    assert len(most) == 16
    content = _content(tmp_path / "slots")
    assert len(content) == 3  # ended leases do not pile up
    assert set(content.values()) == {"released"}


def test_lease_of_a_killed_holder_ends(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from aiperf_orch.trial.data.read_slots import ReadSlots\n"
        "with ReadSlots(Path(sys.argv[1]), 1).held(): print('held', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "slots")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    begun = time.monotonic()
    with ReadSlots(tmp_path / "slots", 1, lease_seconds=0.5).held():
        assert 0.5 < time.monotonic() - begun < 20
        assert list(_content(tmp_path / "slots")) == ["00000.2"]


def test_lease_that_is_renewed_does_not_end(tmp_path: Path) -> None:
    slots, ended = ReadSlots(tmp_path / "slots", 1, lease_seconds=0.6), threading.Event()
    taken: list[float] = []

    def take() -> None:
        with slots.held():
            taken.append(time.monotonic())

    with slots.held() as slot:
        waiting = threading.Thread(target=take)
        waiting.start()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            slot.keep()
            ended.wait(0.02)
        assert not taken
        released = time.monotonic()
    waiting.join(20)
    assert taken[0] >= released


def test_holder_whose_lease_ended_in_a_stall_waits_again(tmp_path: Path) -> None:
    slots = ReadSlots(tmp_path / "slots", 1, lease_seconds=0.3)
    stalled = HeldSlot(slots)
    stalled.wait()
    other = HeldSlot(slots)
    other.wait()  # the lease has not changed
    waiting = threading.Thread(target=stalled.keep)
    waiting.start()
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        other.keep()
        assert waiting.is_alive()
        time.sleep(0.02)
    other.release()
    waiting.join(20)
    assert not waiting.is_alive()
    assert [name for name, text in _content(tmp_path / "slots").items() if text != "released"] == ["00000.3"]


def test_who_saw_an_old_lease_end_does_not_take_its_number_again(tmp_path: Path) -> None:
    slots = ReadSlots(tmp_path / "slots", 1)
    late = HeldSlot(slots)
    for _ in range(3):
        with slots.held():
            pass
    assert list(_content(tmp_path / "slots")) == ["00000.3"]
    assert not late._take(0, 2)  # it saw the end of lease 1, which was removed since
    assert list(_content(tmp_path / "slots")) == ["00000.3"]


def test_waiting_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_slots, "_FIRST_MESSAGE", 0.05)
    with ReadSlots(tmp_path / "slots", 1).held(), ReadSlots(tmp_path / "slots", 1, lease_seconds=0.3).held():
        pass
    assert capsys.readouterr().err == "waiting to copy data, after 1 other node (data.stage_readers)\n"


def test_files_of_others_in_the_folder_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "slots").mkdir()
    for name in (".nfs0001", "notes", "00000.x", "x.7", "00000.5.6"):
        (tmp_path / "slots" / name).write_text("")
    with ReadSlots(tmp_path / "slots", 1).held():
        assert (tmp_path / "slots" / "00000.1").exists()


def test_settings_without_a_campaign_have_no_limit(tmp_path: Path) -> None:
    settings = LocatedDataSettings(name="imagenet", stage_readers=5, read_slots=tmp_path)
    assert read_slots.read_slots(settings) == ReadSlots(tmp_path, 5)
    assert read_slots.read_slots(settings.model_copy(update={"read_slots": None})) is None
