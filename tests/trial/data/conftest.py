"""Fixture: a function that opens image trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aiperf_orch.trial.data.dataset import Dataset


@pytest.fixture
def opened() -> Iterator[Callable[..., Dataset]]:
    """Function that opens trees, by default without loader processes; all are closed at the end."""
    # imported here, so that tests without torch do not load it
    import torch

    from aiperf_orch.network import seeds
    from aiperf_orch.records.trial import DataRecord
    from aiperf_orch.trial.data.open_dataset import load_dataset
    from aiperf_orch.trial.runtime.process_group import ProcessGroup

    datasets = []

    def open_tree(root: Path, **changes: Any) -> Dataset:
        fields: dict[str, Any] = {"name": "imagenet", "path": str(root), "image_size": 32, "classes": 3, "loaders": 0}
        settings = DataRecord(**fields | changes)
        network = seeds.small_residual(settings.input_shape, 3)
        datasets.append(load_dataset(settings, network, torch.device("cpu"), ProcessGroup()))
        return datasets[-1]

    yield open_tree
    for dataset in datasets:
        dataset.close()
