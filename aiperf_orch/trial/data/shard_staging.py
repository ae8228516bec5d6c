"""Copy of packed data on the node's own disk, made once for all trials on the node. Does not import torch.

A shard is complete in the copy when its SHA-256 was that of packing: a copy that was interrupted goes on with the next.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final

from aiperf_orch.trial.data.listing import bad_data
from aiperf_orch.trial.data.packed import PackedFolder, Shard, shard_name
from aiperf_orch.trial.data.read_slots import HeldSlot, ReadSlots
from aiperf_orch.trial.data.staging import is_own, make_once, warn_in_place
from aiperf_orch.util.units import count, format_bytes, format_duration

_PIECE: Final = 8 << 20  # bytes
_MESSAGE_SECONDS: Final = 30.0
_TRIES: Final = 2  # of a shard whose checksum differs


def stage_shards(folder: PackedFolder, stage: Path, slots: ReadSlots | None = None) -> Path:
    """Copy packed data to the node, unless there is a copy; one process of the node copies while the others wait.

    Args:
        folder: The packed data.
        stage: The folder of copies on the node's disk.
        slots: Limit of the nodes that copy at the same time; None for no limit.

    Returns:
        The root of the copy; that of the packed data, after a warning, if it cannot be copied.

    Raises:
        TrialFailedError: BAD_DATA, if a shard is not the one that was packed.
    """
    digest = hashlib.sha256("".join(shard.sha256 for shard in folder.header.shards).encode()).hexdigest()
    name = f"aiperf-packed-{os.geteuid()}-{digest[:16]}"
    return make_once(folder.root, stage / name, lambda copy: _complete_copy(folder, copy, slots))


def _complete_copy(folder: PackedFolder, copy: Path, slots: ReadSlots | None) -> Path:
    part = copy.with_name(f"{copy.name}.part")
    if copy.exists():
        if is_own(copy) and not _missing(folder, copy):
            return copy
        shutil.rmtree(part, ignore_errors=True)
        copy.rename(part)  # shards were deleted from it: the remaining ones are not copied again
    with suppress(FileExistsError):
        part.mkdir(mode=0o700)
    if not is_own(part):
        warn_in_place(folder.root, f"{part}: belongs to another user, or others may write to it")
        return folder.root
    missing = _missing(folder, part)
    needed, free = sum(shard.bytes for _, shard in missing), shutil.disk_usage(part).free
    if needed > free:
        warn_in_place(folder.root, f"{part.parent}: {needed:,} bytes are needed, and {free:,} are free")
        return folder.root
    try:
        _copy_all(folder.root, part, missing, slots)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            shutil.rmtree(part, ignore_errors=True)  # others need the room
        raise
    part.rename(copy)
    return copy


def _missing(folder: PackedFolder, copy: Path) -> list[tuple[str, Shard]]:
    """Shards that the copy does not have, or not as a whole."""
    found = []
    for number, shard in enumerate(folder.header.shards):
        try:
            size = (copy / shard_name(number)).stat().st_size
        except OSError:
            size = -1
        if size != shard.bytes:
            found.append((shard_name(number), shard))
    return found


def _copy_all(source: Path, target: Path, shards: list[tuple[str, Shard]], slots: ReadSlots | None) -> None:
    number, size = count(len(shards), "shard"), format_bytes(sum(shard.bytes for _, shard in shards))
    with slots.held() if slots else nullcontext() as slot:
        _say(f"copying {number} ({size}) to {target.parent}, once for this node")
        begun = said = time.monotonic()
        for copied, (name, shard) in enumerate(shards):
            if time.monotonic() - said > _MESSAGE_SECONDS:
                said = time.monotonic()
                _say(f"copied {copied:,} of {number} in {format_duration(said - begun)}")
            _copy(source / name, target / name, shard, slot)
    _say(f"copied {number} in {format_duration(time.monotonic() - begun)}")


def _copy(source: Path, target: Path, shard: Shard, slot: HeldSlot | None) -> None:
    """Copy a shard; it has its name only when its checksum is the right one."""
    partial = target.with_name(f".{target.name}.part")
    for _ in range(_TRIES):
        digest = hashlib.sha256()
        with source.open("rb", buffering=0) as read, partial.open("wb") as written:
            while piece := read.read(_PIECE):
                if slot is not None:
                    slot.keep()
                digest.update(piece)
                written.write(piece)
            written.flush()
            os.fsync(written.fileno())
        if digest.hexdigest() == shard.sha256:
            partial.rename(target)
            return
    partial.unlink()
    raise bad_data(f"{source}: its SHA-256 is not that of the packed shard: it is damaged: pack the tree again")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
