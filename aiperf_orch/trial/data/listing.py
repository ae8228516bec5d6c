"""The listing of an image tree (train/CLASS/IMAGE and val/CLASS/IMAGE): made once, kept as an index, checked each time.

Without torch. What the files hold is `decoding`'s.
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
from aiperf_orch.trial.data.read_failures import ADVICE, is_nodes
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util.errors import AiperfError

SPLITS: Final = ("train", "val")
_THREADS: Final = 32  # a parallel file system answers many at once
_IMAGES: Final = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_FORMAT: Final = 1
_RANKED_SIDE: Final = 224  # pixels, of ImageNet-1k's images in a ranked result
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Unseen(TrialFailedError):
    """BAD_DATA: a folder cannot be read, be it the data set's fault or the node's."""

    def __init__(self, message: str) -> None:
        super().__init__(EndReason.BAD_DATA, message)


@dataclass(frozen=True, eq=False)
class Listing:
    """Every image of a tree, first those that train, by class and name.

    `text` has a line for each, `train/CLASS/NAME BYTES`; `counts` has, of each split, the images of each class. `key` names
    the tree as it was listed, and `new` says that this was just now.
    """

    text: bytes
    classes: list[str]
    counts: dict[str, list[int]]
    key: str = ""
    new: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text).hexdigest()

    def images(self, split: str) -> int:
        """How many images a split has."""
        return sum(self.counts[split])

    def paths(self, split: str, indices: NDArray[np.int64]) -> list[bytes]:
        """The images of a split by their indices from 0, relative to the root."""
        offset = 0 if split == "train" else self.images("train")
        starts = self._starts
        lines = (self.text[starts[i] : starts[i + 1]] for i in (indices + offset).tolist())
        return [line.rpartition(b" ")[0] for line in lines]

    def labels(self, split: str) -> NDArray[np.int64]:
        """The class of each image of a split, counted from 0 in the order of the folders' names."""
        return np.repeat(np.arange(len(self.classes)), self.counts[split])

    def files(self) -> Iterator[tuple[bytes, int]]:
        """Every image, relative to the root, and its bytes."""
        for line in self.text.split(b"\n")[:-1]:  # a name may hold what `splitlines` takes for a line's end
            path, _, size = line.rpartition(b" ")
            yield path, int(size)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """Where each line begins, and where the last one ends."""
        ends = np.flatnonzero(np.frombuffer(self.text, np.uint8) == ord("\n")) + 1
        return np.concatenate([np.zeros(1, np.int64), ends])

    def packed(self) -> bytes:
        """The listing as `unpacked` reads it."""
        header = {
            "format": _FORMAT,
            "key": self.key,
            "sha256": self.digest,
            "classes": self.classes,
            "counts": self.counts,
        }
        return json.dumps(header).encode() + b"\n" + zlib.compress(self.text, 1)

    @classmethod
    def unpacked(cls, data: bytes) -> Listing:
        """The listing that was packed.

        Raises:
            ValueError: when it is damaged, or of another format.
        """
        head, _, body = data.partition(b"\n")
        try:
            header: dict[str, Any] = json.loads(head)
            listing = cls(zlib.decompress(body), header["classes"], header["counts"], header["key"])
            stated = header["format"], header["sha256"]
        except (LookupError, TypeError, zlib.error) as error:
            raise ValueError(f"damaged: {error}") from error
        if stated != (_FORMAT, listing.digest):
            raise ValueError("of another format, or damaged")
        return listing

    def keep(self, index: Path) -> None:
        """Write the file by which later trials need not list the tree."""
        try:
            replace_file(index, self.packed())
        except AiperfError as error:
            print(f"the listing is not kept, and the next trial makes it anew: {error}", file=sys.stderr, flush=True)


def list_tree(root: Path, outputs: int, index: Path | None = None) -> Listing:
    """The listing of a tree, from its index where there is one and no class folder has changed since.

    Args:
        root: the folder that holds train and val.
        outputs: how many classes the network tells apart.
        index: the file that keeps the listing.

    Raises:
        TrialFailedError: BAD_DATA, saying what is wrong with the tree.
        TransientError: when the index could not be read for minutes: all images are listed once, not by each trial.
    """
    folders = class_folders(root, outputs)
    key = _key(root, folders)
    if index is not None:
        with suppress(FileNotFoundError, ValueError):
            listing = Listing.unpacked(read_file(index, retry_for=LONG_RETRY_SECONDS))
            if listing.key == key:
                return listing
    return replace(_listed(root, folders), key=key, new=True)


def class_folders(root: Path, outputs: int) -> list[str]:
    """The names of the class folders, sorted, the same in train and val.

    Raises:
        TrialFailedError: BAD_DATA, when the tree is not one of images by class, or its classes are not the network's.
    """
    found: dict[str, list[str]] = {}
    for split in SPLITS:
        try:
            with os.scandir(root / split) as entries:
                found[split] = sorted(item.name for item in entries if item.name[0] != "." and item.is_dir())
        except OSError as error:
            if is_nodes(error):
                raise node_failure(error, f"{root / split}: cannot be read") from None
            raise Unseen(
                f"{root / split}: cannot be read ({error.strerror}): data.path must be the folder that holds "
                "train and val, as this node sees it"
            ) from None
        if not found[split]:
            raise bad(f"{root / split}: has no class folders: each class's images belong into a folder of their own")
    train, val = found["train"], found["val"]
    if train != val:
        name = min(set(train) ^ set(val))
        where, missing = ("train", "val") if name in train else ("val", "train")
        raise bad(f"{root}: the class folder {name!r} is in {where}, and not in {missing}: both must have the same")
    if len(train) != outputs:
        raise bad(
            f"{root}: has {len(train)} class folders, and the network {outputs} outputs: begin the campaign anew "
            f"with data.classes: {len(train)}, or mend the tree"
        )
    return train


def check_whole(root: Path, settings: DataRecord, listing: Listing) -> None:
    """Refuse a part of ImageNet-1k under its name: a campaign on it would end without a rank.

    Raises:
        TrialFailedError: BAD_DATA, when images of 1000 classes at 224 pixels, as ranked, are not as many as ImageNet-1k has.
    """
    if settings.sizes is None or settings.image_size != _RANKED_SIDE:
        return
    for split, whole in zip(SPLITS, settings.sizes, strict=True):
        if listing.images(split) != whole:
            raise bad(
                f"{root / split}: holds {listing.images(split):,} images, ImageNet-1k has {whole:,} there, and a ranked "
                "result needs them all: complete the tree, or set another data.image_size for a campaign without a rank"
            )


def root_of(settings: DataRecord) -> Path:
    """The folder that the settings name.

    Raises:
        TrialFailedError: BAD_DATA, when they name none.
    """
    if settings.path is None:
        raise bad(f"data set {settings.name!r} needs its folder: set data.path, or by hand give --data")
    return Path(settings.path)


def bad(message: str) -> TrialFailedError:
    """The failure of a data set that cannot be used."""
    return TrialFailedError(EndReason.BAD_DATA, message)


def node_failure(error: OSError, what: str = "the data cannot be opened") -> TrialFailedError:
    """The failure of a node that cannot read data: what failed there, and what to do."""
    place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    said = f"{socket.gethostname()}: {what} ({place}{error.strerror or error}): the node is at fault, not the data"
    advice = ADVICE.get(error.errno or 0)
    return TrialFailedError(EndReason.NODE_FAILURE, f"{said}; {advice}" if advice else said)


def in_threads(deed: Callable[[_Item], _Result], items: list[_Item]) -> list[_Result]:
    """A deed on each item by many threads, in order; when one fails, those that have not begun are left."""
    pool = ThreadPoolExecutor(_THREADS)
    try:
        return list(pool.map(deed, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _key(root: Path, folders: list[str]) -> str:
    """What a tree is known by: where it is, and when each class folder was changed last."""
    paths = [root / split / name for split in SPLITS for name in folders]
    try:
        times = in_threads(lambda path: path.stat().st_mtime_ns, paths)
    except OSError as error:
        raise _unseen(error, root) from None
    lines = [f"{path}\t{time}\n" for path, time in zip(paths, times, strict=True)]
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _listed(root: Path, folders: list[str]) -> Listing:
    every = [(split, name) for split in SPLITS for name in folders]
    lines = in_threads(lambda part: images_of(root, *part), every)
    counts = {split: [len(lines[i]) for i, part in enumerate(every) if part[0] == split] for split in SPLITS}
    return Listing(b"".join(line for part in lines for line in part), folders, counts)


def images_of(root: Path, split: str, name: str) -> list[bytes]:
    """The lines of one class, sorted.

    An image that cannot be looked at, as a link that leads nowhere, is listed without a byte: it is a broken one.

    Raises:
        TrialFailedError: BAD_DATA, when it has no images or cannot be read; NODE_FAILURE, when only this node cannot.
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
        raise _unseen(error, folder) from None
    if not files:
        raise bad(f"{folder}: holds no images ({', '.join(_IMAGES)}): fill it, or remove the class everywhere")
    return [b"%s%s %d\n" % (prefix, file, size) for file, size in files]


def _size(entry: os.DirEntry[str]) -> int | None:
    """The bytes of an image, 0 where it cannot be looked at; None of what is no file."""
    try:
        status = entry.stat()
    except OSError as error:
        if is_nodes(error):
            raise
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _unseen(error: OSError, folder: Path) -> TrialFailedError:
    """The failure of a folder that cannot be read."""
    if is_nodes(error):
        return node_failure(error)
    return Unseen(f"{error.filename or folder}: cannot be read: {error.strerror}")
