"""The data sets that trials train and validate on, as tensors in memory.

A set that cannot be loaded, or that the network does not fit, ends the trial with BAD_DATA before it trains.
"""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from aiperf_orch.network.graph import Graph, Shape
from aiperf_orch.records import EndReason
from aiperf_orch.trial.trainer import TrialFailure

_DIGITS_VALIDATION: Final = 360


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """Images (N, channels, height, width) in float32, normalised, and labels (N,) in int64 from 0 to `classes` - 1."""

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    classes: int

    @property
    def input_shape(self) -> Shape:
        """(height, width, channels) of one image, as networks say it."""
        channels, height, width = self.train_images.shape[1:]
        return height, width, channels

    def to(self, device: torch.device) -> DataSet:
        """The same data on a device."""
        return DataSet(
            self.train_images.to(device),
            self.train_labels.to(device),
            self.val_images.to(device),
            self.val_labels.to(device),
            self.classes,
        )


def load(name: str, network: Graph) -> DataSet:
    """Load a data set on the CPU, for a network.

    Raises:
        TrialFailure: BAD_DATA, when it cannot be loaded, or when its image shape or number of classes is not the
            network's.
    """
    if name not in LOADERS:
        raise _bad(f"unknown data set {name!r}; set data.name to one of: {', '.join(LOADERS)}")
    try:
        data = LOADERS[name]()
    except (ImportError, OSError, EOFError, ValueError, zlib.error) as error:
        raise _bad(
            f"data set {name!r} cannot be loaded ({type(error).__name__}: {error}); "
            "check that this node sees the Python environment whole, and install it anew if a file is missing"
        ) from error
    if data.input_shape != network.input_shape:
        raise _bad(
            f"data set {name!r} has images of {data.input_shape} (height, width, channels), the network reads "
            f"{network.input_shape}; begin the campaign anew with a seed network for this data set"
        )
    if data.classes != network.classes:
        raise _bad(
            f"data set {name!r} has {data.classes} classes, the network has {network.classes} outputs; "
            "begin the campaign anew with a seed network for this data set"
        )
    return data


def _digits() -> DataSet:
    """1,797 handwritten digits of 8x8 grey pixels; the last 360 validate.

    They are read from the file inside scikit-learn: importing its `load_digits` costs every trial 1.5 s.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise ImportError("scikit-learn is not installed")
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    images = torch.from_numpy(table[:, :-1].astype(np.float32)).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    train, val = images[:-_DIGITS_VALIDATION], images[-_DIGITS_VALIDATION:]
    mean, deviation = train.mean(), train.std()
    return DataSet(
        (train - mean) / deviation,
        labels[:-_DIGITS_VALIDATION],
        (val - mean) / deviation,
        labels[-_DIGITS_VALIDATION:],
        classes=10,
    )


LOADERS: Final[dict[str, Callable[[], DataSet]]] = {"digits": _digits}


def _bad(message: str) -> TrialFailure:
    return TrialFailure(EndReason.BAD_DATA, message)
