"""Processes that load images: how many, how they are started, how they end.

The module is the adapter for parts of `multiprocessing` and `torch.utils.data` without a stability promise.
`tests/trial/data/test_loader_processes.py` fails when a release changes them.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import BaseContext
from typing import Any, Final

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from aiperf_orch.trial.data import decoding
from aiperf_orch.trial.runtime.process_group import ProcessGroup

PIECE: Final = 64  # images that a loader decodes at a time: less than a batch, so that the first piece is ready soon
_PREFETCHED_PIECES: Final = 4  # of each loader
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108  where PyTorch puts the tensors of loaders
_MAX_SOCKET_FOLDER: Final = 107 - len("/pymp-12345678/listener-12345678")  # bytes; 107 is the kernel's limit of a path
_SHORT_FOLDERS: Final = ("/tmp", "/var/tmp", SHARED_MEMORY)  # noqa: S108  a private folder is made there
_TRAINER_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)


def make_loader(
    decoder: Dataset[decoding.DecodedImages], requests: Any, loaders: int, device: torch.device
) -> DataLoader[decoding.DecodedImages]:
    """Make a DataLoader and start its processes, which takes a second or more.

    Args:
        decoder: The dataset that maps requests to images.
        requests: An iterable that gives the requests of the next pass each time it is iterated.
        loaders: The number of processes; 0 to decode in this process.
        device: The device to which the images are copied afterwards.
    """
    loader = DataLoader(
        decoder,
        batch_size=None,
        sampler=requests,
        num_workers=loaders,
        collate_fn=decoding.identity,
        worker_init_fn=decoding.exit_with_parent,
        pin_memory=device.type != "cpu",
        persistent_workers=loaders > 0,
        prefetch_factor=_PREFETCHED_PIECES if loaders else None,
        multiprocessing_context=_start_fork_server() if loaders else None,
        generator=torch.Generator(),  # otherwise each epoch would draw a number from the generator of the trainer
    )
    iter(loader)  # there are no requests yet: this only starts the processes
    return loader


def shut_down(loader: DataLoader[decoding.DecodedImages]) -> None:
    """End the processes of a loader now; PyTorch does this only when the iterator is garbage collected."""
    iterator = loader._iterator
    if isinstance(iterator, _MultiProcessingDataLoaderIter):
        iterator._shutdown_workers()


def process_ids(loader: DataLoader[decoding.DecodedImages]) -> Iterator[int]:
    """Yield the process ids of a loader's running processes."""
    iterator = loader._iterator
    if isinstance(iterator, _MultiProcessingDataLoaderIter):
        for process in iterator._workers:
            if process.pid is not None:
                yield process.pid


def limit_by_shared_memory(loaders: int, side: int, group: ProcessGroup) -> int:
    """Reduce a number of loaders to those for whose images /dev/shm has room, because a full /dev/shm hangs the trial.

    Args:
        loaders: The number of loaders that are wanted.
        side: The side of the images in pixels.
        group: The workers; those of a node share /dev/shm.
    """
    bytes_each = (_PREFETCHED_PIECES + 1) * PIECE * side * side * 3
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free // group.local_size
    except OSError:
        return loaders
    if loaders * bytes_each <= free:
        return loaders
    fitting = free // bytes_each
    print(
        f"warning: only {fitting} of {loaders} processes that decode images are started: each needs {bytes_each:,} "
        f"bytes of {SHARED_MEMORY}, where {free:,} are free for this worker: increase its size",
        file=sys.stderr,
        flush=True,
    )
    return fitting


def _start_fork_server() -> BaseContext:
    """Start the process from which loaders are forked; it has no threads and no device, and has imported `decoding`.

    The signals of the trainer are blocked in loaders, because the trainer ends its loaders itself.
    """
    _shorten_socket_paths()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([decoding.__name__])
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _TRAINER_SIGNALS)
    # the resource tracker cleans up after killed workers, and would warn of it
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        resource_tracker.ensure_running()  # unblocks some of the signals
        signal.pthread_sigmask(signal.SIG_BLOCK, _TRAINER_SIGNALS)
        forkserver.ensure_running()
    finally:
        sys.warnoptions.pop()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return context


def _shorten_socket_paths() -> None:
    """Set the folder of multiprocessing's sockets to a short one if TMPDIR is too long for paths of sockets."""
    if len(os.fsencode(tempfile.gettempdir())) <= _MAX_SOCKET_FOLDER:
        return
    before = tempfile.tempdir
    for folder in _SHORT_FOLDERS:
        tempfile.tempdir = folder
        try:
            made = util.get_temp_dir()  # inherited by all processes that multiprocessing starts
        except OSError:
            continue
        finally:
            tempfile.tempdir = before
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        return
