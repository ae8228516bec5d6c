"""Decoding: boxes of crops, descriptions of errors."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from PIL import UnidentifiedImageError

from aiperf_orch.trial.data.decoding import centre_crop, random_crop
from aiperf_orch.trial.data.read_failures import describe


def test_training_crops_have_the_specified_areas_and_ratios() -> None:
    generator = np.random.default_rng(3)
    areas, ratios = [], []
    for _ in range(2000):
        left, upper, right, lower = random_crop((500, 375), generator)
        assert 0 <= left < right <= 500
        assert 0 <= upper < lower <= 375
        areas.append((right - left) * (lower - upper) / (500 * 375))
        ratios.append((right - left) / (lower - upper))
    assert 0.075 < min(areas) < 0.1
    assert 0.9 < max(areas) <= 1
    assert 0.74 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.35


@pytest.mark.parametrize(
    ("shape", "box"), [((1000, 10), (493, 0, 506, 10)), ((10, 1000), (0, 493, 10, 506)), ((1, 1), (0, 0, 1, 1))]
)
def test_image_that_no_crop_fits_gives_its_centre(shape: tuple[int, int], box: tuple[int, ...]) -> None:
    assert random_crop(shape, np.random.default_rng(0)) == box


@pytest.mark.parametrize(
    ("shape", "size", "box"),
    [
        ((256, 256), 224, (16, 16, 240, 240)),
        ((512, 256), 224, (144, 16, 368, 240)),
        ((256, 512), 224, (16, 144, 240, 368)),
        ((512, 512), 224, (32, 32, 480, 480)),
    ],
)
def test_centre_crop_is_of_the_resized_image(shape: tuple[int, int], size: int, box: tuple[float, ...]) -> None:
    assert centre_crop(shape, size) == box


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EIO, "Input/output error", "/data/a.jpg"), "OSError: Input/output error"),
        (
            UnidentifiedImageError("cannot identify image file <_io.BytesIO>"),
            "UnidentifiedImageError: it is empty, or not an image",
        ),
        (OSError("image file is truncated\n(3 bytes)"), "OSError: image file is truncated (3 bytes)"),
        (ValueError("bad  size"), "ValueError: bad size"),
    ],
)
def test_description_of_an_error_is_one_line_without_the_path(error: Exception, text: str) -> None:
    assert describe(error) == text
