"""Listing of an image tree (train/CLASS/IMAGE and val/CLASS/IMAGE), stored in an index file.

Does not import torch. The images are read by `decoding`.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from aiperf_orch.campaign.durable_files import read_file, replace_file
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data.read_failures import ADVICE, is_node_failure
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util.errors import AiperfError

SPLITS: Final = ("train", "val")
_THREADS: Final = 32  # a parallel file system answers many requests at once
_IMAGES: Final = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_FORMAT: Final = 1
_MAX_TEXT: Final = 1 << 32  # bytes of a listing: some 80 million images
_RANKED_SIDE: Final = 224  # pixels, side of the images of ImageNet-1k in a rankable result
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class UnreadableFolderError(TrialFailedError):
    """BAD_DATA: a folder does not exist or is not readable, because of the dataset or of this node's file systems."""

    def __init__(self, message: str) -> None:
        super().__init__(EndReason.BAD_DATA, message)


@dataclass(frozen=True, eq=False)
class Listing:
    """All images of a tree, training images first, sorted by class and name.

    `text` has a line for each image: `train/CLASS/NAME BYTES`. `counts` has the number of images of each class for each
    split. `key` identifies the tree and its state; `is_new` says that the listing was not read from an index.
    """

    text: bytes
    classes: list[str]
    counts: dict[str, list[int]]
    key: str = ""
    is_new: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text).hexdigest()

    def images(self, split: str) -> int:
        """Return the number of images of a split."""
        return sum(self.counts[split])

    def paths(self, split: str, indices: NDArray[np.int64]) -> list[bytes]:
        """Return the paths of images of a split by their indices (from 0), relative to the root."""
        offset = 0 if split == "train" else self.images("train")
        starts = self._starts
        lines = (self.text[starts[i] : starts[i + 1]] for i in (indices + offset).tolist())
        return [line.rpartition(b" ")[0] for line in lines]

    def labels(self, split: str) -> NDArray[np.int64]:
        """Return the class of each image of a split, numbered from 0 in the order of folder names."""
        return np.repeat(np.arange(len(self.classes)), self.counts[split])

    def files(self) -> Iterator[tuple[bytes, int]]:
        """Yield the path of each image, relative to the root, and its size in bytes."""
        for line in self.text.split(b"\n")[:-1]:  # names may contain characters at which `splitlines` splits
            path, _, size = line.rpartition(b" ")
            yield path, int(size)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """Offsets of the lines, and of the end of the last one."""
        ends = np.flatnonzero(np.frombuffer(self.text, np.uint8) == ord("\n")) + 1
        return np.concatenate([np.zeros(1, np.int64), ends])

    def to_bytes(self) -> bytes:
        """Serialize the listing."""
        header = {
            "format": _FORMAT,
            "key": self.key,
            "sha256": self.digest,
            "classes": self.classes,
            "counts": self.counts,
        }
        return json.dumps(header).encode() + b"\n" + zlib.compress(self.text, 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> Listing:
        """Read a listing that `to_bytes` wrote.

        Raises:
            ValueError: If it is damaged, or of another format.
        """
        head, _, body = data.partition(b"\n")
        try:
            header: dict[str, Any] = json.loads(head)
            listing = cls(_decompressed(body), header["classes"], header["counts"], header["key"])
            stated = header["format"], header["sha256"]
            numbers = [len(listing.counts[split]) for split in SPLITS], sum(map(listing.images, SPLITS))
        except (LookupError, TypeError, RecursionError, zlib.error) as error:
            raise ValueError(f"damaged: {error}") from error
        if stated != (_FORMAT, listing.digest):
            raise ValueError("of another format, or damaged")
        if numbers != ([len(listing.classes)] * len(SPLITS), listing.text.count(b"\n")):
            raise ValueError("damaged: its numbers of images are not those of its lines")
        return listing

    def write_index(self, index: Path) -> None:
        """Write the index file from which later trials read the listing."""
        try:
            replace_file(index, self.to_bytes())
        except AiperfError as error:
            print(
                f"warning: the index is not written, the next trial lists again: {error}", file=sys.stderr, flush=True
            )


def _decompressed(body: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    text = decompressor.decompress(body, _MAX_TEXT)
    if not decompressor.eof:
        raise ValueError(f"damaged, or of more than {_MAX_TEXT:,} bytes")
    return text


def list_tree(root: Path, outputs: int | None, index: Path | None = None) -> Listing:
    """List a tree, or read its listing from the index if no class folder has changed since.

    Args:
        root: The folder that contains train and val.
        outputs: The number of classes of the network; None for any number.
        index: The index file; None for no index.

    Raises:
        TrialFailedError: BAD_DATA, if the tree is not valid; the message describes why.
        TransientError: If the index could not be read for minutes; it does not list the tree instead, because all
            trials would do this at once.
    """
    folders = class_folders(root, outputs)
    key = _key(root, folders)
    if index is not None:
        with suppress(FileNotFoundError, ValueError):
            listing = Listing.from_bytes(read_file(index, retry_for=LONG_RETRY_SECONDS))
            if listing.key == key:
                return listing
    return replace(_list_classes(root, folders), key=key, is_new=True)


def class_folders(root: Path, outputs: int | None) -> list[str]:
    """Return the sorted names of the class folders, which are the same in train and val.

    Raises:
        TrialFailedError: BAD_DATA, if there are no class folders, they differ, or they are not as many as `outputs`.
    """
    found: dict[str, list[str]] = {}
    for split in SPLITS:
        try:
            with os.scandir(root / split) as entries:
                found[split] = sorted(item.name for item in entries if item.name[0] != "." and item.is_dir())
        except OSError as error:
            if is_node_failure(error):
                raise node_failure(error, f"{root / split}: cannot be read") from None
            raise UnreadableFolderError(
                f"{root / split}: cannot be read ({error.strerror}): data.path must be the folder that contains "
                "train and val, as seen by this node"
            ) from None
        if not found[split]:
            raise bad_data(f"{root / split}: has no class folders: put the images of each class into a folder")
    train, val = found["train"], found["val"]
    if train != val:
        name = min(set(train) ^ set(val))
        where, missing = ("train", "val") if name in train else ("val", "train")
        raise bad_data(f"{root}: the class folder {name!r} is in {where} but not in {missing}: add or remove it")
    if outputs is not None and len(train) != outputs:
        raise bad_data(
            f"{root}: has {len(train)} class folders, but the network has {outputs} outputs: start a new campaign "
            f"with data.classes: {len(train)}, or correct the tree"
        )
    return train


def check_complete(root: Path, settings: DataRecord, listing: Listing) -> None:
    """Refuse an incomplete ImageNet-1k, because the result of a campaign with it would not be rankable.

    Raises:
        TrialFailedError: BAD_DATA, if the tree has 1000 classes at 224 pixels, but not all images of ImageNet-1k.
    """
    if settings.sizes is None or settings.image_size != _RANKED_SIDE:
        return
    for split, complete in zip(SPLITS, settings.sizes, strict=True):
        if listing.images(split) != complete:
            raise bad_data(
                f"{root / split}: contains {listing.images(split):,} images, ImageNet-1k has {complete:,}, and a "
                "rankable result needs all: complete the tree, or set another data.image_size (then not rankable)"
            )


def data_root(settings: DataRecord) -> Path:
    """Return the folder of the dataset.

    Raises:
        TrialFailedError: BAD_DATA, if the settings have none.
    """
    if settings.path is None:
        raise bad_data(
            f"dataset {settings.name!r} needs its folder: set data.path, or give --data if you run the trial manually"
        )
    return Path(settings.path)


def bad_data(message: str) -> TrialFailedError:
    """Make the error of a dataset that cannot be used."""
    return TrialFailedError(EndReason.BAD_DATA, message)


def node_failure(error: OSError, what: str = "the data cannot be opened") -> TrialFailedError:
    """Make the error of a node that cannot read data, with the reason and advice."""
    file = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    message = f"{socket.gethostname()}: {what} ({file}{error.strerror or error}): the node is at fault, not the data"
    advice = ADVICE.get(error.errno or 0)
    return TrialFailedError(EndReason.NODE_FAILURE, f"{message}; {advice}" if advice else message)


def map_in_threads(function: Callable[[_Item], _Result], items: list[_Item]) -> list[_Result]:
    """Call a function for each item in many threads; returns results in order. An exception prevents further calls."""
    pool = ThreadPoolExecutor(_THREADS)
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _key(root: Path, folders: list[str]) -> str:
    """Key of a tree: a digest of the paths and modification times of its class folders."""
    paths = [root / split / name for split in SPLITS for name in folders]
    try:
        times = map_in_threads(lambda path: path.stat().st_mtime_ns, paths)
    except OSError as error:
        raise _unreadable(error, root) from None
    lines = [f"{path}\t{time}\n" for path, time in zip(paths, times, strict=True)]
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _list_classes(root: Path, folders: list[str]) -> Listing:
    parts = [(split, name) for split in SPLITS for name in folders]
    lines = map_in_threads(lambda part: list_class(root, *part), parts)
    counts = {split: [len(lines[i]) for i, part in enumerate(parts) if part[0] == split] for split in SPLITS}
    return Listing(b"".join(line for part in lines for line in part), folders, counts)


def list_class(root: Path, split: str, name: str) -> list[bytes]:
    """Return the sorted lines of one class.

    A broken image, such as a dangling link, is listed with a size of 0.

    Raises:
        TrialFailedError: BAD_DATA, if the folder has no images or is not readable; NODE_FAILURE, if this node fails.
    """
    folder = root / split / name
    prefix = os.fsencode(f"{split}/{name}/")
    try:
        with os.scandir(folder) as entries:
            found = (
                (os.fsencode(entry.name), _size(entry))
                for entry in entries
                if entry.name[0] != "." and entry.name.lower().endswith(_IMAGES) and "\n" not in entry.name
            )
            files = sorted((name, size) for name, size in found if size is not None)
    except OSError as error:
        raise _unreadable(error, folder) from None
    if not files:
        raise bad_data(f"{folder}: contains no images ({', '.join(_IMAGES)}): add some, or remove the class everywhere")
    return [b"%s%s %d\n" % (prefix, file, size) for file, size in files]


def _size(entry: os.DirEntry[str]) -> int | None:
    """Size of an image in bytes, 0 if its status cannot be read; None if it is not a regular file."""
    try:
        status = entry.stat()
    except OSError as error:
        if is_node_failure(error):
            raise
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _unreadable(error: OSError, folder: Path) -> TrialFailedError:
    if is_node_failure(error):
        return node_failure(error)
    return UnreadableFolderError(f"{error.filename or folder}: cannot be read: {error.strerror}")
