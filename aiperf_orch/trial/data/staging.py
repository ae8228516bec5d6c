"""A copy of an image tree on the node's own disk: made once, used by every later trial on the node. Without torch.

The copy is named by the listing's digest. It is made under another name and a lock, and renamed when it is whole.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Final

from aiperf_orch.trial.data.listing import SPLITS, Listing, in_threads
from aiperf_orch.trial.data.read_failures import is_nodes

_SPARE: Final = 4096  # bytes that a file may take on the disk beyond its own


def staged(root: Path, listing: Listing, stage: Path, max_broken: int = 0) -> Path:
    """The root of the copy, which is made first where there is none; the tree's own root, and a warning, where it fails.

    One process of the node copies; the others, of this trial or another one, wait. Up to `max_broken` training images that
    may not be read are as unreadable in the copy: they are no reason to copy all the others again and again.
    """
    try:
        stage.mkdir(parents=True, exist_ok=True)
        name = f"aiperf-data-{os.geteuid()}-{listing.digest[:16]}"
        with (stage / f".{name}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _copied(root, listing, stage / name, max_broken)
    except OSError as error:
        _warn(root, f"{os.fsdecode(error.filename or stage)}: {error.strerror or error}")
        return root


def _copied(root: Path, listing: Listing, copy: Path, max_broken: int) -> Path:
    part = copy.with_name(f"{copy.name}.part")
    if copy.exists():
        if _is_ours(copy) and _is_whole(copy, listing):
            return copy
        shutil.rmtree(part, ignore_errors=True)
        copy.rename(part)  # something was cleared away: what is left need not be copied
    with suppress(FileExistsError):
        part.mkdir(mode=0o700)
    if not _is_ours(part):
        _warn(root, f"{part}: belongs to somebody else")
        return root
    for split in SPLITS:
        for folder in listing.classes:
            (part / split / folder).mkdir(parents=True, exist_ok=True)
    source, target = os.fsencode(root), os.fsencode(part)
    classes = [list(files) for _, files in groupby(listing.files(), lambda file: file[0].rpartition(b"/")[0])]
    missing = in_threads(lambda files: [file for file in files if not _has(target, *file)], classes)
    count, needed = sum(map(len, missing)), sum(size + _SPARE for files in missing for _, size in files)
    free = shutil.disk_usage(part).free
    if needed > free:
        _warn(root, f"{part.parent}: {needed:,} bytes are needed, and {free:,} are free")
        return root
    print(f"copying {count:,} images to {part.parent}, once for this node", file=sys.stderr, flush=True)
    try:
        unreadable = [
            error for errors in in_threads(lambda files: _copy(source, target, files), missing) for error in errors
        ]
        if len(unreadable) > max_broken:
            raise unreadable[0]
    except OSError:
        shutil.rmtree(part, ignore_errors=True)  # the disk may be full of it
        raise
    os.sync()
    part.rename(copy)
    return copy


def _is_ours(folder: Path) -> bool:
    """Whether nobody else could have put images there."""
    status = folder.lstat()
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022 and folder.is_dir()


def _is_whole(copy: Path, listing: Listing) -> bool:
    """Whether every class has its images still: what clears old files from a disk knows nothing of us."""
    for split in SPLITS:
        for name, count in zip(listing.classes, listing.counts[split], strict=True):
            try:
                if len(os.listdir(copy / split / name)) != count:  # noqa: PTH208
                    return False
            except OSError:
                return False
    return True


def _has(root: bytes, path: bytes, size: int) -> bool:
    try:
        return os.stat(b"%s/%s" % (root, path)).st_size == size  # noqa: PTH116
    except OSError:
        return False


def _copy(source: bytes, target: bytes, files: list[tuple[bytes, int]]) -> list[OSError]:
    """Copy images; as long as one is not whole, its size tells. In place of one that may not be read, none may read."""
    unreadable: list[OSError] = []
    for path, _ in files:
        copy = b"%s/%s" % (target, path)
        try:
            shutil.copyfile(b"%s/%s" % (source, path), copy)
        except OSError as error:
            of_image = isinstance(error, PermissionError) or error.filename == b"%s/%s" % (source, path)
            if not of_image or is_nodes(error) or not path.startswith(b"train/"):
                raise
            unreadable.append(error)
            with suppress(PermissionError):  # it is there from before
                os.close(os.open(copy, os.O_WRONLY | os.O_CREAT, 0))
    return unreadable


def _warn(root: Path, why: str) -> None:
    print(f"warning: the data is not copied to this node ({why}): reading from {root}", file=sys.stderr, flush=True)
