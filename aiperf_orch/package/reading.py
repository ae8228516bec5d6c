"""Reading of packages of unknown origin.

A package is a gzip-compressed tar archive of regular files in one folder. It is read once, sequentially, by a reader
that accepts regular files only: links, devices, paths outside the folder and unknown names end the reading before
anything is written. File sizes, the number of files and the compression ratio are limited. Weights are hashed while
they are read, and never in memory as a whole. The contents are checked by `verify`.
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
from aiperf_orch.package.weights_header import LENGTH_BYTES, MOST_HEADER
from aiperf_orch.util import strict_json
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.progress import begin_part
from aiperf_orch.util.temporary_folders import scratch_folder

MANIFEST: Final = "manifest.json"
SYSTEM: Final = "system.json"
QUESTIONNAIRE: Final = "questionnaire.yaml"
_BLOCK: Final = 512
_MIB: Final = 1 << 20
_MOST_FILES: Final = 500_000
_MOST_BYTES: Final = 8 << 30
_FREE_BYTES: Final = 32 * _MIB  # a package may always expand to this size ...
_BEST_RATIO: Final = 100  # ... and beyond it to this multiple of its compressed size (docs/research/packages.md)
_CHUNK: Final = 1 << 18
_LINES_AT_ONCE: Final = 100  # checked together, which is faster and takes bounded memory
_WEIGHTS: Final = re.compile(r"weights/[0-9]{5,9}\.safetensors")
MOST_WEIGHTS: Final = 4 << 30
"""Bytes of the weights in a package: a thousand million parameters."""
_FOLDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
# pattern of each permitted name, and its largest size
_CONTENTS: Final = tuple(
    (re.compile(pattern), size)
    for pattern, size in (
        (r"manifest\.json", 128 * _MIB),
        (r"campaign\.yaml", _MIB // 2),
        (r"system\.json", _MIB // 4),
        (r"questionnaire\.yaml", _MIB // 4),
        (r"journal\.jsonl", 256 * _MIB),
        (r"accounting\.jsonl", 128 * _MIB),
        (r"meter\.csv", 64 * _MIB),
        (r"meter\.json", _MIB // 4),
        (r"(leaderboard|nodes|result|series)\.csv", 64 * _MIB),
        (r"report\.html", 64 * _MIB),
        (r"trials/[0-9]{5,9}\.json", 4 * _MIB),
        (r"events/[0-9]{5,9}-[0-9]{1,2}\.[0-9]{1,3}\.jsonl", 16 * _MIB),
        (_WEIGHTS.pattern, MOST_WEIGHTS),
        (r"jobs/[A-Za-z0-9][A-Za-z0-9._-]{0,59}/job\.sh", 64 * _MIB),
    )
)


@dataclass(frozen=True)
class PackedWeights:
    """The weights in a package, of one trial.

    Attributes:
        name: of the file.
        size: of the file, in bytes.
        head: its first bytes, as many as the longest header takes.
    """

    name: str
    size: int
    head: bytes


@dataclass(frozen=True)
class Package:
    """An opened package: a private copy of its files, and the SHA-256 of each.

    Attributes:
        folder: contains the files of the top level; files of folders below are read by `read`.
        sha256: of the compressed package.
        size: of the compressed package, in bytes.
        hashes: name -> SHA-256, for every file.
        spool: contents of the files in folders.
        locations: name -> offset and size in `spool`.
        weights: the weights; None for a package without.
    """

    folder: Path
    sha256: str
    size: int
    hashes: dict[str, str]
    spool: BinaryIO
    locations: dict[str, tuple[int, int]]
    weights: PackedWeights | None

    def read(self, name: str) -> bytes:
        """Read a file of a folder; FileNotFoundError if the package does not contain it."""
        if name not in self.locations:
            raise FileNotFoundError(name)
        offset, size = self.locations[name]
        return os.pread(self.spool.fileno(), size, offset)


class _FormatError(Exception):
    """The file is not a package; its rest is not read."""

    def __init__(self, id: str, where: str, message: str) -> None:  # noqa: A002  of a fault
        super().__init__(message)
        self.fault = (id, where, message)


@contextmanager
def open_package(path: Path, faults: Faults, weights_copy: Path | None = None) -> Iterator[Package | None]:
    """Context manager that copies a package to a private, temporary folder; None when it cannot be read.

    Faults of the format, and lines that are not strict JSON, are added to `faults`. Neither contents nor hashes are
    checked.

    Args:
        path: The file.
        faults: Collects the faults.
        weights_copy: File to which the weights are copied, if the package has any; None copies none.

    Raises:
        UsageError: The file does not exist.
        AiperfError: There is no space for the copy.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: cannot be read: it {likely_cause(path) or 'is not a file'}")
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    # one file for many: creating a file takes longer than verifying its contents
    with file, scratch_folder() as scratch, tempfile.TemporaryFile() as spool:
        package = None
        try:
            package = _copy(file, spool, scratch, faults, weights_copy or Path(os.devnull))
        except _FormatError as error:
            kind, where, message = error.fault
            cause = likely_cause(path) if kind == "package.format" else None
            faults.add(kind, where, f"{message}: the file {cause}" if cause else message)
        except OSError as error:
            raise AiperfError(f"{scratch}: the package cannot be copied there: {error.strerror}; set TMPDIR") from None
        yield package


def _copy(file: BinaryIO, spool: BinaryIO, scratch: Path, faults: Faults, weights_copy: Path) -> Package:
    begin_part("reading the package")
    packed_size = os.fstat(file.fileno()).st_size
    stream = _Stream(file, min(_MOST_BYTES, max(_FREE_BYTES, _BEST_RATIO * packed_size)))
    hashes: dict[str, str] = {}
    locations: dict[str, tuple[int, int]] = {}
    weights: PackedWeights | None = None
    folder: str | None = None
    writer: object = None
    for full, size in _headers(stream):
        top, _, name = full.partition("/")
        if folder is None:
            folder = top
        if top != folder or not _FOLDER.fullmatch(top):
            raise _FormatError("package.path", full, "lies outside the package's one folder")
        limit = _limit(full, name, writer)
        if name in hashes:
            raise _FormatError("package.path", full, "is in the package twice")
        if size > limit:
            raise _FormatError("package.size", full, f"{size} bytes exceed the limit of such a file ({limit})")
        if _WEIGHTS.fullmatch(name):
            if weights is not None:
                raise _FormatError("package.path", full, "a package has the weights of one trial only")
            head, hashes[name] = _copy_weights(stream, size, weights_copy)
            weights = PackedWeights(name, size, head)
            continue
        data = stream.read(size)
        stream.read(-size % _BLOCK)
        hashes[name] = hashlib.sha256(data).hexdigest()
        if name == MANIFEST:
            writer = _writer_of(data)
        if name.endswith((".json", ".jsonl")):
            _check_strict(name, data, faults)
        elif name.endswith(".csv") and (saved := saved_by_a_spreadsheet(data)):
            faults.add("table.format", name, saved)
        if "/" in name:
            locations[name] = spool.tell(), size
            spool.write(data)
        else:
            (scratch / name).write_bytes(data)
    spool.flush()
    if MANIFEST not in hashes:
        raise _FormatError("manifest.missing", MANIFEST, "the package has no manifest")
    return Package(scratch, stream.sha256(), packed_size, hashes, spool, locations, weights)


def _copy_weights(stream: _Stream, size: int, copy: Path) -> tuple[bytes, str]:
    """Copy the weights to a file, piece by piece; returns their first bytes and their SHA-256."""
    head = stream.read(min(size, LENGTH_BYTES + MOST_HEADER))
    digest = hashlib.sha256(head)
    with copy.open("wb") as file:
        file.write(head)
        for start in range(len(head), size, _CHUNK):
            piece = stream.read(min(_CHUNK, size - start))
            digest.update(piece)
            file.write(piece)
    stream.read(-size % _BLOCK)
    return head, digest.hexdigest()


def _headers(stream: _Stream) -> Iterator[tuple[str, int]]:
    """Name and size of each file; the caller reads its contents before it takes the next header."""
    number = 0
    while True:
        block = stream.read(_BLOCK)
        if block == bytes(_BLOCK):
            stream.read_zeros()
            return
        number += 1
        where = f"file {number} of the package"
        if number > _MOST_FILES:
            raise _FormatError("package.size", where, f"a package has at most {_MOST_FILES} files")
        try:
            info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            raise _FormatError("package.format", where, "the tar archive is damaged here") from None
        if info.type != tarfile.REGTYPE:
            raise _FormatError(
                "package.kind", info.name or where, f"is {_kind(info)}; a package has regular files only"
            )
        if info.size < 0:
            raise _FormatError("package.format", info.name, "has a negative size")
        yield info.name, info.size


def _kind(info: tarfile.TarInfo) -> str:
    known = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link", tarfile.DIRTYPE: "a directory"}
    known |= {tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe"}
    return known.get(info.type, "an entry of an unknown type")


def _writer_of(manifest: bytes) -> object:
    """The version of aiperf-orch that a manifest names as its writer; None where it names none.

    Raises:
        _FormatError: when the package is in a format of a newer version. The manifest is a package's first file.
    """
    stated = stated_in_line(manifest)
    writer = writer_in(stated.get("versions"))
    newer = explain_newer(PACKAGE, format_of_package(stated.get("format")), writer)
    if newer:
        raise _FormatError(NEWER_VERSION, MANIFEST, newer)
    return writer


def _limit(full: str, name: str, writer: object) -> int:
    """The largest size of a file with this name."""
    if full.startswith("/") or "\\" in full or ".." in full.split("/"):
        raise _FormatError("package.path", full, "a path that leads out of the package")
    for pattern, size in _CONTENTS:
        if pattern.fullmatch(name):
            return size
    fault = "packages have no file of this name"
    newer = explain_newer(PACKAGE, None, writer, fault)
    raise _FormatError(NEWER_VERSION if newer else "package.name", full, newer or fault)


def _check_strict(name: str, data: bytes, faults: Faults) -> None:
    lines = data.split(b"\n")[:-1] if name.endswith(".jsonl") else [data.removesuffix(b"\n")]
    if name.endswith(".jsonl") and data and not data.endswith(b"\n"):
        faults.add("json.strict", f"{name}:{len(lines) + 1}", "the last line is torn")
    for first in range(0, len(lines), _LINES_AT_ONCE):
        group = lines[first : first + _LINES_AT_ONCE]
        if strict_json.are_plain(group):
            continue
        for number, line in enumerate(group, start=first + 1):
            try:
                strict_json.check(line)
            except ValueError as error:
                faults.add("json.strict", f"{name}:{number}", str(error))


class _Stream:
    """Decompressed bytes of a gzip file, limited in size, and the hash of the compressed bytes."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file, self._limit = file, limit
        self._inflate = zlib.decompressobj(wbits=31)
        self._buffer, self._position, self._inflated = b"", 0, 0
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes."""
        while len(self._buffer) - self._position < size:
            chunk = self._next()
            if not chunk:
                raise _FormatError("package.format", "the package", "ends within a file: it is incomplete")
            self._buffer, self._position = self._buffer[self._position :] + chunk, 0
        data = self._buffer[self._position : self._position + size]
        self._position += size
        return data

    def read_zeros(self) -> None:
        """Read the padding at the end of the archive, and check that no other data follow."""
        rest = self._buffer[self._position :]
        while rest:
            if rest.strip(b"\0"):
                raise _FormatError("package.format", "the package", "has data after the end of the archive")
            rest = self._next()
        if self._inflate.unused_data or self._file.read(1):
            raise _FormatError("package.format", "the package", "has data after the end of the compressed archive")

    def sha256(self) -> str:
        """Hash of the whole compressed file."""
        return self._hash.hexdigest()

    def _next(self) -> bytes:
        """The next decompressed bytes; empty at the end."""
        while not self._inflate.eof:
            compressed = self._inflate.unconsumed_tail
            if not compressed:
                compressed = self._file.read(_CHUNK)
                self._hash.update(compressed)
                if not compressed:
                    raise _FormatError("package.format", "the package", "is cut off: it is incomplete")
            try:
                data = self._inflate.decompress(compressed, _CHUNK)
            except zlib.error:
                raise _FormatError("package.format", "the package", "is not gzip-compressed, or damaged") from None
            self._inflated += len(data)
            if self._inflated > self._limit:
                raise _FormatError("package.size", "the package", f"decompresses to more than {self._limit} bytes")
            if data:
                return data
        return b""
