"""Decoding, cropping and resizing of image files, in processes that do nothing else.

Random numbers depend only on the seed and the index of the image, not on the process. The module has few imports,
because every loader process has them.
"""

from __future__ import annotations

import io
import math
import multiprocessing
import os
import threading
import warnings
from multiprocessing.process import BaseProcess
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from aiperf_orch.trial.data import jpeg
from aiperf_orch.trial.data.dataset import SKIPPED, Indices
from aiperf_orch.trial.data.image_files import ImageFiles, Place
from aiperf_orch.trial.data.read_failures import describe, is_node_failure

_SCALE: Final = (0.08, 1.0)  # area of a training crop relative to the image
_RATIO: Final = (3 / 4, 4 / 3)  # aspect ratio (width / height) of a training crop
_CROP_TRIALS: Final = 10
_RESIZE_RATIO: Final = 256 / 224  # short side of a resized validation image relative to the side of its centre crop


class DecodeRequest(NamedTuple):
    """Images to decode: paths in the tree, places, labels, indices; `seed` is None for validation (no augmentation)."""

    paths: list[bytes]
    places: list[Place]
    labels: Indices
    indices: Indices
    seed: int | None


class BrokenImage(NamedTuple):
    """An image that could not be read: path, place, reason, and whether this node (not the image) is at fault."""

    path: bytes
    place: Place
    reason: str
    node_failed: bool


class DecodedImages(NamedTuple):
    """Images (N, height, width, 3) in uint8, whether each is to be mirrored (N,), and labels (N,).

    The images in `broken` are black and have the label SKIPPED.
    """

    images: Tensor
    mirrored: Tensor
    labels: Tensor
    broken: list[BrokenImage]


class Decoder(Dataset[DecodedImages]):
    """Decoder of requests: places are relative to `root`, images are resized to a side of `size` pixels."""

    def __init__(self, root: bytes, size: int) -> None:
        self._files, self._size = ImageFiles(root), size

    def __getitem__(self, request: DecodeRequest) -> DecodedImages:
        """Decode the images of a request."""
        count = len(request.paths)
        images = torch.zeros((count, self._size, self._size, 3), dtype=torch.uint8)
        mirrored = torch.zeros(count, dtype=torch.bool)
        labels = torch.from_numpy(request.labels.copy())
        pixels = images.numpy()
        broken: list[BrokenImage] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual metadata
            for position, (place, index) in enumerate(zip(request.places, request.indices.tolist(), strict=True)):
                generator = (
                    None if request.seed is None else np.random.Generator(np.random.PCG64((request.seed, index)))
                )
                try:
                    pixels[position] = read_image(self._files, place, self._size, generator)
                except Exception as error:  # decoders raise many types of exceptions for a broken image
                    labels[position] = SKIPPED
                    path = request.paths[position]
                    broken.append(BrokenImage(path, place, describe(error), is_node_failure(error)))
                if generator is not None:
                    mirrored[position] = bool(generator.random() < 0.5)
        return DecodedImages(images, mirrored, labels, broken)

    def close(self) -> None:
        """Close the files that this process has open."""
        self._files.close()


def identity(decoded: Any) -> Any:
    """Return the argument: the collate function of the loaders, which must not batch."""
    return decoded


def exit_with_parent(_loader: int) -> None:
    """End this loader process when its worker ends; the process's own parent, a fork server, may live longer."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)  # in a thread, `sys.exit` would end only the thread


def read_image(files: ImageFiles, place: Place, size: int, generator: np.random.Generator | None) -> NDArray[np.uint8]:
    """Read an image as (size, size, 3).

    Args:
        files: The files of the images.
        place: The place of the image.
        size: The side in pixels.
        generator: Source of a random crop; None for the centre crop of the resized image.

    Raises:
        Exception: Of any type, if the image cannot be read or decoded.
    """
    data = files.read(place)
    if generator is not None:
        return jpeg.resized_crop(data, lambda shape: random_crop(shape, generator), size)
    with Image.open(io.BytesIO(data)) as image:
        box = centre_crop(image.size, size)
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=box))


def random_crop(shape: tuple[int, int], generator: np.random.Generator) -> jpeg.Box:
    """Draw a training crop of an image of (width, height), as Szegedy et al. (2014)."""
    width, height = shape
    for _ in range(_CROP_TRIALS):
        area = width * height * generator.uniform(*_SCALE)
        ratio = math.exp(generator.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left, upper = int(generator.integers(width - across + 1)), int(generator.integers(height - down + 1))
            return left, upper, left + across, upper + down
    across = min(width, max(1, round(height * _RATIO[1])))
    down = min(height, max(1, round(width / _RATIO[0])))
    left, upper = (width - across) // 2, (height - down) // 2
    return left, upper, left + across, upper + down


def centre_crop(shape: tuple[int, int], size: int) -> tuple[float, float, float, float]:
    """Box in an image of (width, height) that is the centre of side `size` after resizing its short side to 256/224."""
    width, height = shape
    short = round(size * _RESIZE_RATIO)
    wide, high = (short, short * height // width) if width <= height else (short * width // height, short)
    left, upper = round((wide - size) / 2), round((high - size) / 2)
    across, down = width / wide, height / high
    return left * across, upper * down, (left + size) * across, (upper + size) * down
