"""Verification of packed data: the shards hold exactly the listed images, as they were packed or as a tree has them.

Does not import torch.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from aiperf_orch.campaign.durable_files import read_file
from aiperf_orch.trial.data.image_files import ImageFiles, Place
from aiperf_orch.trial.data.listing import SPLITS, Listing, list_tree
from aiperf_orch.trial.data.packed import CRCS, PackedFolder, open_packed, shard_name
from aiperf_orch.trial.data.read_failures import describe
from aiperf_orch.util.progress import begin_part, tracked
from aiperf_orch.util.text import visible

_SHOWN: Final = 20  # differences that are listed


class PackedReport(NamedTuple):
    """Result of a verification: the folder, and what is wrong with it, one line each."""

    folder: PackedFolder
    faults: list[str]


def verify_packed(root: Path, source: Path | None = None) -> PackedReport:
    """Verify packed data; every byte is read.

    Args:
        root: The packed folder.
        source: The tree that it must be equal to, image by image; None compares with the checksums of packing.

    Raises:
        TrialFailedError: BAD_DATA or NODE_FAILURE: one of the two cannot be opened or listed.
    """
    begin_part(f"opening {root}")
    folder = open_packed(root)
    faults = _listing_faults(folder.listing)
    if source is not None:
        begin_part(f"listing {source}")
        faults += _differences(folder.listing, list_tree(source, None), source)
    if not faults:
        faults += list(_content_faults(folder, source))
    return PackedReport(folder, faults)


def _listing_faults(listing: Listing) -> list[str]:
    """Faults of a listing that packing did not write: lines of other classes, out of order or twice, strange paths."""
    known = [os.fsencode(name) for name in listing.classes]
    expected = (
        b"%s/%s" % (split.encode(), name)
        for split in SPLITS
        for name, count in zip(known, listing.counts[split], strict=True)
        for _ in range(count)
    )
    before = b""
    for number, ((path, _), folder) in enumerate(zip(listing.files(), expected, strict=True), 1):
        found, _, name = path.rpartition(b"/")
        is_in_order = path.split(b"/")[:2] != before.split(b"/")[:2] or before < path
        if found != folder or b"\0" in path or name in (b"", b".", b"..") or not is_in_order:
            return [f"line {number} of the listing is not one that packing writes: {visible(os.fsdecode(path))}"]
        before = path
    return []


def _differences(packed: Listing, tree: Listing, source: Path) -> list[str]:
    """Lines that only one of two listings has."""
    if packed.digest == tree.digest:
        return []
    ours, theirs = dict(packed.files()), dict(tree.files())
    lines = [f"{source} has no {visible(os.fsdecode(path))}" for path in ours if path not in theirs]
    lines += [f"only {source} has {visible(os.fsdecode(path))}" for path in theirs if path not in ours]
    lines += [
        f"{visible(os.fsdecode(path))} has {size:,} bytes, in {source} {theirs[path]:,}"
        for path, size in ours.items()
        if theirs.get(path, size) != size
    ]
    rest = len(lines) - _SHOWN
    return lines[:_SHOWN] + ([f"and {rest:,} further differences"] if rest > 0 else [])


def _content_faults(folder: PackedFolder, source: Path | None) -> Iterator[str]:
    """Compare each image with its CRC and with the tree, and each shard with its SHA-256."""
    packed_crcs = read_file(folder.root / CRCS)
    if hashlib.sha256(packed_crcs).hexdigest() != folder.header.crc32_sha256:
        yield f"{CRCS} is not the file that was packed"
        return
    crcs = np.frombuffer(packed_crcs, "<u4").tolist()
    packed, tree = ImageFiles(os.fsencode(folder.root)), ImageFiles(os.fsencode(source or folder.root))
    lines = zip_longest(tracked(list(folder.listing.files()), "comparing images"), crcs)
    for number, shard in enumerate(folder.header.shards):
        digest, offset = hashlib.sha256(), 0
        file = shard_name(number)
        for _ in range(shard.images):
            (path, size), crc = next(lines)
            shown = visible(os.fsdecode(path))
            try:
                data = packed.read(Place(file.encode(), offset, size))
                original = tree.read(Place(path)) if source is not None else data
            except OSError as error:
                yield f"{shown}: cannot be read: {describe(error)}"
                continue
            finally:
                offset += size
            digest.update(data)
            if zlib.crc32(data) != crc:
                yield f"{shown} in {file}: is damaged: its CRC differs"
            elif data != original:
                yield f"{shown} in {file}: is another image than that of {source}"
        if digest.hexdigest() != shard.sha256:
            yield f"{file}: is damaged: its SHA-256 differs"
    packed.close()
