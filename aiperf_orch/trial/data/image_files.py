"""Reading of encoded images, from files of their own or from shards. Few imports: every loader process has them."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple


class Place(NamedTuple):
    """Where an image is: a file, relative to the root, and the part of it; a size of -1 is that of the file."""

    file: bytes
    offset: int = 0
    size: int = -1


class ImageFiles:
    """Reads images below a root; shards stay open, in each process its own."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._shards: dict[bytes, int] = {}

    def read(self, place: Place) -> bytes:
        """Read the encoded image at a place.

        Raises:
            OSError: If it cannot be read, or the shard is truncated.
        """
        path = os.path.join(self._root, place.file)  # noqa: PTH118
        if place.size < 0:
            with open(path, "rb") as file:  # noqa: PTH123
                return file.read()
        if place.file not in self._shards:
            self._shards[place.file] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return _read_part(self._shards[place.file], place)

    def close(self) -> None:
        """Close the shards; further reading opens them again."""
        while self._shards:
            os.close(self._shards.popitem()[1])


def _read_part(descriptor: int, place: Place) -> bytes:
    parts, offset, end = [], place.offset, place.offset + place.size
    while offset < end:  # a network file system may return fewer bytes
        part = os.pread(descriptor, end - offset, offset)
        if not part:
            message = f"the shard ends before the image at {place.offset:,}"
            raise OSError(errno.ENOENT, message, os.fsdecode(place.file))
        parts.append(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
