"""Validation of an image tree before training: class folders, first images, all validation images."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
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
from aiperf_orch.trial.data.read_failures import is_node_failure
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError

_SAMPLED_CLASSES: Final = 3  # classes of each split whose first image is decoded before training


def validate_tree(settings: DataRecord) -> None:
    """Validate the class folders and the first images of some classes, which takes a moment.

    Raises:
        TrialFailedError: BAD_DATA, with the reason and the path.
    """
    root = data_root(settings)
    for name in class_folders(root, settings.outputs)[:_SAMPLED_CLASSES]:
        for split in SPLITS:
            images = [line.rpartition(b" ")[0] for line in list_class(root, split, name)]
            max_broken = settings.max_broken if split == "train" else 0
            for number, image in enumerate(images[: max_broken + 1]):
                try:
                    validate_image(root, image, settings.image_size)
                    break
                except TrialFailedError as failure:
                    is_last = number == min(max_broken, len(images) - 1)
                    if is_last or failure.reason is not EndReason.BAD_DATA:
                        raise


def validated_listing(root: Path, settings: DataRecord) -> Listing:
    """List a tree after validating it; the trial that writes the index validates all validation images first.

    Raises:
        TrialFailedError: BAD_DATA or NODE_FAILURE, with the reason and the path.
    """
    index = settings.index if isinstance(settings, LocatedDataSettings) else None
    try:
        validate_tree(settings)
        listing = list_tree(root, settings.outputs, index)
    except UnreadableFolderError as failure:
        if index is not None and file_exists(index, retry_for=LONG_RETRY_SECONDS):
            message = f"{failure}; an earlier trial of this campaign has read it: this node does not see the data"
            raise TrialFailedError(EndReason.NODE_FAILURE, message) from None
        raise
    check_complete(root, settings, listing)
    writes_index = isinstance(settings, LocatedDataSettings) and settings.writes_index
    if index is not None and listing.is_new and writes_index:
        images = listing.images("val")
        print(f"validating {images:,} validation images, once for this campaign", file=sys.stderr, flush=True)
        paths = listing.paths("val", np.arange(images))
        map_in_threads(lambda path: validate_image(root, path, settings.image_size), paths)
        listing.write_index(index)
    return listing


def validate_image(root: Path, path: bytes, size: int) -> None:
    """Raise TrialFailedError if an image cannot be read."""
    try:
        decoding.read_image(os.path.join(os.fsencode(root), path), size, None)  # noqa: PTH118
    except Exception as error:  # decoders raise many types of exceptions for a broken image
        raise broken_image_error(root, path, decoding.describe(error), node_failed=is_node_failure(error)) from None


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
