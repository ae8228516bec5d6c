"""Images from files: decoded, cropped and resized, by processes that do nothing else. Their import is kept small.

What is random is drawn from the seed and the image's index alone, so that it does not matter which process does it.
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
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from aiperf_orch.trial.data.dataset import SKIPPED, Indices
from aiperf_orch.trial.data.read_failures import is_nodes
from aiperf_orch.util.text import one_line

_SCALE: Final = (0.08, 1.0)  # of the image's area that a training crop takes
_RATIO: Final = (3 / 4, 4 / 3)  # of its width to its height
_TRIES: Final = 10
_MARGIN: Final = 256 / 224  # the short side that a validation image is resized to, to the side that is cut from it
Box = tuple[float, float, float, float]
"""Left, upper, right, lower, in pixels."""


class Order(NamedTuple):
    """A batch to decode: paths, labels, and the images' indices; with a `seed` for training, without to validate."""

    paths: list[bytes]
    labels: Indices
    indices: Indices
    seed: int | None


class Decoded(NamedTuple):
    """Images (N, height, width, 3) in uint8, whether each is to be mirrored (N,), and labels (N,).

    `broken` tells what is wrong with those that could not be read, and whether it is the node that cannot; they are black,
    and have the label SKIPPED.
    """

    images: Tensor
    mirrored: Tensor
    labels: Tensor
    broken: list[tuple[bytes, str, bool]]


class Decoder(Dataset[Decoded]):
    """Decodes orders; `root` is where their paths begin, `size` the side of the images that come out."""

    def __init__(self, root: bytes, size: int) -> None:
        self._root, self._size = root, size

    def __getitem__(self, order: Order) -> Decoded:
        """The images of an order."""
        count = len(order.paths)
        images = torch.zeros((count, self._size, self._size, 3), dtype=torch.uint8)
        mirrored = torch.zeros(count, dtype=torch.bool)
        labels = torch.from_numpy(order.labels.copy())
        pixels, broken = images.numpy(), []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            for place, (path, index) in enumerate(zip(order.paths, order.indices.tolist(), strict=True)):
                chance = None if order.seed is None else np.random.Generator(np.random.PCG64((order.seed, index)))
                try:
                    pixels[place] = read_image(os.path.join(self._root, path), self._size, chance)  # noqa: PTH118
                except Exception as error:  # a broken image makes its decoder raise almost anything
                    labels[place] = SKIPPED
                    broken.append((path, why_broken(error), is_nodes(error)))
                if chance is not None:
                    mirrored[place] = bool(chance.random() < 0.5)
        return Decoded(images, mirrored, labels, broken)


def why_broken(error: Exception) -> str:
    """What an error in reading an image says, without the path, which is known, and without what it read from."""
    said = "it is empty, or no image" if isinstance(error, UnidentifiedImageError) else str(error)
    if isinstance(error, OSError) and error.strerror:
        said = error.strerror
    return f"{type(error).__name__}: {one_line(said)}"


def as_it_is(decoded: Any) -> Any:
    """What a loader made, unchanged."""
    return decoded


def die_with_parent(_loader: int) -> None:
    """Let this loader end with the worker that it loads for, whose death its own parent, a server of forks, outlives."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def read_image(path: bytes, size: int, chance: np.random.Generator | None) -> NDArray[np.uint8]:
    """One image (size, size, 3): a random crop where there is chance, else the centre of the resized image.

    Raises:
        Exception: of any kind, when it cannot be read or decoded.
    """
    with open(path, "rb") as file:  # noqa: PTH123
        data = io.BytesIO(file.read())
    with Image.open(data) as image:
        box = centre(image.size, size) if chance is None else random_crop(image.size, chance)
        if chance is not None and image.format == "JPEG":
            box = _draft(image, box, size)
        cut = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=box)
        return np.asarray(cut)


def random_crop(shape: tuple[int, int], chance: np.random.Generator) -> Box:
    """A training crop of an image of (width, height), as Szegedy et al. (2014) cut it."""
    width, height = shape
    for _ in range(_TRIES):
        area = width * height * chance.uniform(*_SCALE)
        ratio = math.exp(chance.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left, upper = int(chance.integers(width - across + 1)), int(chance.integers(height - down + 1))
            return left, upper, left + across, upper + down
    across = min(width, max(1, round(height * _RATIO[1])))
    down = min(height, max(1, round(width / _RATIO[0])))
    left, upper = (width - across) // 2, (height - down) // 2
    return left, upper, left + across, upper + down


def centre(shape: tuple[int, int], size: int) -> Box:
    """What of an image of (width, height) is the centre of side `size` once its short side is 256/224 of that."""
    width, height = shape
    short = round(size * _MARGIN)
    wide, high = (short, short * height // width) if width <= height else (short * width // height, short)
    left, upper = round((wide - size) / 2), round((high - size) / 2)
    across, down = width / wide, height / high
    return left * across, upper * down, (left + size) * across, (upper + size) * down


def _draft(image: Image.Image, box: Box, size: int) -> Box:
    """Let the JPEG decoder leave out detail that the resize would throw away; returns the box in what it will give."""
    (width, height), (left, upper, right, lower) = image.size, box
    image.draft("RGB", (math.ceil(width * size / (right - left)), math.ceil(height * size / (lower - upper))))
    across, down = image.size[0] / width, image.size[1] / height
    return left * across, upper * down, min(right * across, image.size[0]), min(lower * down, image.size[1])
