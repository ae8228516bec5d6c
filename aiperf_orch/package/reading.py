"""Opens a package of results that a stranger sent, and trusts nothing in it.

A package is a gzip-compressed tar of plain files in one folder. It is read once, front to back, by a reader of our
own that knows plain files only: a link, a device, a path out of the folder or a name that no package has ends the
reading before anything of it is written. Sizes, numbers and the ratio of compression are bounded. What the files say
is left to `verify`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from aiperf_orch.campaign.format_versions import (
    NEWER_VERSION,
    PACKAGE,
    explain_newer,
    format_of_package,
    stated_in_line,
    writer_in,
)
from aiperf_orch.package.findings import Faults
from aiperf_orch.package.unreadable_files import likely_cause, saved_by_a_spreadsheet
from aiperf_orch.util import strict_json
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.temporary_folders import scratch_folder

MANIFEST: Final = "manifest.json"
SYSTEM: Final = "system.json"
_BLOCK: Final = 512
_MIB: Final = 1 << 20
_MOST_FILES: Final = 500_000
_MOST_BYTES: Final = 8 << 30
_FREE_BYTES: Final = 256 * _MIB  # a package may always grow to this ...
_BEST_RATIO: Final = 100  # ... and beyond it to so many times its compressed size; real ones reach 10 to 30
_CHUNK: Final = 1 << 18
_FOLDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
# what a package may hold, each with its largest size, and whether `verify` reads it again
_CONTENTS: Final = tuple(
    (re.compile(pattern), size, kept)
    for pattern, size, kept in (
        (r"manifest\.json", 128 * _MIB, True),
        (r"campaign\.yaml", 4 * _MIB, True),
        (r"system\.json", _MIB // 4, True),
        (r"journal\.jsonl", 512 * _MIB, True),
        (r"accounting\.jsonl", 128 * _MIB, True),
        (r"(leaderboard|result|series)\.csv", 64 * _MIB, True),
        (r"report\.html", 64 * _MIB, False),
        (r"trials/[0-9]{5,9}\.json", 4 * _MIB, True),
        (r"events/[0-9]{5,9}-[0-9]{1,2}\.[0-9]{1,3}\.jsonl", 16 * _MIB, True),
        (r"jobs/[A-Za-z0-9][A-Za-z0-9._-]{0,59}/job\.sh", 64 * _MIB, False),
    )
)


@dataclass(frozen=True)
class Package:
    """An opened package: a private copy of what `verify` reads, and the SHA-256 of every file that was in it.

    The files of the campaign's own folder lie in `folder`; the many in folders below are `read`.
    """

    folder: Path
    sha256: str
    hashes: dict[str, str]
    spool: BinaryIO
    places: dict[str, tuple[int, int]]

    def read(self, name: str) -> bytes:
        """A file of a folder; FileNotFoundError where there is none."""
        if name not in self.places:
            raise FileNotFoundError(name)
        offset, size = self.places[name]
        return os.pread(self.spool.fileno(), size, offset)


class _Unreadable(Exception):
    """The package is none: nothing after this place can be trusted to be what it seems."""

    def __init__(self, id: str, where: str, message: str) -> None:  # noqa: A002  of a fault
        super().__init__(message)
        self.fault = (id, where, message)


@contextmanager
def open_package(path: Path, faults: Faults) -> Iterator[Package | None]:
    """A package, copied to a private folder that is gone afterwards; None when it cannot be read as one.

    What is wrong is added to `faults`: its form, and every line of JSON in it that is not strict. The files' contents
    and hashes are not judged.

    Raises:
        UsageError: when there is no such file.
        AiperfError: when there is no room for the copy.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: cannot be read: it {likely_cause(path) or 'is not a file'}")
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    # one file for the many: to make a file costs more than to verify it
    with file, scratch_folder() as scratch, tempfile.TemporaryFile() as spool:
        package = None
        try:
            package = _copy(file, spool, scratch, faults)
        except _Unreadable as unreadable:
            kind, where, message = unreadable.fault
            cause = likely_cause(path) if kind == "package.format" else None
            faults.add(kind, where, f"{message}: the file {cause}" if cause else message)
        except OSError as error:
            raise AiperfError(f"{scratch}: the package cannot be copied there: {error.strerror}; set TMPDIR") from None
        yield package


def _copy(file: BinaryIO, spool: BinaryIO, scratch: Path, faults: Faults) -> Package:
    size = os.fstat(file.fileno()).st_size
    stream = _Stream(file, min(_MOST_BYTES, max(_FREE_BYTES, _BEST_RATIO * size)))
    hashes: dict[str, str] = {}
    places: dict[str, tuple[int, int]] = {}
    folder: str | None = None
    writer: object = None
    for full, size in _headers(stream):
        top, _, name = full.partition("/")
        if folder is None:
            folder = top
        if top != folder or not _FOLDER.fullmatch(top):
            raise _Unreadable("package.path", full, "lies outside the package's one folder")
        limit, kept = _place(full, name, writer)
        if name in hashes:
            raise _Unreadable("package.path", full, "stands twice in the package")
        if size > limit:
            raise _Unreadable("package.size", full, f"{size} bytes are more than such a file can have ({limit})")
        data = stream.read(size)
        stream.read(-size % _BLOCK)
        hashes[name] = hashlib.sha256(data).hexdigest()
        if name == MANIFEST:
            writer = _writer_of(data)
        if name.endswith((".json", ".jsonl")):
            _check_strict(name, data, faults)
        elif name.endswith(".csv") and (saved := saved_by_a_spreadsheet(data)):
            faults.add("table.format", name, saved)
        if kept and "/" in name:
            places[name] = spool.tell(), size
            spool.write(data)
        elif kept:
            (scratch / name).write_bytes(data)
    spool.flush()
    if MANIFEST not in hashes:
        raise _Unreadable("manifest.missing", MANIFEST, "the package has no manifest")
    return Package(scratch, stream.sha256(), hashes, spool, places)


def _headers(stream: _Stream) -> Iterator[tuple[str, int]]:
    """Name and size of each file; its bytes are to be read before the next is asked for."""
    number = 0
    while True:
        block = stream.read(_BLOCK)
        if block == bytes(_BLOCK):
            stream.read_zeros()
            return
        number += 1
        where = f"file {number} of the package"
        if number > _MOST_FILES:
            raise _Unreadable("package.size", where, f"more than {_MOST_FILES} files are no package")
        try:
            info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            raise _Unreadable("package.format", where, "the tar archive is damaged here") from None
        if info.type != tarfile.REGTYPE:
            raise _Unreadable("package.kind", info.name or where, f"is {_kind(info)}; a package has plain files only")
        if info.size < 0:
            raise _Unreadable("package.format", info.name, "has an impossible size")
        yield info.name, info.size


def _kind(info: tarfile.TarInfo) -> str:
    known = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link", tarfile.DIRTYPE: "a directory"}
    known |= {tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe"}
    return known.get(info.type, "an entry of a kind that no package has")


def _writer_of(manifest: bytes) -> object:
    """The version of aiperf-orch that a manifest names as its writer; None where it names none.

    Raises:
        _Unreadable: when the package is in a format of a newer version. The manifest is a package's first file.
    """
    stated = stated_in_line(manifest)
    writer = writer_in(stated.get("versions"))
    newer = explain_newer(PACKAGE, format_of_package(stated.get("format")), writer)
    if newer:
        raise _Unreadable(NEWER_VERSION, MANIFEST, newer)
    return writer


def _place(full: str, name: str, writer: object) -> tuple[int, bool]:
    """The largest size of a file with this name, and whether it is read again."""
    if full.startswith("/") or "\\" in full or ".." in full.split("/"):
        raise _Unreadable("package.path", full, "a path that leads out of the package")
    for pattern, size, kept in _CONTENTS:
        if pattern.fullmatch(name):
            return size, kept
    fault = "no package has a file of this name"
    newer = explain_newer(PACKAGE, None, writer, fault)
    raise _Unreadable(NEWER_VERSION if newer else "package.name", full, newer or fault)


def _check_strict(name: str, data: bytes, faults: Faults) -> None:
    lines = data.split(b"\n")[:-1] if name.endswith(".jsonl") else [data]
    if name.endswith(".jsonl") and data and not data.endswith(b"\n"):
        faults.add("json.strict", f"{name}:{len(lines) + 1}", "the last line is torn")
    for number, line in enumerate(lines, start=1):
        try:
            strict_json.loads(line)
        except ValueError as error:
            faults.add("json.strict", f"{name}:{number}", str(error))


class _Stream:
    """The decompressed bytes of a gzip file, bounded, with the hash of the compressed ones."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file, self._limit = file, limit
        self._inflate = zlib.decompressobj(wbits=31)
        self._buffer, self._position, self._inflated = b"", 0, 0
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        while len(self._buffer) - self._position < size:
            chunk = self._next()
            if not chunk:
                raise _Unreadable("package.format", "the package", "ends in the midst of a file: it is not whole")
            self._buffer, self._position = self._buffer[self._position :] + chunk, 0
        data = self._buffer[self._position : self._position + size]
        self._position += size
        return data

    def read_zeros(self) -> None:
        """The padding at the archive's end, and that nothing else follows."""
        rest = self._buffer[self._position :]
        while rest:
            if rest.strip(b"\0"):
                raise _Unreadable("package.format", "the package", "has more after the archive's end")
            rest = self._next()
        if self._inflate.unused_data or self._file.read(1):
            raise _Unreadable("package.format", "the package", "has more after the compressed archive's end")

    def sha256(self) -> str:
        """Of the whole compressed file."""
        return self._hash.hexdigest()

    def _next(self) -> bytes:
        """The next decompressed bytes; none at the end."""
        while not self._inflate.eof:
            waiting = self._inflate.unconsumed_tail
            if not waiting:
                waiting = self._file.read(_CHUNK)
                self._hash.update(waiting)
                if not waiting:
                    raise _Unreadable("package.format", "the package", "is cut off: it is not whole")
            try:
                data = self._inflate.decompress(waiting, _CHUNK)
            except zlib.error:
                raise _Unreadable("package.format", "the package", "is not gzip-compressed, or damaged") from None
            self._inflated += len(data)
            if self._inflated > self._limit:
                raise _Unreadable("package.size", "the package", f"decompresses to more than {self._limit} bytes")
            if data:
                return data
        return b""
