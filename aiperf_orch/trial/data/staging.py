"""Copy of an image tree on the node's own disk, made once for all trials on the node. Does not import torch.

The copy is named by the digest of the listing. It is made under another name and a lock, and renamed when complete.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, groupby
from pathlib import Path
from typing import Final

from aiperf_orch.trial.data.listing import SPLITS, Listing, map_in_threads
from aiperf_orch.trial.data.read_failures import is_node_failure

_FILE_OVERHEAD: Final = 4096  # bytes that a file may take on the disk in addition to its size


def stage_tree(root: Path, listing: Listing, stage: Path, max_broken: int = 0) -> Path:
    """Copy a tree to the node, unless there is a copy; one process of the node copies while the others wait.

    Args:
        root: The tree.
        listing: The listing of the tree.
        stage: The folder of copies on the node's disk.
        max_broken: The number of unreadable training images up to which the copy counts as complete. They are made
            unreadable in the copy.

    Returns:
        The root of the copy; `root`, after a warning, if it cannot be made.
    """
    name = f"aiperf-data-{os.geteuid()}-{listing.digest[:16]}"
    return make_once(root, stage / name, lambda copy: _complete_copy(root, listing, copy, max_broken))


def make_once(root: Path, copy: Path, make: Callable[[Path], Path]) -> Path:
    """Make a copy on the node while other processes of the node that want it wait.

    Args:
        root: What is copied.
        copy: The copy.
        make: Completes the copy if it is not complete; returns the root to read from.

    Returns:
        The root to read from: `root`, after a warning, if the copy cannot be made.
    """
    stage = copy.parent
    try:
        stage.mkdir(parents=True, exist_ok=True)
        with (stage / f".{copy.name}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return make(copy)
    except OSError as error:
        warn_in_place(root, f"{os.fsdecode(error.filename or stage)}: {error.strerror or error}")
        return root


def _complete_copy(root: Path, listing: Listing, copy: Path, max_broken: int) -> Path:
    part = copy.with_name(f"{copy.name}.part")
    if copy.exists():
        if is_own(copy) and _is_complete(copy, listing):
            return copy
        shutil.rmtree(part, ignore_errors=True)
        copy.rename(part)  # files were deleted from it: the remaining ones are not copied again
    with suppress(FileExistsError):
        part.mkdir(mode=0o700)
    if not is_own(part):
        warn_in_place(root, f"{part}: belongs to another user, or others may write to it")
        return root
    for split in SPLITS:
        for folder in listing.classes:
            (part / split / folder).mkdir(parents=True, exist_ok=True)
    source, target = os.fsencode(root), os.fsencode(part)
    classes = [list(files) for _, files in groupby(listing.files(), lambda file: file[0].rpartition(b"/")[0])]
    missing = map_in_threads(lambda files: [file for file in files if not _has(target, *file)], classes)
    count, needed = sum(map(len, missing)), sum(size + _FILE_OVERHEAD for files in missing for _, size in files)
    free = shutil.disk_usage(part).free
    if needed > free:
        warn_in_place(root, f"{part.parent}: {needed:,} bytes are needed, and {free:,} are free")
        return root
    print(f"copying {count:,} images to {part.parent}, once for this node", file=sys.stderr, flush=True)
    try:
        unreadable = list(chain.from_iterable(map_in_threads(lambda files: _copy(source, target, files), missing)))
        if len(unreadable) > max_broken:
            raise unreadable[0]
    except OSError:
        shutil.rmtree(part, ignore_errors=True)  # it may have filled the disk
        raise
    os.sync()
    part.rename(copy)
    return copy


def is_own(folder: Path) -> bool:
    """Whether no other user can have written to the folder."""
    status = folder.lstat()
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022 and folder.is_dir()


def _is_complete(copy: Path, listing: Listing) -> bool:
    """Whether no image was deleted, as by a service that removes old files from a disk."""
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
    """Copy images; returns the errors of unreadable ones, for which unreadable empty files are made."""
    unreadable: list[OSError] = []
    for path, _ in files:
        copy = b"%s/%s" % (target, path)
        try:
            shutil.copyfile(b"%s/%s" % (source, path), copy)
        except OSError as error:
            of_image = isinstance(error, PermissionError) or error.filename == b"%s/%s" % (source, path)
            if not of_image or is_node_failure(error) or not path.startswith(b"train/"):
                raise
            unreadable.append(error)
            with suppress(PermissionError):  # it exists already
                os.close(os.open(copy, os.O_WRONLY | os.O_CREAT, 0))
    return unreadable


def warn_in_place(root: Path, reason: str) -> None:
    """Say in the log of the trial that the data is not copied, and why."""
    print(f"warning: the data is not copied to this node ({reason}): reading from {root}", file=sys.stderr, flush=True)
