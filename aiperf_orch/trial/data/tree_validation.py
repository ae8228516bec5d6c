"""Validation of an image tree, or of packed data, before training: classes, first images, all validation images."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
import torch

from aiperf_orch.campaign.durable_files import file_exists
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data import decoding
from aiperf_orch.trial.data.data_paths import LocatedDataSettings
from aiperf_orch.trial.data.image_files import ImageFiles, Place
from aiperf_orch.trial.data.listing import (
    SPLITS,
    Listing,
    UnreadableFolderError,
    bad_data,
    check_complete,
    class_folders,
    data_root,
    list_class,
    list_tree,
    map_in_threads,
)
from aiperf_orch.trial.data.packed import is_packed, open_packed
from aiperf_orch.trial.data.read_failures import describe, is_node_failure
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError

_SAMPLED_CLASSES: Final = 3  # classes of each split whose first image is decoded before training


def validate_tree(settings: DataRecord) -> None:
    """Validate the class folders and the first images of some classes, which takes a moment.

    Raises:
        TrialFailedError: BAD_DATA, with the reason and the path.
    """
    root = data_root(settings)
    if is_packed(root):
        packed_listing(root, settings)
        return
    for name in class_folders(root, settings.outputs)[:_SAMPLED_CLASSES]:
        for split in SPLITS:
            images = [line.rpartition(b" ")[0] for line in list_class(root, split, name)]
            max_broken = settings.max_broken if split == "train" else 0
            _validate_one(root, [(image, Place(image)) for image in images[: max_broken + 1]], settings.image_size)


def packed_listing(root: Path, settings: DataRecord) -> Listing:
    """Listing of packed data, after validating the number of classes and the first images of some.

    Raises:
        TrialFailedError: BAD_DATA or NODE_FAILURE, with the reason and the path.
    """
    folder = open_packed(root)
    listing = folder.listing
    if len(listing.classes) != settings.outputs:
        raise bad_data(
            f"{root}: has {len(listing.classes)} classes, but the network has {settings.outputs} outputs: start a new "
            f"campaign with data.classes: {len(listing.classes)}, or pack another tree"
        )
    check_complete(root, settings, listing)
    for split in SPLITS:
        max_broken = settings.max_broken if split == "train" else 0
        labels = listing.labels(split)
        for number in range(min(_SAMPLED_CLASSES, len(listing.classes))):
            images = np.flatnonzero(labels == number)[: max_broken + 1]
            places = zip(listing.paths(split, images), folder.places(split, images), strict=True)
            _validate_one(root, list(places), settings.image_size)
    return listing


def _validate_one(root: Path, images: list[tuple[bytes, Place]], size: int) -> None:
    """Raise TrialFailedError if none of some images, given by path and place, can be read."""
    for number, (path, place) in enumerate(images):
        try:
            validate_image(root, path, place, size)
        except TrialFailedError as failure:
            if number == len(images) - 1 or failure.reason is not EndReason.BAD_DATA:
                raise
        else:
            return


def validated_listing(root: Path, settings: DataRecord) -> Listing:
    """List a tree after validating it; the trial that writes the index validates all validation images first.

    Validation images of packed data were validated when they were packed.

    Raises:
        TrialFailedError: BAD_DATA or NODE_FAILURE, with the reason and the path.
    """
    index = settings.index if isinstance(settings, LocatedDataSettings) else None
    writes_index = isinstance(settings, LocatedDataSettings) and settings.writes_index
    if is_packed(root):
        listing = packed_listing(root, settings)
        if index is not None and writes_index and not file_exists(index, retry_for=LONG_RETRY_SECONDS):
            listing.write_index(index)  # on a node that does not see the data, it says that the node is at fault
        return listing
    try:
        validate_tree(settings)
        listing = list_tree(root, settings.outputs, index)
    except UnreadableFolderError as failure:
        if index is not None and file_exists(index, retry_for=LONG_RETRY_SECONDS):
            message = f"{failure}; an earlier trial of this campaign has read it: this node does not see the data"
            raise TrialFailedError(EndReason.NODE_FAILURE, message) from None
        raise
    check_complete(root, settings, listing)
    if index is not None and listing.is_new and writes_index:
        images = listing.images("val")
        print(f"validating {images:,} validation images, once for this campaign", file=sys.stderr, flush=True)
        paths = listing.paths("val", np.arange(images))
        map_in_threads(lambda path: validate_image(root, path, Place(path), settings.image_size), paths)
        listing.write_index(index)
    return listing


def validate_image(root: Path, path: bytes, place: Place, size: int) -> None:
    """Raise TrialFailedError if an image cannot be read."""
    try:
        with closing(ImageFiles(os.fsencode(root))) as files:
            decoding.read_image(files, place, size, None)
    except Exception as error:  # decoders raise many types of exceptions for a broken image
        raise broken_image_error(root, path, describe(error), node_failed=is_node_failure(error)) from None


def broken_image_error(root: Path, path: bytes, reason: str, *, node_failed: bool) -> TrialFailedError:
    """Make the error of an image that cannot be read; `node_failed` says that this node's file system is at fault."""
    message = f"{root / os.fsdecode(path)}: cannot be read ({reason})"
    if node_failed:
        return TrialFailedError(EndReason.NODE_FAILURE, f"{message}: the file system fails on this node")
    return bad_data(f"{message}; repair or replace the image")


def broadcast_listing(make: Callable[[], Listing], device: torch.device, group: ProcessGroup) -> Listing:
    """Make a listing on rank 0 and send it to all workers, so that the file system is queried once (collective)."""
    if group.size == 1:
        return make()
    listing = make() if group.is_rank_0 else None
    packed = bytearray(listing.to_bytes()) if listing else bytearray()
    length = torch.tensor([len(packed)], device=device)
    group.broadcast([length])
    content = torch.empty(int(length), dtype=torch.uint8, device=device)
    if listing:
        content.copy_(torch.frombuffer(packed, dtype=torch.uint8))
    group.broadcast([content])
    return listing or Listing.from_bytes(content.cpu().numpy().tobytes())
