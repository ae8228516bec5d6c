"""Catalogue of the data sets: properties that follow from name, image size and number of classes.

The settings and the trial specifications describe a data set by these three; the properties are computed here for both.
"""

from __future__ import annotations

from typing import Final, Literal

DatasetName = Literal["digits", "synthetic", "cifar10", "imagenet"]

DATASET_SIZES: Final = {
    ("digits", 10): (1437, 360),
    ("cifar10", 10): (50_000, 10_000),
    ("imagenet", 1000): (1_281_167, 50_000),
}
"""Number of training and of validation images, by name and classes; only of data sets whose size never varies."""

_FIXED_SHAPES: Final = {"digits": (8, 8, 1), "cifar10": (32, 32, 3)}


def needs_path(name: str) -> bool:
    """Whether the data set lies in a folder that the settings must name."""
    return name in ("cifar10", "imagenet")


def class_count(name: str, classes: int) -> int:
    """Number of classes that a network for the data set distinguishes.

    Args:
        name: the data set.
        classes: the number in the settings, which only imagenet and synthetic follow.
    """
    return classes if name in ("imagenet", "synthetic") else 10


def image_shape(name: str, image_size: int) -> tuple[int, int, int]:
    """(height, width, channels) of an image as networks read it.

    Args:
        name: the data set.
        image_size: the side in pixels from the settings, which only imagenet and synthetic follow.
    """
    return _FIXED_SHAPES.get(name, (image_size, image_size, 3))
