"""Digits of scikit-learn: 1,797 handwritten digits of 8x8 grey pixels, without a download."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch

from aiperf_orch.trial.data.in_memory import Arrays
from aiperf_orch.trial.data.listing import bad_data
from aiperf_orch.util.dataset_catalogue import DATASET_SIZES
from aiperf_orch.util.torch_extra import ADVICE

_VALIDATION: Final = DATASET_SIZES["digits", 10][1]


def digits() -> Arrays:
    """Load the digits; the last 360 images are for validation.

    The file of scikit-learn is read directly, because importing `sklearn.datasets` is slow (see
    `docs/research/data-loading.md`).

    Raises:
        TrialFailedError: BAD_DATA, if scikit-learn is not installed.
        OSError, EOFError, ValueError, zlib.error: If its file cannot be read.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise bad_data(f"scikit-learn, which has the data set digits, is not installed ({sys.executable}); {ADVICE}")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",")
    images = torch.from_numpy(table[:, :-1].astype(np.float32)).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    train, val = images[:-_VALIDATION], images[-_VALIDATION:]
    mean, deviation = train.mean(), train.std()
    return Arrays(
        (train - mean) / deviation,
        labels[:-_VALIDATION],
        (val - mean) / deviation,
        labels[-_VALIDATION:],
        classes=10,
        digest=hashlib.sha256(table.astype("<f8").tobytes()).hexdigest(),
    )
