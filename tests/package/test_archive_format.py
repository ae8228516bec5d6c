"""Tests of the archive format of packages: members, sizes, compression and names."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.package import reading
from aiperf_orch.package.verify import verify


def _entry(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), link
    return info, data


@pytest.mark.parametrize(
    ("entry", "id_", "message"),
    [
        (_entry("../evil"), "package.path", "outside the package's one folder"),
        (_entry("TOP/../../evil"), "package.path", "leads out of the package"),
        (_entry("/etc/passwd"), "package.path", "outside the package's one folder"),
        (_entry("other/result.csv"), "package.path", "outside the package's one folder"),
        (_entry("TOP/result.csv"), "package.path", "is in the package twice"),
        (_entry("TOP/link.json", tarfile.SYMTYPE, link="/etc/passwd"), "package.kind", "a symbolic link"),
        (_entry("TOP/link.json", tarfile.LNKTYPE, link="TOP/result.csv"), "package.kind", "a hard link"),
        (_entry("TOP/device", tarfile.CHRTYPE), "package.kind", "a device"),
        (_entry("TOP/pipe", tarfile.FIFOTYPE), "package.kind", "a pipe"),
        (_entry("TOP/trials", tarfile.DIRTYPE), "package.kind", "a directory"),
        (_entry("TOP/weights/00000.checkpoint"), "package.name", "packages have no file of this name"),
        (_entry("TOP/jobs/00000-1/log"), "package.name", "packages have no file of this name"),
        (_entry("TOP/trials/00099.json", data=bytes(5 << 20)), "package.size", "exceed the limit of such a file"),
    ],
)
def test_unknown_archive_members_are_faults(
    tampered: Any, tmp_path: Path, entry: tuple[tarfile.TarInfo, bytes], id_: str, message: str
) -> None:
    info, data = entry
    info = tarfile.TarInfo.frombuf(info.tobuf(tarfile.USTAR_FORMAT), "utf-8", "strict")
    info.name, info.linkname = (text.replace("TOP", tampered.top) for text in (info.name, info.linkname))
    found = verify(tampered.write(tmp_path / "tampered.tar.gz", (info, data)))
    assert [fault.id for fault in found.faults] == [id_]
    assert message in found.faults[0].message
    assert found.result_row is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tampered.tar.gz"]


def _compressed(data: bytes) -> bytes:
    return gzip.compress(data, 1)


@pytest.mark.parametrize(
    ("spoil", "id_", "message"),
    [
        (lambda data: b"", "package.format", "cut off"),
        (lambda data: b"hello", "package.format", "not gzip-compressed"),
        (lambda data: data[: len(data) // 2], "package.format", "cut off"),
        (lambda data: data + b"more", "package.format", "data after the end of the compressed archive"),
        (
            lambda data: _compressed(gzip.decompress(data) + b"more"),
            "package.format",
            "data after the end of the archive",
        ),
        (lambda data: _compressed(gzip.decompress(data)[:2000]), "package.format", "incomplete"),
        (lambda data: _compressed(b"x" * 512 + gzip.decompress(data)), "package.format", "damaged here"),
        (lambda data: _compressed(bytes(10240)), "manifest.missing", "no manifest"),
        (lambda data: _compressed(bytes(3 << 20)), "package.size", "decompresses to more than"),
    ],
)
def test_invalid_archives_are_faults(
    true_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, id_: str, message: str
) -> None:
    monkeypatch.setattr(reading, "_FREE_BYTES", 1 << 20)  # so that three megabytes of zeros exceed the limit
    path = tmp_path / "spoilt.tar.gz"
    path.write_bytes(spoil(true_package.read_bytes()))
    found = verify(path)
    assert [fault.id for fault in found.faults] == [id_]
    assert message in found.faults[0].message


def test_a_decompression_bomb_is_not_unpacked(tampered: Any, tmp_path: Path) -> None:
    """A gigabyte of zeros compressed to a megabyte: reading ends at the first limit."""
    info = tarfile.TarInfo(f"{tampered.top}/series.csv")
    info.size = 1 << 30
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(16):
            file.write(bytes(1 << 20))
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(stream.getvalue())
    found = verify(path)
    assert [fault.id for fault in found.faults] == ["package.size"]


def test_control_characters_in_names_are_escaped(tampered: Any, tmp_path: Path) -> None:
    entry = _entry(f"{tampered.top}/\x1b[2J\u202e.json")
    found = verify(tampered.write(tmp_path / "tampered.tar.gz", entry))
    assert not found.verified
    assert all(str(fault).isprintable() for fault in found.faults)
    assert hashlib.sha256((tmp_path / "tampered.tar.gz").read_bytes()).hexdigest()
