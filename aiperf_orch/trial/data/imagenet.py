"""Images in a tree of folders, as ImageNet is kept: decoded by processes of their own, finished on the device."""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from aiperf_orch.campaign.durable_files import file_exists
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data import decoding, staging
from aiperf_orch.trial.data.data_paths import PlacedData
from aiperf_orch.trial.data.dataset import Batch, Indices
from aiperf_orch.trial.data.decoding import Decoded, Decoder, Order
from aiperf_orch.trial.data.listing import (
    SPLITS,
    Listing,
    Unseen,
    bad,
    check_whole,
    class_folders,
    images_of,
    in_threads,
    list_tree,
    root_of,
)
from aiperf_orch.trial.data.read_failures import is_nodes
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError

_MEAN: Final = (0.485, 0.456, 0.406)  # of ImageNet's pixels, red, green, blue, from 0 to 1
_DEVIATION: Final = (0.229, 0.224, 0.225)
_LOOKED_AT: Final = 3  # classes of each split whose first image is decoded before anything is trained
_PIECE: Final = 64  # images that a loader decodes at a time: less than a batch, so that the first one comes soon
_AHEAD: Final = 4  # pieces that each loader has ready
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108  PyTorch's choice
_LONGEST_SOCKETS: Final = 107 - len(
    "/pymp-12345678/listener-12345678"
)  # bytes of the folder that multiprocessing takes
_SHORT_FOLDERS: Final = ("/tmp", "/var/tmp", _SHARED_MEMORY)  # noqa: S108  a private folder is made there
_OURS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)


class ImageTree:
    """A `Dataset` over train/CLASS/IMAGE and val/CLASS/IMAGE."""

    def __init__(self, settings: DataRecord, device: torch.device, world: ProcessGroup) -> None:
        """Read the listing and validate_dataset at the first images.

        Raises:
            TrialFailedError: BAD_DATA, saying what is wrong with the tree and where.
        """
        root = root_of(settings)
        listing = _shared(lambda: _listed(root, settings), device, world)
        self._tree = root
        if settings.stage:
            root = staging.staged(root, listing, Path(settings.stage), settings.max_broken)
        self.input_shape, self.classes = settings.input_shape, len(listing.classes)
        self.train_images, self.val_images = listing.images("train"), listing.images("val")
        self.digest = listing.digest
        self._listing, self._device, self._max_broken = listing, device, settings.max_broken
        self._labels = {split: listing.labels(split) for split in SPLITS}
        self._root = root
        self._orders = _Orders()
        loaders = settings.loaders
        if loaders is None:
            loaders = max(1, len(os.sched_getaffinity(0)) // world.local_size)
        loaders = _that_fit(loaders, settings.image_size, world)
        self._loader = DataLoader(
            Decoder(os.fsencode(root), settings.image_size),
            batch_size=None,
            sampler=self._orders,
            num_workers=loaders,
            collate_fn=decoding.as_it_is,
            worker_init_fn=decoding.die_with_parent,
            pin_memory=device.type != "cpu",
            persistent_workers=loaders > 0,
            prefetch_factor=_AHEAD if loaders else None,
            multiprocessing_context=_processes() if loaders else None,
            generator=torch.Generator(),  # else each epoch would take a number from the trainer's
        )
        iter(self._loader)  # nothing to decode yet: the loaders start, outside the time that is measured
        atexit.register(self.close)  # else the interpreter would wait for them at its end
        self._mean, self._scale = (
            torch.tensor(values, device=device).view(1, 3, 1, 1)
            for values in ([255 * mean for mean in _MEAN], [1 / (255 * deviation) for deviation in _DEVIATION])
        )

    def training(self, batches: Sequence[Indices], seed: int) -> Iterator[Batch]:
        """Random crops, mirrored or not, as `seed` and each image's index draw them."""
        return self._batches("train", batches, seed)

    def validation(self, batches: Sequence[Indices]) -> Iterator[Batch]:
        """The centre of each image."""
        return self._batches("val", batches, None)

    def close(self) -> None:
        """End the loaders; the source is of no use any more."""
        atexit.unregister(self.close)
        loading = self._loader._iterator
        if isinstance(loading, _MultiProcessingDataLoaderIter):
            loading._shutdown_workers()

    def _batches(self, split: str, batches: Sequence[Indices], seed: int | None) -> Iterator[Batch]:
        pieces = [np.array_split(indices, math.ceil(len(indices) / _PIECE)) for indices in batches]
        self._orders.those = (
            Order(self._listing.paths(split, indices), self._labels[split][indices], indices, seed)
            for indices in chain.from_iterable(pieces)
        )
        decoded = self._held_to_limit(self._loaded(), 0 if seed is None else self._max_broken)
        whole = (list(islice(decoded, len(parts))) for parts in pieces)
        return self._copied_ahead(whole) if self._device.type == "cuda" else map(self._finished, whole)

    def _loaded(self) -> Iterator[Decoded]:
        """What the loaders make of the orders."""
        try:
            yield from self._loader
        except (RuntimeError, OSError, EOFError) as error:  # OSError, EOFError: it was just handing images over
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            who = "a process that decodes images was killed, by nobody of the trial"
            why = f"the kernel does that when memory or {_SHARED_MEMORY} does not suffice; fewer data.loaders need less"
            raise TrialFailedError(EndReason.NODE_FAILURE, f"{who}: {why} ({error})") from error

    def _held_to_limit(self, pieces: Iterator[Decoded], most: int) -> Iterator[Decoded]:
        """The pieces, as long as no more than `most` images of them are broken."""
        skipped = 0
        for piece in pieces:
            for path, why, lost in piece.broken:
                skipped += 1
                if skipped > most:
                    if self._root != self._tree:
                        self._blame_copy(path, why)
                    limit = f": data.max_broken allows {most} in an epoch, and this is one more" if most else ""
                    raise _unreadable(self._tree, path, f"{why}{limit}", lost=lost)
                print(f"skipped {os.fsdecode(path)}, which cannot be read: {why}", file=sys.stderr, flush=True)
            yield piece

    def _blame_copy(self, path: bytes, why: str) -> None:
        """Raise NODE_FAILURE when an image that is broken in this node's copy is not where it was copied from."""
        try:
            _look_at(self._tree, path, self.input_shape[0])
        except TrialFailedError:
            return
        copy = f"{self._root / os.fsdecode(path)}: cannot be read ({why}), and {self._tree} has it whole"
        raise TrialFailedError(EndReason.NODE_FAILURE, f"{copy}: this node's copy is damaged: remove {self._root}")

    def _finished(self, pieces: list[Decoded]) -> Batch:
        """The batch on the device: whole, mirrored, normalised, channels last."""
        columns = zip(*(piece[:3] for piece in pieces), strict=True)
        images, mirrored, labels = (
            torch.cat([part.to(self._device, non_blocking=True) for part in column]) for column in columns
        )
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(2), images)
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)  # of which channels are last in memory
        skipped = sum(len(piece.broken) for piece in pieces)
        return Batch(pixels.sub_(self._mean).mul_(self._scale), labels, skipped)

    def _copied_ahead(self, batches: Iterator[list[Decoded]]) -> Iterator[Batch]:
        """Each batch, copied to the device and finished there while the model computes on the one before."""
        side = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self._device))  # which made the mean
        ready: tuple[Batch, torch.cuda.Event] | None = None
        for pieces in batches:
            with torch.cuda.stream(side):
                coming = self._finished(pieces), side.record_event()
            if ready is not None:
                yield _handed_over(*ready)
            ready = coming
        if ready is not None:
            yield _handed_over(*ready)


def validate_dataset(settings: DataRecord) -> None:
    """Whether the tree can be trained on, as far as a moment tells: its class folders, and the first images of some.

    Raises:
        TrialFailedError: BAD_DATA, saying what is wrong with it and where.
    """
    root = root_of(settings)
    for name in class_folders(root, settings.outputs)[:_LOOKED_AT]:
        for split in SPLITS:
            images = [line.rpartition(b" ")[0] for line in images_of(root, split, name)]
            may_be_broken = settings.max_broken if split == "train" else 0
            for number, image in enumerate(images[: may_be_broken + 1]):
                try:
                    _look_at(root, image, settings.image_size)
                    break
                except TrialFailedError as failure:
                    last = number == min(may_be_broken, len(images) - 1)
                    if last or failure.reason is not EndReason.BAD_DATA:
                        raise


class _Orders:
    """What is to be decoded next: changed before each pass over the data."""

    those: Iterator[Order] = iter(())

    def __iter__(self) -> Iterator[Order]:
        return self.those


def _that_fit(loaders: int, side: int, world: ProcessGroup) -> int:
    """So many loaders as /dev/shm has room for, where they lay what is ready; one that found no room would hang the trial."""
    each = (_AHEAD + 1) * _PIECE * side * side * 3
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free // world.local_size
    except OSError:
        return loaders
    if loaders * each <= free:
        return loaders
    fit = free // each
    much = f"of {loaders} processes that decode images {fit} are started: each needs {each:,} bytes of {_SHARED_MEMORY}"
    print(f"warning: {much}, {free:,} are free for this worker: let it be larger", file=sys.stderr, flush=True)
    return fit


def _listed(root: Path, settings: DataRecord) -> Listing:
    """The listing; who keeps it for later trials has looked at all images that validate, of which none may be broken."""
    index = settings.index if isinstance(settings, PlacedData) else None
    try:
        validate_dataset(settings)
        listing = list_tree(root, settings.outputs, index)
    except Unseen as failure:
        if index is not None and file_exists(index, retry_for=LONG_RETRY_SECONDS):
            seen = f"{failure}; an earlier trial of this campaign has read it, so this node lacks it"
            raise TrialFailedError(EndReason.NODE_FAILURE, seen) from None
        raise
    check_whole(root, settings, listing)
    if index is not None and listing.new and isinstance(settings, PlacedData) and settings.keeps_index:
        images = listing.images("val")
        print(f"looking at the {images:,} images that validate, once for this campaign", file=sys.stderr, flush=True)
        paths = listing.paths("val", np.arange(images))
        in_threads(lambda path: _look_at(root, path, settings.image_size), paths)
        listing.keep(index)
    return listing


def _look_at(root: Path, path: bytes, size: int) -> None:
    """Raise TrialFailedError when an image cannot be read."""
    try:
        decoding.read_image(os.path.join(os.fsencode(root), path), size, None)  # noqa: PTH118
    except Exception as error:  # a broken image makes its decoder raise almost anything
        raise _unreadable(root, path, decoding.why_broken(error), lost=is_nodes(error)) from None


def _unreadable(root: Path, path: bytes, why: str, *, lost: bool) -> TrialFailedError:
    """The failure that an image is; `lost` says that this node's view of the file system is to blame."""
    message = f"{root / os.fsdecode(path)}: cannot be read ({why})"
    if lost:
        return TrialFailedError(EndReason.NODE_FAILURE, f"{message}: the file system fails on this node")
    return bad(f"{message}; mend or replace the image")


def _shared(make: Callable[[], Listing], device: torch.device, world: ProcessGroup) -> Listing:
    """What the first worker makes, with all: a file system is asked a million questions once, not by each."""
    if world.size == 1:
        return make()
    listing = make() if world.is_rank_0 else None
    packed = bytearray(listing.packed()) if listing else bytearray()
    length = torch.tensor([len(packed)], device=device)
    world.broadcast([length])
    content = torch.empty(int(length), dtype=torch.uint8, device=device)
    if listing:
        content.copy_(torch.frombuffer(packed, dtype=torch.uint8))
    world.broadcast([content])
    return listing or Listing.unpacked(content.cpu().numpy().tobytes())


def _processes() -> BaseContext:
    """How loaders are started: forks of a process without threads or a device, which has imported what they need.

    Signals are for the trainer, which ends its loaders itself, so that none loses them before it knows why.
    """
    _keep_sockets_short()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([decoding.__name__])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")  # of what a killed worker leaves, and it clears away
    try:
        resource_tracker.ensure_running()  # which lets some through again
        signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
        forkserver.ensure_running()
    finally:
        sys.warnoptions.pop()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _keep_sockets_short() -> None:
    """Let multiprocessing's sockets lie where their paths are not too long for the kernel, whatever TMPDIR is."""
    if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_SOCKETS:
        return
    before = tempfile.tempdir
    for folder in _SHORT_FOLDERS:
        tempfile.tempdir = folder
        try:
            made = util.get_temp_dir()  # which all that it starts inherits
        except OSError:
            continue
        finally:
            tempfile.tempdir = before
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        return


def _handed_over(batch: Batch, made: torch.cuda.Event) -> Batch:
    """The batch, for the stream that the model computes on."""
    current = torch.cuda.current_stream(batch.images.device)
    current.wait_event(made)
    for tensor in batch[:2]:
        tensor.record_stream(current)
    return batch
