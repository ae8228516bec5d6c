"""Catalogue of the data sets: properties that follow from name, image size and number of classes.

The settings and the trial specifications describe a data set by these three; the properties are computed here for both.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

DatasetName = Literal["digits", "synthetic", "cifar10", "imagenet"]

DATASET_SIZES: Final = {
    ("digits", 10): (1437, 360),
    ("cifar10", 10): (50_000, 10_000),
    ("imagenet", 1000): (1_281_167, 50_000),
}
"""Number of training and of validation images, by name and classes; only of data sets whose size never varies."""

SYNTHETIC_IMAGES: Final = 50, 5
"""Number of training and of validation images of each class of `synthetic`."""

_DIGITS_DIGEST: Final = "30aa855cd90427ff3c4996b3f40109597c57049f8a038cc52db1efeac8ad2e26"
_FIXED_SHAPES: Final = {"digits": (8, 8, 1), "cifar10": (32, 32, 3)}


def needs_path(name: str) -> bool:
    """Whether the data set lies in a folder that the settings must name."""
    return name in ("cifar10", "imagenet")


def settings_used(name: str) -> frozenset[str]:
    """Names of the settings of `data` that the data set follows."""
    sized = {"image_size", "classes"} if name in ("imagenet", "synthetic") else set()
    read = {"loaders", "stage", "stage_readers", "max_broken"} if name == "imagenet" else set()
    return frozenset({"name"} | sized | read | ({"path"} if needs_path(name) else set()))


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


def known_digest(name: str, shape: tuple[int, int, int], classes: int) -> str | None:
    """Digest of a data set that is the same on every machine; None for one of which that is not known.

    Args:
        name: the data set.
        shape: (height, width, channels) of an image.
        classes: number of classes.
    """
    if name == "digits":
        return _DIGITS_DIGEST
    if name != "synthetic":
        return None
    train, val = (number * classes for number in SYNTHETIC_IMAGES)
    return hashlib.sha256(f"synthetic {shape} {classes} {train} {val}".encode()).hexdigest()


def exact_sizes(name: str, classes: int) -> tuple[int, int] | None:
    """Number of training and of validation images that every copy has; None for one that may be incomplete."""
    if name == "synthetic":
        return SYNTHETIC_IMAGES[0] * classes, SYNTHETIC_IMAGES[1] * classes
    return None if name == "imagenet" else DATASET_SIZES.get((name, classes))
