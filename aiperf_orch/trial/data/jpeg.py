"""Crops of encoded images, decoded by the fastest library that is installed, and resized.

simplejpeg, of the extra `[images]`, decodes JPEGs; Pillow decodes where it is not installed, and whatever it refuses.
Both build on libjpeg-turbo and give the same pixels. docs/research/data-loading.md compares decoders.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

try:
    import simplejpeg
except Exception:  # of any type, if it is missing, or built for other libraries than those of this machine
    simplejpeg = None

DECODER: Final = "Pillow" if simplejpeg is None else "simplejpeg"
"""Name of the library that decodes the JPEGs of training."""

Shape = tuple[int, int]
"""Width and height in pixels."""

Box = tuple[int, int, int, int]
"""Left, upper, right, lower, in pixels."""

Pixels = NDArray[np.uint8]

_REDUCTIONS: Final = (8, 4, 2)  # scales that libjpeg-turbo decodes faster than the whole image
_COLOUR_SPACES: Final = ("YCbCr", "Gray")  # which both libraries convert to the same RGB


def resized_crop(data: bytes, draw: Callable[[Shape], Box], size: int) -> Pixels:
    """Decode a crop of an image, and resize it to (size, size, 3) by a bilinear filter with antialiasing.

    Detail below the resolution of the result is not decoded: large crops are of a JPEG reduced by 2, 4 or 8.

    Args:
        data: The content of the image's file.
        draw: Gives the crop of an image of a shape; called once.
        size: The side of the result in pixels.

    Raises:
        Exception: Of any type, if the image cannot be decoded.
    """
    shape = _shape(data)
    box = draw(shape) if shape else None
    if shape and box:
        crop = _decoded_by_simplejpeg(data, shape, box, size)
        if crop is not None:
            return crop
    with Image.open(io.BytesIO(data)) as image:
        return _decoded_by_pillow(image, box or draw(image.size), size)


def _shape(data: bytes) -> Shape | None:
    """Shape of a JPEG that simplejpeg can decode; None for other images."""
    if simplejpeg is None:
        return None
    try:
        height, width, colour_space, _ = simplejpeg.decode_jpeg_header(data)
    except Exception:  # Pillow says what is wrong
        return None
    is_usual = colour_space in _COLOUR_SPACES and width * height <= (Image.MAX_IMAGE_PIXELS or math.inf)
    return (int(width), int(height)) if is_usual else None


def _decoded_by_simplejpeg(data: bytes, shape: Shape, box: Box, size: int) -> Pixels | None:
    """Crop of a JPEG; None if simplejpeg refuses it: it is strict, and any warning of libjpeg-turbo is an error."""
    reduction = reduction_of(shape, box, size)
    least = {"min_width": -(-shape[0] // reduction), "min_height": -(-shape[1] // reduction)}
    channels = "RGB" if reduction == 1 else "RGBX"  # as Pillow keeps images: the array is not copied
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, channels, min_factor=reduction, **least)
    except Exception:
        return None
    if reduction == 1:
        return _resized(pixels, box, size)
    reduced = Image.frombuffer("RGBX", (pixels.shape[1], pixels.shape[0]), pixels, "raw", "RGBX", 0, 1)
    return _resized_reduced(reduced, shape, box, size)


def _decoded_by_pillow(image: Image.Image, box: Box, size: int) -> Pixels:
    shape = image.size
    reduction = reduction_of(shape, box, size) if image.format == "JPEG" else 1
    if reduction == 1:
        return _resized(np.array(image.convert("RGB")), box, size)
    image.draft("RGB", (-(-shape[0] // reduction), -(-shape[1] // reduction)))
    return _resized_reduced(image.convert("RGB"), shape, box, size)


def reduction_of(shape: Shape, box: Box, size: int) -> int:
    """Largest reduction of a JPEG after which its crop is not smaller than the result."""
    (width, height), (left, upper, right, lower) = shape, box
    least = math.ceil(width * size / (right - left)), math.ceil(height * size / (lower - upper))
    largest = min(width // least[0], height // least[1])
    return next((reduction for reduction in _REDUCTIONS if reduction <= largest), 1)


def _resized(pixels: Pixels, box: Box, size: int) -> Pixels:
    """Crop, then resize by PyTorch, which takes a third of the time of Pillow."""
    left, upper, right, lower = box
    crop = torch.from_numpy(pixels[upper:lower, left:right]).permute(2, 0, 1).unsqueeze(0)
    resized: Pixels = interpolate(crop, (size, size), mode="bilinear", antialias=True).squeeze(0).numpy()
    return resized.transpose(1, 2, 0)


def _resized_reduced(reduced: Image.Image, shape: Shape, box: Box, size: int) -> Pixels:
    """Crop and resize by Pillow: the crop's edges lie between pixels of the reduced image, which PyTorch cannot do."""
    across, down = reduced.width / shape[0], reduced.height / shape[1]
    left, upper, right, lower = box
    edges = left * across, upper * down, min(right * across, reduced.width), min(lower * down, reduced.height)
    return np.asarray(reduced.resize((size, size), Image.Resampling.BILINEAR, box=edges))[..., :3]
