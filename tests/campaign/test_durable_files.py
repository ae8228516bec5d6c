"""The three ways to write a file, and its content after the disk refused."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aiperf_orch.campaign import safe_reading
from aiperf_orch.campaign.durable_files import AppendFile, read_whole_lines, replace_file, write_once
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.safe_reading import read_regular
from aiperf_orch.util.errors import AiperfError


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_an_immutable_file_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_once(path, b"one")
    write_once(path, b"one")
    with pytest.raises(AiperfError, match="exists with other contents, and is never overwritten"):
        write_once(path, b"two")
    assert path.read_bytes() == b"one"
    assert _mode(path) == 0o640
    assert _names(tmp_path) == ["file"]


def test_a_file_is_replaced_atomically(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"one")
    path.chmod(0o600)
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert _mode(path) == 0o640
    assert _names(tmp_path) == ["file"]


@pytest.mark.parametrize("umask", [0, 0o027, 0o077, 0o777])
def test_files_have_the_same_mode_with_every_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_once(tmp_path / "once", b"")
        replace_file(tmp_path / "file", b"")
        for exclusive in (True, False):
            AppendFile(tmp_path / f"lines{exclusive}", exclusive=exclusive).close()
    finally:
        os.umask(before)
    assert {_mode(path) for path in tmp_path.iterdir()} == {0o640}
    assert len(_names(tmp_path)) == 4


def test_a_failed_replacement_is_explained_and_leaves_no_files(tmp_path: Path) -> None:
    (tmp_path / "file" / "inside").mkdir(parents=True)
    with pytest.raises(AiperfError, match="file: cannot be written: "):
        replace_file(tmp_path / "file", b"one")
    with pytest.raises(AiperfError, match="nowhere/file: cannot be written: No such file or directory"):
        replace_file(tmp_path / "nowhere" / "file", b"one")
    assert _names(tmp_path) == ["file"]


def test_a_folder_that_is_absent_for_a_while_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    back = threading.Timer(0.5, folder.mkdir)
    back.start()
    replace_file(folder / "file", b"one", retry_for=60)
    back.join()
    assert (folder / "file").read_bytes() == b"one"


def test_exactly_one_creates_a_file_exclusively(tmp_path: Path) -> None:
    first = AppendFile(tmp_path / "file", exclusive=True)
    first.append("ours\n")
    with pytest.raises(FileExistsError):
        AppendFile(tmp_path / "file", exclusive=True)
    first.close()
    assert (tmp_path / "file").read_text() == "ours\n"


def test_appended_lines_are_read_up_to_the_last_complete_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = AppendFile(path, exclusive=False)
    file.append("one\n")
    assert read_whole_lines(path) == (b"one\n", 4)
    file.append("two\nthree\n")
    assert read_whole_lines(path, 4) == (b"two\nthree\n", 14)
    assert read_whole_lines(path, 14) == (b"", 14)
    with path.open("ab") as other:
        other.write(b"torn")
    assert read_whole_lines(path, 14) == (b"", 14)
    file.truncate(14)
    file.append("four\n")
    assert read_whole_lines(path) == (b"one\ntwo\nthree\nfour\n", 19)
    file.close()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/null")])
@pytest.mark.usefixtures("fails_if_blocked")
def test_anything_but_a_regular_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "file"
    make(path)
    with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
        read_regular(path)
    with pytest.raises(AiperfError, match=r"file: cannot be read: (not a regular file|Is a directory)"):
        read_whole_lines(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/null")])
def test_nothing_but_a_regular_file_is_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "file"
    make(path)
    before = path.lstat().st_mode
    with pytest.raises(AiperfError, match="file: cannot be written: not a regular file: name another one"):
        replace_file(path, b"data")
    assert path.lstat().st_mode == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_part_of_a_regular_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert read_regular(path) == b"0123456789"
    assert read_regular(path, offset=3) == b"3456789"
    assert read_regular(path, offset=20) == b""
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nowhere")


def test_a_partly_written_line_is_removed(tmp_path: Path) -> None:
    """A limit on file sizes makes the operating system refuse in the middle of a write, as a full disk does."""
    path = tmp_path / "file"
    script = f"""
import resource
from pathlib import Path
from aiperf_orch.campaign.durable_files import AppendFile, replace_file
from aiperf_orch.util.errors import AiperfError
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
file = AppendFile(Path({str(path)!r}), exclusive=True)
file.append("x" * 59 + "\\n")
for attempt in (lambda: file.append("y" * 59 + "\\n"), lambda: replace_file(Path({str(path)!r}), b"z" * 200)):
    try:
        attempt()
    except AiperfError as error:
        print(error)
file.append("short\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [f"{path}: cannot be written: File too large (write)"] * 2
    assert path.read_text() == "x" * 59 + "\nshort\n"
    assert _names(tmp_path) == ["file"]


def test_a_full_disk_is_explained_and_changes_nothing(small_disk: Path, fill: Callable[[Path], None]) -> None:
    path, other = small_disk / "file", small_disk / "other"
    replace_file(other, b"before")
    file = AppendFile(path, exclusive=True)
    file.append("one\n")
    fill(small_disk)
    with pytest.raises(
        AiperfError, match="file: cannot be written: the disk is full: free some space, then run the same"
    ):
        file.append("x" * 10_000 + "\n")
    with pytest.raises(AiperfError, match="other: cannot be written: the disk is full"):
        replace_file(other, b"x" * 10_000)
    with pytest.raises(AiperfError, match="new: cannot be written: the disk is full"):
        write_once(small_disk / "new", b"x" * 10_000)
    file.close()
    assert (path.read_text(), other.read_text()) == ("one\n", "before")
    assert _names(small_disk) == ["file", "filler", "other"]


def test_errors_for_the_caller_are_not_translated() -> None:
    with pytest.raises(FileExistsError), translate_os_errors(Path("x"), passing=FileExistsError):
        raise FileExistsError
    with (
        pytest.raises(AiperfError, match="x: cannot be written: the file system is read-only"),
        translate_os_errors(Path("x")),
    ):
        raise OSError(30, "Read-only")
    with pytest.raises(AiperfError, match="x: cannot be written: permission denied"), translate_os_errors(Path("x")):
        raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_write_with_a_transient_error_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    real, failures = getattr(os, call), iter([True, False, True, True])

    def fail(descriptor: int, *data: bytes) -> int:
        if next(failures, False):
            if data:
                real(descriptor, data[0][:3])  # a part of it has got there
            raise OSError(number, os.strerror(number))
        return int(real(descriptor, *data) or 0)

    file = AppendFile(tmp_path / "lines", exclusive=True)
    file.append("before\n")
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        file.append("one\n")
        file.append("two\n")
    file.append("after\n")
    assert (tmp_path / "lines").read_text() == "before\none\ntwo\nafter\n"
    failures = iter([True, True, False])
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        replace_file(tmp_path / "whole", b"whole")
    assert (tmp_path / "whole").read_bytes() == b"whole"
    assert _names(tmp_path) == ["lines", "whole"]


def test_a_write_that_fails_repeatedly_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    file = AppendFile(tmp_path / "lines", exclusive=True)
    file.append("before\n")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(AiperfError, match=r"lines: cannot be written for now: Input/output error \(fsync\)"):
        file.append("one\n", retry_for=0.1)
    with pytest.raises(AiperfError, match=r"whole: cannot be written for now: Input/output error \(fsync\)"):
        replace_file(tmp_path / "whole", b"whole", retry_for=0.1)
    assert (tmp_path / "lines").read_text() == "before\n"
    assert _names(tmp_path) == ["lines"]


def test_a_folder_is_synced_for_as_long_as_a_write_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, clock = os.open, [0.0]

    def away(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECTORY and clock[0] < 60:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", away)
    monkeypatch.setattr(safe_reading.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(safe_reading.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    replace_file(tmp_path / "whole", b"whole", retry_for=safe_reading.LONG_RETRY_SECONDS)
    assert clock[0] >= 60
    assert (tmp_path / "whole").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),  # also where all inodes are used up
        (errno.EDQUOT, "the disk quota is used up: free some space"),
        (errno.EROFS, "the file system is read-only"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "open"])
def test_a_file_system_that_takes_nothing_more_is_explained_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, message: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    replace_file(tmp_path / "whole", b"before")
    file = AppendFile(tmp_path / "lines", exclusive=True)
    file.append("one\n")
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(AiperfError, match=message):
            replace_file(tmp_path / "whole", b"after")
        if call != "open":  # the file of lines is open
            with pytest.raises(AiperfError, match=message):
                file.append("two\n")
    file.append("three\n")
    assert (tmp_path / "whole").read_bytes() == b"before"
    assert (tmp_path / "lines").read_text() == "one\nthree\n"
    assert _names(tmp_path) == ["lines", "whole"]
