"""Dataset of images in a tree of folders, such as ImageNet, or packed: decoded by loaders, augmented on the device."""

from __future__ import annotations

import atexit
import math
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final

import numpy as np
import torch

from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data import loader_processes, staging
from aiperf_orch.trial.data.dataset import Batch, Indices
from aiperf_orch.trial.data.decoding import DecodedImages, Decoder, DecodeRequest
from aiperf_orch.trial.data.image_files import Place
from aiperf_orch.trial.data.jpeg import DECODER
from aiperf_orch.trial.data.listing import SPLITS, data_root
from aiperf_orch.trial.data.loader_processes import PIECE, SHARED_MEMORY
from aiperf_orch.trial.data.packed import is_packed, open_packed
from aiperf_orch.trial.data.read_slots import read_slots
from aiperf_orch.trial.data.shard_staging import stage_shards
from aiperf_orch.trial.data.tree_validation import (
    broadcast_listing,
    broken_image_error,
    validate_image,
    validated_listing,
)
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError

_MEAN: Final = (0.485, 0.456, 0.406)  # of the pixels of ImageNet: red, green, blue, from 0 to 1
_DEVIATION: Final = (0.229, 0.224, 0.225)


class ImageTree:
    """A `Dataset` of train/CLASS/IMAGE and val/CLASS/IMAGE, in a tree or packed."""

    def __init__(self, settings: DataRecord, device: torch.device, group: ProcessGroup) -> None:
        """Read the listing, validate the first images, and start the loaders.

        Raises:
            TrialFailedError: BAD_DATA or NODE_FAILURE, with the reason and the path.
        """
        root = data_root(settings)
        listing = broadcast_listing(lambda: validated_listing(root, settings), device, group)
        self._tree = root
        self._packed = open_packed(root, listing) if is_packed(root) else None
        if settings.stage and self._packed:
            root = stage_shards(self._packed, Path(settings.stage), read_slots(settings))
        elif settings.stage:
            root = staging.stage_tree(root, listing, Path(settings.stage), settings.max_broken)
        self.input_shape, self.classes = settings.input_shape, len(listing.classes)
        self.train_images, self.val_images = listing.images("train"), listing.images("val")
        self.digest = listing.digest
        self._listing, self._device, self._max_broken = listing, device, settings.max_broken
        self._labels = {split: listing.labels(split) for split in SPLITS}
        self._root = root
        if group.is_rank_0:
            print(f"JPEGs are decoded by {DECODER}", file=sys.stderr, flush=True)
        self._requests = _Requests()
        loaders = settings.loaders
        if loaders is None:
            loaders = max(1, len(os.sched_getaffinity(0)) // group.local_size)
        loaders = loader_processes.limit_by_shared_memory(loaders, settings.image_size, group)
        self._decoder = Decoder(os.fsencode(root), settings.image_size)
        self._loader = loader_processes.make_loader(self._decoder, self._requests, loaders, device)
        atexit.register(self.close)  # otherwise the interpreter would wait for the loaders at exit
        self._mean, self._scale = (
            torch.tensor(values, device=device).view(1, 3, 1, 1)
            for values in ([255 * mean for mean in _MEAN], [1 / (255 * deviation) for deviation in _DEVIATION])
        )

    def training(self, batches: Sequence[Indices], seed: int) -> Iterator[Batch]:
        """Yield random crops, mirrored at random; the random numbers depend on `seed` and the index of an image."""
        return self._batches("train", batches, seed)

    def validation(self, batches: Sequence[Indices]) -> Iterator[Batch]:
        """Yield the centre crops of the images."""
        return self._batches("val", batches, None)

    def close(self) -> None:
        """End the loaders; the dataset cannot be used afterwards."""
        atexit.unregister(self.close)
        loader_processes.shut_down(self._loader)
        self._decoder.close()

    def _batches(self, split: str, batches: Sequence[Indices], seed: int | None) -> Iterator[Batch]:
        pieces = [np.array_split(indices, math.ceil(len(indices) / PIECE)) for indices in batches]
        self._requests.next_pass = (self._request(split, indices, seed) for indices in chain.from_iterable(pieces))
        decoded = self._limit_broken(self._decoded(), 0 if seed is None else self._max_broken)
        batched = (list(islice(decoded, len(parts))) for parts in pieces)
        return self._copied_ahead(batched) if self._device.type == "cuda" else map(self._to_batch, batched)

    def _request(self, split: str, indices: Indices, seed: int | None) -> DecodeRequest:
        paths = self._listing.paths(split, indices)
        places = self._packed.places(split, indices) if self._packed else [Place(path) for path in paths]
        return DecodeRequest(paths, places, self._labels[split][indices], indices, seed)

    def _decoded(self) -> Iterator[DecodedImages]:
        """Results of the loaders for the requests."""
        try:
            yield from self._loader
        except (RuntimeError, OSError, EOFError) as error:  # OSError, EOFError: killed while it sent images
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            what = "a process that decodes images was killed, but not by the trial"
            why = f"the kernel does that if memory or {SHARED_MEMORY} does not suffice; fewer data.loaders need less"
            raise TrialFailedError(EndReason.NODE_FAILURE, f"{what}: {why} ({error})") from error

    def _limit_broken(self, pieces: Iterator[DecodedImages], limit: int) -> Iterator[DecodedImages]:
        """Yield pieces; raise TrialFailedError if more than `limit` of their images are broken."""
        skipped = 0
        for piece in pieces:
            for path, place, reason, node_failed in piece.broken:
                skipped += 1
                if skipped > limit:
                    if self._root != self._tree:
                        self._check_original(path, place, reason)
                    exceeded = f": data.max_broken allows {limit} in an epoch, and this is one more" if limit else ""
                    raise broken_image_error(self._tree, path, f"{reason}{exceeded}", node_failed=node_failed)
                print(f"skipped {os.fsdecode(path)}, which cannot be read: {reason}", file=sys.stderr, flush=True)
            yield piece

    def _check_original(self, path: bytes, place: Place, reason: str) -> None:
        """Raise NODE_FAILURE if an image is broken in this node's copy, but not in the original tree."""
        try:
            validate_image(self._tree, path, place, self.input_shape[0])
        except TrialFailedError:
            return
        message = f"{self._root / os.fsdecode(path)}: cannot be read ({reason}), but the original in {self._tree} can"
        raise TrialFailedError(EndReason.NODE_FAILURE, f"{message}: this node's copy is damaged: remove {self._root}")

    def _to_batch(self, pieces: list[DecodedImages]) -> Batch:
        """Combine, mirror and normalise pieces on the device; the result is channels last."""
        columns = zip(*(piece[:3] for piece in pieces), strict=True)
        images, mirrored, labels = (
            torch.cat([part.to(self._device, non_blocking=True) for part in column]) for column in columns
        )
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(2), images)
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)  # channels stay last in memory
        skipped = sum(len(piece.broken) for piece in pieces)
        return Batch(pixels.sub_(self._mean).mul_(self._scale), labels, skipped)

    def _copied_ahead(self, batches: Iterator[list[DecodedImages]]) -> Iterator[Batch]:
        """Yield batches; each is copied to the device while the model computes on the one before."""
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))  # on which the mean was computed
        ready: tuple[Batch, torch.cuda.Event] | None = None
        for pieces in batches:
            with torch.cuda.stream(stream):
                following = self._to_batch(pieces), stream.record_event()
            if ready is not None:
                yield _on_current_stream(*ready)
            ready = following
        if ready is not None:
            yield _on_current_stream(*ready)


class _Requests:
    """Sampler of the loaders: `next_pass` is replaced before each pass over the data."""

    next_pass: Iterator[DecodeRequest] = iter(())

    def __iter__(self) -> Iterator[DecodeRequest]:
        return self.next_pass


def _on_current_stream(batch: Batch, made: torch.cuda.Event) -> Batch:
    """Make a batch of another stream safe for use on the stream of the model."""
    current = torch.cuda.current_stream(batch.images.device)
    current.wait_event(made)
    for tensor in batch[:2]:
        tensor.record_stream(current)
    return batch
