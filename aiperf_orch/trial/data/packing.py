"""Packing of an image tree into shards: resumable, each shard once, and the folder appears only when it is complete.

The folder is made as DEST.part. A record beside each complete shard says what was written, so that the next call goes
on. Every image is decoded before it is packed. Does not import torch.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import numpy as np
from PIL import Image
from pydantic import ConfigDict, Field, ValidationError

from aiperf_orch.campaign.durable_files import read_file, replace_file
from aiperf_orch.records.base import Record, Sha256
from aiperf_orch.trial.data.listing import Listing, list_tree
from aiperf_orch.trial.data.packed import (
    CRCS,
    HEADER,
    LISTING,
    MAX_SHARDS,
    PackedHeader,
    Shard,
    image_sizes,
    is_packed,
    open_packed,
    shard_name,
)
from aiperf_orch.trial.data.read_failures import describe
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.progress import begin_part, tracked
from aiperf_orch.util.units import count, format_bytes

SHARD_BYTES: Final = 1 << 30
"""Least size of a shard: the file systems of clusters read files of this size at full speed."""

_AT_ONCE: Final = 256  # images that are in memory
_MAX_THREADS: Final = 16
_RECORD_SUFFIX: Final = ".json"
_File = tuple[bytes, int]  # path and size


class ImageFault(NamedTuple):
    """An image that cannot be used: its path in the tree, and the reason."""

    path: bytes
    reason: str


class PackingFaultsError(AiperfError):
    """Images that prevent packing; `faults` has all of them."""

    def __init__(self, faults: list[ImageFault]) -> None:
        super().__init__(f"{count(len(faults), 'image')} cannot be packed")
        self.faults = faults


class _ShardRecord(Record):
    """What was written of a shard: `broken` has the number of each image in it that cannot be decoded, and why.

    `lines_sha256` is that of its lines of the listing: a shard whose images have changed is written again.
    """

    model_config = ConfigDict(strict=True)

    shard: Shard
    lines_sha256: Sha256
    crcs: list[Annotated[int, Field(ge=0, lt=1 << 32)]]
    broken: list[tuple[int, str]]


class _ReadImage(NamedTuple):
    """The file of an image; `unreadable` and `undecodable` say why it cannot be used."""

    data: bytes = b""
    unreadable: str = ""
    undecodable: str = ""


def pack(source: Path, target: Path, shard_bytes: int = SHARD_BYTES) -> list[ImageFault]:
    """Pack a tree; an earlier call that did not end is continued.

    Args:
        source: The tree: train/CLASS/IMAGE and val/CLASS/IMAGE.
        target: The packed folder, which must not exist.
        shard_bytes: The least size of a shard, which is larger if there would be more than 256 shards.

    Returns:
        The training images that cannot be decoded; they are packed as they are, for trials skip them, too.

    Raises:
        PackingFaultsError: Images cannot be read, or are validation images that cannot be decoded.
        UsageError: The folder exists, its disk has no room, or the tree has changed.
        TrialFailedError: The tree cannot be listed.
    """
    if os.path.lexists(target):
        advice = "it is packed: compare it by `aiperf-orch data verify`" if is_packed(target) else "name a new folder"
        raise UsageError(f"{target}: exists: {advice}")
    begin_part(f"listing {source}")
    listing = list_tree(source, None)
    sizes = image_sizes(listing).tolist()
    part = target.with_name(f"{target.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    with _only_packer(part):
        ends = _shard_ends(sizes, shard_bytes)
        _check_room(part, sum(sizes))
        records, broken, fatal = [], [], []
        files = list(listing.files())
        counted = tracked(files, "packing images")
        for number, (first, end) in enumerate(zip([0, *ends], ends, strict=False)):
            chosen = files[first:end]
            record, faults = _packed_shard(source, part / shard_name(number), chosen, counted)
            fatal += faults
            if record is not None:
                records.append(record)
                broken += [ImageFault(chosen[image][0], reason) for image, reason in record.broken]
        if fatal:
            raise PackingFaultsError(fatal + broken)
        begin_part(f"listing {source} again")
        if list_tree(source, None).digest != listing.digest:
            raise UsageError(f"{source}: has changed while it was packed: call the same command again")
        _complete(part, listing, records)
    part.rename(target)
    _sync(target.parent)
    return broken


@contextmanager
def _only_packer(part: Path) -> Iterator[None]:
    """Prevent a second packer of the same folder, where the file system has locks."""
    lock = part / ".lock"
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{part}: is being packed by another process") from None
        except OSError:  # a file system without locks
            pass
        yield


def _shard_ends(sizes: list[int], shard_bytes: int) -> list[int]:
    """Number of the image after each shard; every shard but the last has at least `shard_bytes`."""
    least = max(shard_bytes, -(-sum(sizes) // MAX_SHARDS))
    ends, filled = [], 0
    for number, size in enumerate(sizes, 1):
        filled += size
        if filled >= least:
            ends.append(number)
            filled = 0
    return ends if ends and ends[-1] == len(sizes) else [*ends, len(sizes)]


def _check_room(part: Path, needed: int) -> None:
    written = sum(file.stat().st_size for file in part.glob("shard-*"))
    free = shutil.disk_usage(part).free
    if needed - written > free:
        raise UsageError(f"{part}: {format_bytes(needed - written)} are needed, and {format_bytes(free)} are free")


def _packed_shard(
    source: Path, path: Path, files: list[_File], counted: Iterator[_File]
) -> tuple[_ShardRecord | None, list[ImageFault]]:
    """Pack a shard, unless it was packed before; returns its record, or the faults that prevent it.

    `counted` gives the same images, and counts those that are done.
    """
    kept = path.with_name(path.name + _RECORD_SUFFIX)
    record = _kept_record(kept, path, files)
    if record is not None:
        for _ in islice(counted, len(files)):
            pass
        return record, []
    record, faults = _write_shard(source, path, files, counted)
    if record is None:
        path.unlink()
    else:
        replace_file(kept, record.to_line().encode())
    return record, faults


def _kept_record(kept: Path, path: Path, files: list[_File]) -> _ShardRecord | None:
    """Record of a shard that is complete; None if it has to be written."""
    try:
        record = _ShardRecord.model_validate_json(read_file(kept))
        size = path.stat().st_size
    except (FileNotFoundError, ValidationError):
        return None
    is_complete = (len(record.crcs), record.shard.bytes) == (len(files), size)
    return record if is_complete and record.lines_sha256 == _digest_of_lines(files) else None


def _digest_of_lines(files: list[_File]) -> str:
    return hashlib.sha256(b"".join(b"%s %d\n" % file for file in files)).hexdigest()


def _write_shard(
    source: Path, path: Path, files: list[_File], counted: Iterator[_File]
) -> tuple[_ShardRecord | None, list[ImageFault]]:
    digest, crcs = hashlib.sha256(), []
    broken: list[tuple[int, str]] = []
    faults: list[ImageFault] = []
    with path.open("wb") as shard:
        images = zip(islice(counted, len(files)), _read_all(source, files), strict=True)
        for number, ((name, _), image) in enumerate(images):
            if image.unreadable or (image.undecodable and not name.startswith(b"train/")):
                faults.append(ImageFault(name, image.unreadable or image.undecodable))
            elif image.undecodable:
                broken.append((number, image.undecodable))
            shard.write(image.data)
            digest.update(image.data)
            crcs.append(zlib.crc32(image.data))
        shard.flush()
        os.fsync(shard.fileno())
        written = shard.tell()
    if faults:
        return None, faults + [ImageFault(files[number][0], reason) for number, reason in broken]
    written_shard = Shard(images=len(files), bytes=written, sha256=digest.hexdigest())
    record = _ShardRecord(shard=written_shard, lines_sha256=_digest_of_lines(files), crcs=crcs, broken=broken)
    return record, []


def _read_all(source: Path, files: list[_File]) -> Iterator[_ReadImage]:
    """Read and decode images in threads, in order."""
    root = os.fsencode(source)
    with ThreadPoolExecutor(min(_MAX_THREADS, len(os.sched_getaffinity(0)))) as pool:
        for first in range(0, len(files), _AT_ONCE):
            yield from pool.map(lambda file: _read(root, *file), files[first : first + _AT_ONCE])


def _read(root: bytes, path: bytes, size: int) -> _ReadImage:
    try:
        with open(os.path.join(root, path), "rb") as file:  # noqa: PTH118, PTH123
            data = file.read()
    except OSError as error:
        return _ReadImage(unreadable=describe(error))
    if len(data) != size:
        return _ReadImage(unreadable=f"has {len(data):,} bytes instead of the listed {size:,}: it has changed")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.convert("RGB")
    except Exception as error:  # decoders raise many types of exceptions for a broken image
        return _ReadImage(data, undecodable=describe(error))
    return _ReadImage(data)


def _complete(part: Path, listing: Listing, records: list[_ShardRecord]) -> None:
    """Write header and CRCs, check that all fits together, and remove what only packing needed."""
    crcs = np.concatenate([np.array(record.crcs, "<u4") for record in records]).tobytes()
    header = PackedHeader(
        listing_sha256=listing.digest,
        crc32_sha256=hashlib.sha256(crcs).hexdigest(),
        shards=[record.shard for record in records],
    )
    replace_file(part / LISTING, listing.to_bytes())
    replace_file(part / CRCS, crcs)
    replace_file(part / HEADER, header.model_dump_json(indent=1).encode())
    for name in (LISTING, CRCS, HEADER):
        shutil.copymode(part / shard_name(0), part / name)  # whoever may read the shards may read these
    open_packed(part)
    needed = {HEADER, LISTING, CRCS, *map(shard_name, range(len(records)))}
    for file in part.iterdir():  # records, and shards of a tree that had more images
        if file.name not in needed:
            file.unlink()
    _sync(part)


def _sync(folder: Path) -> None:
    """Make new names survive a crash, where the file system supports it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)
