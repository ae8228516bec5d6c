"""The three ways to write a file that must survive a crash: once, replaced whole, appended.

Everything is fsynced before it has its final name or before an append returns. What the files mean is left to others.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiperf_orch.campaign.reading import Reader, read_regular
from aiperf_orch.errors import AiperfError

_MODE = 0o640  # the directory's own mode decides whether the group gets there


def write_once(path: Path, data: bytes) -> None:
    """Write an immutable file; a file that is there already with the same bytes is left alone.

    Raises:
        AiperfError: when the file is there with other bytes, or the disk refuses.
    """
    with explained(path):
        temporary = _write_temporary(path, data)
        try:
            os.link(temporary, path)  # unlike rename, this cannot replace what is there
        except FileExistsError:
            if path.read_bytes() != data:
                raise AiperfError(f"{path}: is already there with other contents, and is never overwritten") from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            Path(temporary).rename(path)  # a file system without hard links
        finally:
            Path(temporary).unlink(missing_ok=True)
        _sync_directory(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole, replacing what was there at once.

    Raises:
        AiperfError: when the disk refuses; what was there before is still there.
    """
    with explained(path):
        temporary = _write_temporary(path, data)
        try:
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


class AppendFile:
    """An append-only file with one writer, each line on disk when `append` returns."""

    def __init__(self, path: Path, *, exclusive: bool) -> None:
        """Open for appending.

        Args:
            path: the file.
            exclusive: create it, which exactly one of many callers manages, on NFS too.

        Raises:
            FileExistsError: when `exclusive` and it is there already.
        """
        self.path = path
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | (os.O_EXCL if exclusive else 0)
        self.descriptor = os.open(path, flags, _MODE)
        os.fchmod(self.descriptor, _MODE)
        _sync_directory(path.parent)

    def append(self, text: str) -> None:
        """Append whole lines; `text` ends with a newline.

        Raises:
            AiperfError: when the disk refuses. Then nothing of `text` is left in the file, or at worst a torn last
                line, which every reader takes for "not yet".
        """
        data = text.encode()
        before = os.fstat(self.descriptor).st_size
        with explained(self.path):
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self.descriptor, view) :]
                os.fsync(self.descriptor)
            except OSError:
                os.ftruncate(self.descriptor, before)
                raise

    def truncate(self, size: int) -> None:
        """Cut the file to a size in bytes: how a new writer drops a torn last line."""
        with explained(self.path):
            os.ftruncate(self.descriptor, size)
            os.fsync(self.descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


def read_whole_lines(path: Path, offset: int = 0, read: Reader = read_regular) -> tuple[bytes, int]:
    """The complete lines of a growing file from a byte offset on, and the offset behind them.

    A torn last line is left for the next time. `read` reads the file, wherever it really is.

    Raises:
        FileNotFoundError: when there is no such file.
        AiperfError: when it cannot be read.
    """
    with explained(path, passing=FileNotFoundError, deed="read"):
        data = read(path, offset=offset)
    whole = data[: data.rfind(b"\n") + 1]
    return whole, offset + len(whole)


@contextmanager
def explained(path: Path, passing: type[OSError] | tuple[()] = (), deed: str = "written") -> Iterator[None]:
    """Turn what the operating system says of a file into a message for a person, but let errors of `passing` through."""
    try:
        yield
    except passing:
        raise
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full: free some room, then run the same command again; nothing recorded is lost",
            errno.EDQUOT: "the disk quota is used up: free some room, then run the same command again; "
            "nothing recorded is lost",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "permission denied",
        }.get(error.errno or 0, error.strerror or str(error))
        raise AiperfError(f"{path}: cannot be {deed}: {advice}") from error


def _write_temporary(path: Path, data: bytes) -> str:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, _MODE)
            os.fsync(descriptor)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    return temporary


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
