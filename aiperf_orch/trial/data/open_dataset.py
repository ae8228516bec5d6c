"""Registry of datasets: opening and validating the one that the settings name."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Final

import torch

from aiperf_orch.network.graph import Graph
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data.cifar10 import Cifar10
from aiperf_orch.trial.data.dataset import Dataset
from aiperf_orch.trial.data.digits import digits
from aiperf_orch.trial.data.in_memory import InMemory
from aiperf_orch.trial.data.listing import bad_data, node_failure
from aiperf_orch.trial.data.read_failures import is_node_failure
from aiperf_orch.trial.data.synthetic import Synthetic
from aiperf_orch.trial.runtime.process_group import ProcessGroup


def load_dataset(settings: DataRecord, network: Graph, device: torch.device, group: ProcessGroup) -> Dataset:
    """Open a dataset for a network.

    Raises:
        TrialFailedError: BAD_DATA, if it cannot be loaded, or its image shape or number of classes is not that of the
            network; NODE_FAILURE, if this node is the reason that it cannot be loaded.
    """
    if settings.name not in DATASETS:
        raise bad_data(f"dataset {settings.name!r} is unknown; set data.name to one of: {', '.join(DATASETS)}")
    try:
        dataset = DATASETS[settings.name](settings, device, group)
    except (ImportError, OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, OSError) and _may_be_node_failure(error):
            raise node_failure(error, f"dataset {settings.name!r} cannot be opened") from error
        advice = "check that this node sees the whole Python environment, and reinstall it if a file is missing"
        in_environment = settings.name == "digits" or isinstance(error, ImportError)
        raise bad_data(
            f"dataset {settings.name!r} cannot be loaded ({type(error).__name__}: {error})"
            + (f"; {advice}" if in_environment else "")
        ) from error
    if dataset.input_shape != network.input_shape:
        raise bad_data(
            f"dataset {settings.name!r} has images of shape {dataset.input_shape} (height, width, channels), the "
            f"network expects {network.input_shape}; start a new campaign with a seed network for this dataset"
        )
    if dataset.classes != network.classes:
        raise bad_data(
            f"dataset {settings.name!r} has {dataset.classes} classes, the network has {network.classes} outputs; "
            "start a new campaign with a seed network for this dataset"
        )
    return dataset


def validate_dataset(settings: DataRecord) -> None:
    """Validate that the dataset can be opened on this node; of a large one only the first images are read.

    Raises:
        TrialFailedError: BAD_DATA, with the reason.
        Exception: Of any type, if this Python environment is incomplete.
    """
    if settings.name == "imagenet":
        from aiperf_orch.trial.data.tree_validation import validate_tree

        validate_tree(settings)
    else:
        DATASETS[settings.name](settings, torch.device("cpu"), ProcessGroup()).close()


def _may_be_node_failure(error: OSError) -> bool:
    """Whether an error while opening is not a fault of the data; also of sockets, shared memory and processes."""
    return is_node_failure(error) or (error.errno is None and not isinstance(error, gzip.BadGzipFile))


def _digits(_settings: DataRecord, device: torch.device, _group: ProcessGroup) -> Dataset:
    return InMemory(digits(), device)


def _synthetic(settings: DataRecord, device: torch.device, _group: ProcessGroup) -> Dataset:
    return Synthetic(settings, device)


def _cifar10(settings: DataRecord, device: torch.device, _group: ProcessGroup) -> Dataset:
    return Cifar10(settings, device)


def _imagenet(settings: DataRecord, device: torch.device, group: ProcessGroup) -> Dataset:
    from aiperf_orch.trial.data.imagenet import ImageTree  # imports Pillow, which the other datasets do not need

    return ImageTree(settings, device, group)


DATASETS: Final[dict[str, Callable[[DataRecord, torch.device, ProcessGroup], Dataset]]] = {
    "digits": _digits,
    "synthetic": _synthetic,
    "cifar10": _cifar10,
    "imagenet": _imagenet,
}
