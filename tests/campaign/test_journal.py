"""The journal: its chain, its torn last line, and every kind of damage."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.campaign import journal as journal_module
from aiperf_orch.campaign.journal import Journal, read_journal
from aiperf_orch.campaign.lock import Lock
from aiperf_orch.records.journal import Created, Opened, Paused, Stopped
from aiperf_orch.util import units
from aiperf_orch.util.errors import AiperfError, LockedError, RecordError


def _ours() -> None:
    """Nobody else wants the campaign."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of four lines."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, _ours, 1)
    journal.append(Created, settings_sha256="1" * 64, version="0.1.0")
    journal.append(Opened, host="n1", pid=3)
    journal.append(Paused, reason="two\nlines \N{SNOWMAN}")
    journal.append(Stopped)
    journal.close()
    return path


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_each_line_holds_the_hash_of_the_one_before(path: Path) -> None:
    lines = _lines(path)
    entries = [json.loads(line) for line in lines]
    assert [entry["seq"] for entry in entries] == [0, 1, 2, 3]
    assert entries[0]["prev"] == "0" * 64
    for before, entry in zip(lines, entries[1:], strict=False):
        assert entry["prev"] == hashlib.sha256(before.removesuffix(b"\n")).hexdigest()
    assert [entry.to_line().encode() + b"\n" for entry in read_journal(path)] == lines


def test_a_new_campaign_has_no_journal(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "journal.jsonl") == []


def test_times_continue_from_a_last_line_ahead_of_this_clock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "_clock", units._Clock())
    ahead = units.now() + timedelta(minutes=30)
    monkeypatch.setattr(journal_module, "now", lambda: ahead)
    journal = Journal(path, _ours, 2)
    journal.append(Stopped)
    journal.close()
    monkeypatch.setattr(journal_module, "now", units.now)
    journal = Journal(path, _ours, 3)
    assert ahead <= journal.append(Stopped).time < ahead + timedelta(minutes=1)
    assert units.now() >= ahead  # so deadlines and graces go by the same time
    journal.close()


def test_a_new_writer_continues_the_journal(path: Path) -> None:
    journal = Journal(path, _ours, 2)
    assert len(journal.entries) == 4
    entry = journal.append(Stopped)
    journal.close()
    assert (entry.seq, entry.generation) == (4, 2)
    assert read_journal(path)[-1] == entry


@pytest.mark.parametrize("torn", [b'{"seq":4,"ti', b"\x00\x00\x00", b"{}", b"garbage"])
def test_the_next_writer_drops_a_torn_last_line(path: Path, torn: bytes) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert len(read_journal(path)) == 4
    assert path.read_bytes() == whole + torn
    journal = Journal(path, _ours, 2)
    assert path.read_bytes() == whole
    journal.append(Stopped)
    journal.close()
    assert len(read_journal(path)) == 5


def test_a_torn_journal_is_read_up_to_its_last_complete_line(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    copy = tmp_path / "copy"
    for size in range(len(data) + 1):
        copy.write_bytes(data[:size])
        assert len(read_journal(copy)) == data[:size].count(b"\n")


def _garbage_in_the_middle(lines: list[bytes]) -> int:
    lines[1] = b"garbage\n"
    return 2


def _garbage_at_the_end(lines: list[bytes]) -> int:
    lines.append(b"garbage\n")
    return 5


def _empty_line(lines: list[bytes]) -> int:
    lines.insert(3, b"\n")
    return 4


def _zeros(lines: list[bytes]) -> int:
    lines.append(b"\x00" * 64 + b"\n")
    return 5


def _changed(lines: list[bytes]) -> int:
    lines[1] = lines[1].replace(b'"n1"', b'"n2"')
    return 3  # detected by the line after it


def _removed(lines: list[bytes]) -> int:
    del lines[2]
    return 3


def _swapped(lines: list[bytes]) -> int:
    lines[1], lines[2] = lines[2], lines[1]
    return 2


def _repeated(lines: list[bytes]) -> int:
    lines.append(lines[-1])
    return 5


def _first_removed(lines: list[bytes]) -> int:
    del lines[0]
    return 1


def _unknown_field(lines: list[bytes]) -> int:
    lines[2] = lines[2].replace(b'"type"', b'"more":1,"type"')
    return 3


def _glued(lines: list[bytes]) -> int:
    lines[1] = lines[1].removesuffix(b"\n")
    return 2


@pytest.mark.parametrize(
    "damage",
    [
        _garbage_in_the_middle, _garbage_at_the_end, _empty_line, _zeros, _changed, _removed, _swapped, _repeated,
        _first_removed, _unknown_field, _glued,
    ],
)  # fmt: skip
def test_damage_is_reported_with_its_line_and_changes_nothing(path: Path, damage: Callable[[list[bytes]], int]) -> None:
    lines = _lines(path)
    number = damage(lines)
    path.write_bytes(b"".join(lines))
    for read in (lambda: read_journal(path), lambda: Journal(path, _ours, 2)):
        with pytest.raises(RecordError, match=f"^{path}:{number}: .*restore .* from a copy") as caught:
            read()
        assert caught.value.exit_status == 1
    assert path.read_bytes() == b"".join(lines)


@settings(deadline=None)
@given(data=st.data())
def test_every_changed_byte_before_the_last_line_is_detected(path: Path, tmp_path: Path, data: st.DataObject) -> None:
    original = path.read_bytes()
    last = original.rfind(b"\n", 0, -1) + 1
    place = data.draw(st.integers(0, last - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != original[place]))
    copy = tmp_path / "copy"
    copy.write_bytes(original[:place] + bytes([byte]) + original[place + 1 :])
    with pytest.raises(RecordError):
        read_journal(copy)


def test_an_append_is_refused_after_a_takeover(path: Path) -> None:
    answers: list[Any] = [None, LockedError("taken over")]

    def ours() -> None:
        answer = answers.pop(0)
        if answer:
            raise answer

    before = path.read_bytes()
    journal = Journal(path, ours, 2)
    with pytest.raises(LockedError, match="taken over"):
        journal.append(Stopped)
    journal.close()
    assert path.read_bytes() == before


def test_only_the_holder_of_the_lock_opens_the_journal(path: Path) -> None:
    def theirs() -> None:
        raise LockedError("taken over")

    path.write_bytes(path.read_bytes() + b"torn")  # of a live writer: not for us to drop
    before = path.read_bytes()
    with pytest.raises(LockedError, match="taken over"):
        Journal(path, theirs, 3)
    assert path.read_bytes() == before


@pytest.mark.parametrize("take_over", [False, True])
def test_two_writers_on_one_host_never_share_the_journal(path: Path, tmp_path: Path, take_over: bool) -> None:
    lock = Lock.acquire(tmp_path / "controller.lock", take_over=False)
    journal = Journal(path, lock.check_held, 2)
    with pytest.raises(LockedError, match="a live controller holds this campaign"):
        Lock.acquire(tmp_path / "controller.lock", take_over=take_over)
    journal.append(Stopped)
    journal.close()
    lock.release()
    second = Lock.acquire(tmp_path / "controller.lock", take_over=take_over)
    Journal(path, second.check_held, 3).close()
    with pytest.raises(LockedError, match="was taken over"):
        Journal(path, lock.check_held, 2)
    second.release()


@pytest.mark.usefixtures("fails_if_blocked")
def test_a_pipe_is_not_read_as_a_journal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "journal.jsonl")
    with pytest.raises(AiperfError, match=r"journal\.jsonl: cannot be read: not a regular file"):
        read_journal(tmp_path / "journal.jsonl")


def test_a_full_disk_loses_nothing(small_disk: Path, fill: Callable[[Path], None]) -> None:
    path = small_disk / "journal.jsonl"
    journal = Journal(path, _ours, 1)
    journal.append(Created, settings_sha256="1" * 64, version="0.1.0")
    before = path.read_bytes()
    fill(small_disk)
    with pytest.raises(AiperfError, match=r"journal\.jsonl: cannot be written: the disk is full"):
        journal.append(Paused, reason="x" * 10_000)
    assert path.read_bytes() == before
    (small_disk / "filler").unlink()
    journal.append(Stopped)
    journal.close()
    assert [entry.type for entry in read_journal(path)] == ["created", "stopped"]
