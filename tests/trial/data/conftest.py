"""Fixtures: an image tree like that of ImageNet with small images, and a function that opens trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from aiperf_orch.trial.data.dataset import Dataset

CLASSES = ("ant", "bee", "cat")
TRAIN, VAL = 6, 2  # images a class


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Images of noise with different shapes: JPEGs, one of them in CMYK, and one grey PNG."""
    root = tmp_path / "images"
    generator = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                side = int(generator.integers(40, 90))
                coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
                image = coarse.resize((side + 30, side), Image.Resampling.BICUBIC)
                image.save(folder / f"{number}.JPEG", quality=90)
    Image.open(root / "train" / "ant" / "1.JPEG").convert("L").save(root / "train" / "ant" / "grey.png")
    Image.open(root / "train" / "bee" / "1.JPEG").convert("CMYK").save(root / "train" / "bee" / "5.JPEG")
    (root / "train" / "ant" / "5.JPEG").unlink()
    (root / "train" / "cat" / ".hidden.JPEG").write_bytes(b"")
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    return root


@pytest.fixture
def opened() -> Iterator[Callable[..., Dataset]]:
    """Function that opens trees, by default without loader processes; all are closed at the end."""
    # imported here, so that tests without torch can use the other fixtures
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
