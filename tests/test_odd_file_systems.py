"""Campaigns on file systems that refuse calls: CIFS, FUSE, GPFS with ACLs, NFS."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign import durable_files
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import AppendFile, replace_file, write_once
from aiperf_orch.campaign.lock import Lock
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import AiperfError, LockedError


def _refusing(number: int) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def _refuse_directories(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = os.fsync

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)


def _write_all(folder: Path) -> None:
    write_once(folder / "once", b"1")
    replace_file(folder / "whole", b"2")
    lines = AppendFile(folder / "lines", exclusive=True)
    lines.append("3\n")
    lines.close()
    assert [(folder / name).read_bytes() for name in ("once", "whole", "lines")] == [b"1", b"2", b"3\n"]


@pytest.mark.parametrize(
    "odd",
    [
        "fsyncdir chmod link flock",
        *(pytest.param(call, marks=pytest.mark.long) for call in ("fsyncdir", "chmod", "link", "flock")),
    ],
)
@pytest.mark.local
def test_a_whole_campaign_runs_where_a_call_is_refused(
    preload: Callable[[str], Path], write_site: Callable[..., Path], tmp_path: Path, odd: str
) -> None:
    library, site = preload("oddfs"), write_site()
    for arguments in (["run", site, "--campaign-dir", "C"], ["package", "C", "--output", "C.tar.gz"]):
        done = subprocess.run(
            [sys.executable, "-m", "aiperf_orch.cli", *arguments],
            env=os.environ | {"LD_PRELOAD": str(library), "ODDFS": odd},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert "every number in it follows from its records" in done.stdout


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.ENOSYS], ids=errno.errorcode.get)
def test_missing_features_of_a_file_system_are_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _refuse_directories(monkeypatch, number)
    monkeypatch.setattr(os, "fchmod", _refusing(number))
    monkeypatch.setattr(os, "link", _refusing(number))
    _write_all(tmp_path)
    with pytest.raises(AiperfError, match="is never overwritten"):  # also without links
        write_once(tmp_path / "once", b"other")


def test_a_failed_call_that_is_needed_is_reported_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = (
        r"cannot be written: Operation not supported \((\w+)\): the file system refuses this call: choose a folder"
    )
    file = AppendFile(tmp_path / "lines", exclusive=True)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _refusing(errno.ENOTSUP))
        with pytest.raises(AiperfError, match=f"lines: {refused}") as caught:
            file.append("1\n")
        assert "(fsync)" in str(caught.value)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", _refusing(errno.ENOTSUP))
        with pytest.raises(AiperfError, match=f"whole: {refused}") as caught:
            replace_file(tmp_path / "whole", b"")
        assert "(rename)" in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["lines"]


def test_a_mode_that_lets_others_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fchmod", _refusing(errno.EPERM))
    monkeypatch.setattr(durable_files, "_MODE", 0o666)
    before = os.umask(0)
    try:
        with pytest.raises(OSError, match=r"Operation not permitted \(fchmod\)"):
            AppendFile(tmp_path / "lines", exclusive=True)
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []  # a retry does not find it claimed


def test_a_folder_that_stays_open_to_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "campaign"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    monkeypatch.setattr(Path, "chmod", _refusing(errno.EPERM))
    with pytest.raises(
        AiperfError, match=r"campaign: its mode 0755 grants others access, .* 0700: Operation not permitted \(chmod\)"
    ):
        CampaignDirectory.create(folder, SiteSettings(), {})
    CampaignDirectory.create(tmp_path / "private", SiteSettings(), {})  # made so from the beginning


def test_one_of_two_controllers_starts_where_directories_cannot_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def lock(descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    path = tmp_path / "controller.lock"
    first = Lock.acquire(path, take_over=False)
    path.unlink()  # as if it had not written its name yet
    with pytest.raises(LockedError, match="another controller is starting this campaign at this moment"):
        Lock.acquire(path, take_over=False)
    os.close(first.guard)
    assert Lock.acquire(path, take_over=False).holder.generation == 1
