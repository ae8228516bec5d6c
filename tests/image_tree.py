"""Fixture: an image tree like that of ImageNet, with small images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
