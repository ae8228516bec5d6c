"""Private temporary folders below TMPDIR; a later process removes those of processes that were killed.

Each folder has a file that its process keeps locked during its life, which shows whether the process still runs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from aiperf_orch.util.errors import AiperfError

_PREFIX: Final = "aiperf-orch-"
_LOCK: Final = "in-use"
_WITHOUT_LOCK: Final = 86400.0  # seconds; a folder without a lock is being created, or is of an old version


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A private, empty folder that is removed afterwards.

    Raises:
        AiperfError: when it cannot be created.
    """
    remove_abandoned()
    try:
        outer = Path(tempfile.mkdtemp(prefix=_PREFIX))
    except OSError as error:
        where = error.filename or "TMPDIR"
        raise AiperfError(f"{where}: no temporary folder can be made: {error.strerror}; set TMPDIR") from None
    with _removed(outer), (outer / f"{_LOCK}.new").open("wb") as lock:
        with suppress(OSError):  # without locks an abandoned folder is removed after a day
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (outer / f"{_LOCK}.new").rename(outer / _LOCK)  # it exists only while locked
        inner = outer / "files"
        inner.mkdir(mode=0o700)
        yield inner


def remove_abandoned() -> None:
    """Remove the folders of processes that were killed; folders that cannot be checked or removed stay."""
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with suppress(OSError):
                if _is_abandoned(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    status = folder.lstat()
    if folder.is_symlink() or not folder.is_dir() or status.st_uid != os.geteuid():
        return False
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return time.time() - status.st_mtime > _WITHOUT_LOCK
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        no_locks = error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
        return no_locks and time.time() - status.st_mtime > _WITHOUT_LOCK
    finally:
        os.close(descriptor)
    return True


@contextmanager
def _removed(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
