"""Opening the data set that a trial's settings name, and refusing one that its network does not fit."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Final

import torch

from aiperf_orch.network.graph import Graph
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data.cifar10 import Cifar10
from aiperf_orch.trial.data.dataset import Dataset
from aiperf_orch.trial.data.digits import digits
from aiperf_orch.trial.data.in_memory import InMemory
from aiperf_orch.trial.data.listing import node_failure
from aiperf_orch.trial.data.read_failures import is_nodes
from aiperf_orch.trial.data.synthetic import Synthetic
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError


def load_dataset(settings: DataRecord, network: Graph, device: torch.device, world: ProcessGroup) -> Dataset:
    """Open a data set for a network.

    Raises:
        TrialFailedError: BAD_DATA, when it cannot be loaded, or when its image shape or number of classes is not the
            network's; NODE_FAILURE, when this node is why it cannot be loaded.
    """
    if settings.name not in DATASETS:
        raise _bad(f"data set {settings.name!r} cannot be trained on; set data.name to one of: {', '.join(DATASETS)}")
    try:
        source = DATASETS[settings.name](settings, device, world)
    except (ImportError, OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, OSError) and _may_be_nodes(error):
            raise node_failure(error, f"data set {settings.name!r} cannot be opened") from error
        advice = "check that this node sees the Python environment whole, and install it again if a file is missing"
        in_environment = settings.name == "digits" or isinstance(error, ImportError)
        raise _bad(
            f"data set {settings.name!r} cannot be loaded ({type(error).__name__}: {error})"
            + (f"; {advice}" if in_environment else "")
        ) from error
    if source.input_shape != network.input_shape:
        raise _bad(
            f"data set {settings.name!r} has images of {source.input_shape} (height, width, channels), the network "
            f"reads {network.input_shape}; begin the campaign anew with a seed network for this data set"
        )
    if source.classes != network.classes:
        raise _bad(
            f"data set {settings.name!r} has {source.classes} classes, the network has {network.classes} outputs; "
            "begin the campaign anew with a seed network for this data set"
        )
    return source


def _may_be_nodes(error: OSError) -> bool:
    """Whether an error while a data set is opened is not the data's: sockets, shared memory and processes fail, too."""
    return is_nodes(error) or (error.errno is None and not isinstance(error, gzip.BadGzipFile))


def _digits(_settings: DataRecord, device: torch.device, _world: ProcessGroup) -> Dataset:
    return InMemory(digits(), device)


def validate_dataset(settings: DataRecord) -> None:
    """Whether the data set can be trained on here, as far as a moment tells: of a large one the first images.

    Raises:
        TrialFailedError: BAD_DATA, saying what is wrong with it.
        Exception: of any kind, when this Python environment is not whole.
    """
    if settings.name == "imagenet":
        from aiperf_orch.trial.data import imagenet

        imagenet.validate_dataset(settings)
    else:
        DATASETS[settings.name](settings, torch.device("cpu"), ProcessGroup()).close()


def _synthetic(settings: DataRecord, device: torch.device, _world: ProcessGroup) -> Dataset:
    return Synthetic(settings, device)


def _imagenet(settings: DataRecord, device: torch.device, world: ProcessGroup) -> Dataset:
    from aiperf_orch.trial.data.imagenet import ImageTree  # Pillow, which others need not wait for

    return ImageTree(settings, device, world)


def _cifar10(settings: DataRecord, device: torch.device, _world: ProcessGroup) -> Dataset:
    return Cifar10(settings, device)


DATASETS: Final[dict[str, Callable[[DataRecord, torch.device, ProcessGroup], Dataset]]] = {
    "digits": _digits,
    "synthetic": _synthetic,
    "cifar10": _cifar10,
    "imagenet": _imagenet,
}


def _bad(message: str) -> TrialFailedError:
    return TrialFailedError(EndReason.BAD_DATA, message)
