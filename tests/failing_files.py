"""Files that fail temporarily when they are opened, as on a network file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

PASSING = [errno.ESTALE, errno.EIO, errno.EACCES]
_open = os.open


class FailingOpen:
    """Stands in for `os.open`: from the `at`-th opening of a path with `part` in it on, `times` of them fail.

    `opened` counts the openings of such paths, `failed` lists those that failed.
    """

    def __init__(self, part: str, *, at: int, number: int = errno.ESTALE, times: int = 1) -> None:
        self._part, self._at, self._number, self._times = part, at, number, times
        self.opened = 0
        self.failed: list[str] = []

    def __call__(self, path: Any, *arguments: Any, **options: Any) -> int:
        if self._part in (text := os.fsdecode(path) if not isinstance(path, int) else ""):
            self.opened += 1
            if self._at <= self.opened < self._at + self._times:
                self.failed.append(Path(text).name)
                raise OSError(self._number, os.strerror(self._number), text)
        return _open(path, *arguments, **options)
