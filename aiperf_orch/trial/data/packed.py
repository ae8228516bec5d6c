"""Packed data: the images of a tree in a few files (shards), in the order of its listing. Does not import torch.

A packed folder has `aiperf-data.json` (a `PackedHeader`), `listing` (the tree's `Listing`), `crc32` (that of each
image, 4 bytes little-endian) and `shard-00000`, ...: the images' files one after the other, with nothing between them.
So the listing gives the place of each image, and no file names another one. `packing` makes it, `packed_check` verifies
it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, ValidationError

from aiperf_orch.campaign.durable_files import read_file
from aiperf_orch.records.base import EndReason, Record, Sha256, first_error
from aiperf_orch.trial.data.image_files import Place
from aiperf_orch.trial.data.listing import Listing, bad_data, node_failure
from aiperf_orch.trial.data.read_failures import is_node_failure
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util import strict_json
from aiperf_orch.util.errors import AiperfError, TransientError

HEADER: Final = "aiperf-data.json"
LISTING: Final = "listing"
CRCS: Final = "crc32"
MAX_SHARDS: Final = 256
"""Shards of a packed folder: few enough for each loader to keep all of them open."""

_FORMAT: Final = 1
_MAX_HEADER: Final = 1 << 20  # bytes
_MAX_IMAGE: Final = 1 << 31  # bytes; one image of this size is no photograph
_MAX_IMAGES: Final = 1 << 26
_ADVICE: Final = "pack the tree again by `aiperf-orch data pack`, or set data.path to the tree"
_SIZE: Final = re.compile(rb" (\d+)\n")  # at the end of a line of the listing; names have no newline


class Shard(Record):
    """One file of images: how many, their bytes together, and the file's SHA-256."""

    model_config = ConfigDict(strict=True)

    images: Annotated[int, Field(ge=1, le=_MAX_IMAGES)]
    bytes: Annotated[int, Field(ge=0, le=1 << 56)]
    sha256: Sha256


class PackedHeader(Record):
    """What a packed folder contains; `listing_sha256` is that of the tree's listing, `crc32_sha256` of the CRCs."""

    model_config = ConfigDict(strict=True)

    format: Literal[1] = _FORMAT
    listing_sha256: Sha256
    crc32_sha256: Sha256
    shards: Annotated[list[Shard], Field(min_length=1, max_length=MAX_SHARDS)]


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}"


def is_packed(root: Path) -> bool:
    """Whether a folder contains packed data."""
    return os.path.lexists(root / HEADER)


@dataclass(frozen=True, eq=False)
class PackedFolder:
    """A packed folder whose header, listing and files fit together; `listing` is that of the tree."""

    root: Path
    header: PackedHeader
    listing: Listing

    def places(self, split: str, indices: NDArray[np.int64]) -> list[Place]:
        """Return the places of images of a split by their indices (from 0)."""
        first = 0 if split == "train" else self.listing.images("train")
        images = indices + first
        shards = np.searchsorted(self._first_images, images, side="right") - 1
        offsets, sizes = self._starts[images] - self._starts[self._first_images[shards]], self.sizes[images]
        columns = shards.tolist(), offsets.tolist(), sizes.tolist()
        return [Place(shard_name(shard).encode(), *part) for shard, *part in zip(*columns, strict=True)]

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each image (N,), in the order of the listing."""
        return image_sizes(self.listing)

    @cached_property
    def _first_images(self) -> NDArray[np.int64]:
        """Number of the first image of each shard."""
        return np.cumsum([0, *(shard.images for shard in self.header.shards)])[:-1]

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """Bytes of all images before each one."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.sizes)])

    def check(self) -> None:
        """Check that the shards hold as many images and bytes as the listing.

        Raises:
            ValueError: With the reason.
        """
        images = sum(shard.images for shard in self.header.shards)
        if images != len(self.sizes):
            raise ValueError(f"its shards have {images:,} images, its listing has {len(self.sizes):,}")
        ends = np.cumsum([shard.images for shard in self.header.shards])
        for number, (shard, end) in enumerate(zip(self.header.shards, ends.tolist(), strict=True)):
            listed = int(self._starts[end] - self._starts[end - shard.images])
            if listed != shard.bytes:
                raise ValueError(f"{shard_name(number)} has {shard.bytes:,} bytes, its images have {listed:,}")


def image_sizes(listing: Listing) -> NDArray[np.int64]:
    """Bytes of each image of a listing (N,).

    Raises:
        ValueError: If a line has no size, or one that no image has.
    """
    digits = _SIZE.findall(listing.text)
    if len(digits) != listing.text.count(b"\n") or len(digits) > _MAX_IMAGES:
        raise ValueError(f"{LISTING}: a line has no size, or there are too many lines")
    if max(map(len, digits), default=0) > len(str(_MAX_IMAGE)):
        raise ValueError(f"{LISTING}: an image has more than {_MAX_IMAGE:,} bytes")
    sizes = np.array(digits, np.bytes_).astype(np.int64)
    if sizes.max(initial=0) > _MAX_IMAGE:
        raise ValueError(f"{LISTING}: an image has more than {_MAX_IMAGE:,} bytes")
    return sizes


def open_packed(root: Path, listing: Listing | None = None) -> PackedFolder:
    """Open a packed folder.

    Args:
        root: The folder.
        listing: Its listing, if it was read before.

    Raises:
        TrialFailedError: BAD_DATA, if it is not complete or damaged; NODE_FAILURE, if this node cannot read it.
    """
    try:
        return _opened(root, listing)
    except OSError as error:
        if is_node_failure(error):
            raise node_failure(error, f"{root}: cannot be read") from None
        raise bad_data(f"{error.filename or root}: cannot be read ({error.strerror}): {_ADVICE}") from None
    except TransientError as error:
        raise TrialFailedError(EndReason.NODE_FAILURE, f"{error}: the node is at fault, not the data") from None
    except (ValueError, AiperfError) as error:
        raise bad_data(f"{root}: its packed data is not complete: {error}: {_ADVICE}") from None


def _opened(root: Path, listing: Listing | None) -> PackedFolder:
    header = _read_header(root / HEADER)
    if listing is None:
        listing = Listing.from_bytes(read_file(root / LISTING))
    if listing.digest != header.listing_sha256:
        raise ValueError(f"{LISTING} is not the one that {HEADER} names")
    folder = PackedFolder(root, header, listing)
    folder.check()
    for number, shard in enumerate(header.shards):
        size = (root / shard_name(number)).stat().st_size
        if size != shard.bytes:
            raise ValueError(f"{shard_name(number)} has {size:,} bytes instead of {shard.bytes:,}")
    return folder


def _read_header(path: Path) -> PackedHeader:
    data = read_file(path, most=_MAX_HEADER + 1)
    if len(data) > _MAX_HEADER:
        raise ValueError(f"{HEADER} has more than {_MAX_HEADER:,} bytes")
    content = strict_json.loads(data)
    written = content.get("format") if isinstance(content, dict) else None
    if isinstance(written, int) and written > _FORMAT:
        raise ValueError(f"{HEADER} is of format {written}, this version reads {_FORMAT}: install a later version")
    try:
        return PackedHeader.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{HEADER}: {first_error(error)}") from None
