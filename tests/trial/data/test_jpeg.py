"""Decoding of crops: the decoders agree, and agree with Pillow alone; what simplejpeg refuses, Pillow decodes."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aiperf_orch.trial.data import jpeg
from aiperf_orch.trial.data.decoding import random_crop
from aiperf_orch.trial.data.jpeg import Box, Pixels, Shape, reduction_of, resized_crop

SIZE = 64
BOXES: list[Box] = [(0, 0, 101, 77), (33, 20, 93, 61), (7, 5, 160, 120), (0, 0, 320, 240), (31, 17, 320, 201)]


def made_image(shape: Shape = (320, 240), mode: str = "RGB") -> Image.Image:
    """An image of smooth areas, edges and noise."""
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(shape, Image.Resampling.BICUBIC))
    noisy = smooth + random.normal(0, 8, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    settings: dict[str, Any] = {"format": "JPEG", "quality": 90}
    image.save(file, **settings | options)
    return file.getvalue()


def by_pillow_alone(data: bytes, box: Box) -> Pixels:
    """The crop as Pillow decodes, reduces and resizes it."""
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        left, upper, right, lower = box
        if image.format == "JPEG":
            image.draft("RGB", (-(-width * SIZE // (right - left)), -(-height * SIZE // (lower - upper))))
        across, down = image.width / width, image.height / height
        edges = left * across, upper * down, right * across, lower * down
        return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=edges))


@pytest.fixture(params=["Pillow", "simplejpeg"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name == "Pillow":
        monkeypatch.setattr(jpeg, "simplejpeg", None)
    else:
        pytest.importorskip("simplejpeg")
    return name


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize(
    "options", [{"subsampling": "4:2:0"}, {"subsampling": "4:4:4"}, {"subsampling": "4:2:0", "progressive": True}]
)
def test_crop_differs_from_that_of_pillow_alone_by_rounding(decoder: str, box: Box, options: dict[str, Any]) -> None:
    data = encoded(made_image(), **options)
    crop, reference = resized_crop(data, lambda _: box, SIZE), by_pillow_alone(data, box)
    assert (crop.shape, crop.dtype) == ((SIZE, SIZE, 3), np.uint8)
    differences = np.abs(crop.astype(int) - reference.astype(int))
    if reduction_of((320, 240), box, SIZE) > 1:
        assert differences.max() == 0
    else:  # at the border, Pillow alone also uses pixels outside the crop
        assert differences[1:-1, 1:-1].max() <= 1


def test_both_decoders_give_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    for mode in ("RGB", "L"):
        data = encoded(made_image(mode=mode))
        fast = [resized_crop(data, lambda _, box=box: box, SIZE) for box in BOXES]  # type: ignore[misc]
        with monkeypatch.context() as patch:
            patch.setattr(jpeg, "simplejpeg", None)
            slow = [resized_crop(data, lambda _, box=box: box, SIZE) for box in BOXES]  # type: ignore[misc]
        # releases of libjpeg-turbo may round differently
        assert (
            max(np.abs(one.astype(int) - other.astype(int)).max() for one, other in zip(fast, slow, strict=True)) <= 2
        )


def test_crops_are_those_of_the_same_random_numbers(decoder: str) -> None:
    data, drawn = encoded(made_image()), []
    generator, expected = np.random.default_rng(5), np.random.default_rng(5)

    def draw(shape: Shape) -> Box:
        drawn.append(random_crop(shape, generator))
        return drawn[-1]

    for _ in range(20):
        resized_crop(data, draw, SIZE)
    assert drawn == [random_crop((320, 240), expected) for _ in range(20)]
    assert generator.random() == expected.random()


@pytest.mark.parametrize(
    "data",
    [
        encoded(made_image(mode="CMYK")),
        encoded(made_image(), keep_rgb=True),
        encoded(made_image(), format="PNG"),
        encoded(made_image(mode="P"), format="PNG"),
        encoded(made_image()) + b"trailing",
        encoded(made_image(), exif=b"Exif\0\0damaged"),
        encoded(made_image()).replace(b"\xff\xdb", b"\0\0\xff\xdb", 1),  # a warning of libjpeg-turbo
    ],
    ids=["CMYK", "RGB JPEG", "PNG", "palette", "trailing bytes", "damaged EXIF", "bytes between segments"],
)
def test_whatever_pillow_decodes_is_decoded(decoder: str, data: bytes) -> None:
    draws = []
    crop = resized_crop(data, lambda shape: draws.append(shape) or BOXES[2], SIZE)  # type: ignore[func-returns-value]
    assert draws == [(320, 240)]
    differences = np.abs(crop.astype(int) - by_pillow_alone(data, BOXES[2]).astype(int))
    assert differences[1:-1, 1:-1].max() <= 1


@pytest.mark.parametrize("cut", [0, 2, 300, -2000])
def test_broken_image_is_reported_by_pillow(decoder: str, cut: int) -> None:
    data = encoded(made_image())[:cut]
    with pytest.raises(OSError, match=r"cannot identify|truncated|broken|Truncated"):
        resized_crop(data, lambda _: BOXES[0], SIZE)


def test_image_that_pillow_refuses_for_its_size_is_refused(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        resized_crop(encoded(made_image()), lambda _: BOXES[0], SIZE)


def test_simplejpeg_that_cannot_be_imported_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "simplejpeg.py").write_text("raise RuntimeError('built for another numpy')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "simplejpeg", raising=False)
    specification = importlib.util.spec_from_file_location("another_jpeg", jpeg.__file__)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.DECODER == "Pillow"
    assert module.resized_crop(encoded(made_image()), lambda _: BOXES[0], SIZE).shape == (SIZE, SIZE, 3)
