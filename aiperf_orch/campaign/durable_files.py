"""Writing of files that must survive a crash (once, replaced, appended), and their reading.

Data are fsynced before a file gets its final name, or before an append returns. A file system without fsync of
directories, without modes or without hard links is used without them where nothing depends on them.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from aiperf_orch.campaign.file_errors import UNSUPPORTED, called, translate_os_errors
from aiperf_orch.campaign.safe_reading import RETRY_SECONDS, Reader, read_regular, retry_transient
from aiperf_orch.util.errors import AiperfError, TransientError

_PIECE: Final = 1 << 20  # bytes that are copied at once
_MODE: Final = 0o640  # whether the group has access depends on the directory's mode


def write_once(path: Path, data: bytes) -> None:
    """Write an immutable file; an existing file with the same bytes is accepted.

    Raises:
        AiperfError: when the file exists with other bytes, or the disk refuses.
    """

    def write() -> None:
        with translate_os_errors(path, may_pass=True), _temporary(path, data) as temporary:
            try:
                _link(temporary, path)
            except FileExistsError:
                if path.read_bytes() != data:
                    raise AiperfError(f"{path}: exists with other contents, and is never overwritten") from None

    retry_transient(write)
    _sync_directory(path.parent)


def replace_file(path: Path, data: bytes | BinaryIO, *, retry_for: float = RETRY_SECONDS) -> None:
    """Write a whole file, which atomically replaces an existing one.

    Args:
        path: the file.
        data: its bytes, or an open file with them, which is copied piece by piece.
        retry_for: seconds for which transient errors are retried; where it is long, its folder was there before, and
            may be absent for a while.

    Raises:
        AiperfError: when the disk refuses, or a device, a pipe or a directory has this name; what exists is unchanged.
    """

    def write() -> None:
        with translate_os_errors(path, may_pass=True):
            _check_replaceable(path)
        try:
            with translate_os_errors(path, may_pass=True), _temporary(path, data) as temporary, called("rename"):
                Path(temporary).replace(path)
        except AiperfError as error:
            if isinstance(error.__cause__, FileNotFoundError) and retry_for > RETRY_SECONDS:
                raise TransientError(str(error)) from error
            raise

    retry_transient(write, retry_for)
    _sync_directory(path.parent, retry_for)


def _check_replaceable(path: Path) -> None:
    """Refuse names of devices and pipes: the superuser's `--output /dev/null` would put a file in place of the device.

    Raises:
        AiperfError: when the name is that of no regular file.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise AiperfError(f"{path}: cannot be written: not a regular file: name another one")


class AppendFile:
    """An append-only file with one writer, each line on disk when `append` returns."""

    def __init__(self, path: Path, *, exclusive: bool) -> None:
        """Open for appending.

        Args:
            path: the file.
            exclusive: create the file, in which exactly one of several callers succeeds, also on NFS.

        Raises:
            FileExistsError: when `exclusive` and the file exists.
        """
        self.path = path
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | (os.O_EXCL if exclusive else 0)
        with called("open"):
            self.descriptor = os.open(path, flags, _MODE)
        try:
            _set_mode(self.descriptor, _MODE)
            _sync_directory(path.parent)
        except (OSError, AiperfError):
            if exclusive:  # a retry must be able to create it
                path.unlink(missing_ok=True)
            self.close()
            raise

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return os.fstat(self.descriptor).st_size

    def append(self, text: str, *, retry_for: float = RETRY_SECONDS) -> None:
        """Append whole lines.

        Args:
            text: ends with a newline.
            retry_for: seconds for which transient errors are retried.

        Raises:
            AiperfError: when the disk refuses. Then nothing of `text` is left in the file, or at worst a torn last
                line, which readers ignore.
        """
        data, tries = text.encode(), itertools.count()
        with translate_os_errors(self.path):
            before = self.size

        def write() -> None:
            with translate_os_errors(self.path, may_pass=True):
                if next(tries):
                    self._go_back_to(before)
                _write(self.descriptor, data)

        try:
            retry_transient(write, retry_for)
        except AiperfError:
            with suppress(OSError):
                os.ftruncate(self.descriptor, before)
            raise

    def truncate(self, size: int) -> None:
        """Truncate the file to a size in bytes, by which a new writer drops a torn last line."""
        with translate_os_errors(self.path):
            with called("ftruncate"):
                os.ftruncate(self.descriptor, size)
            with called("fsync"):
                os.fsync(self.descriptor)

    def _go_back_to(self, size: int) -> None:
        """Reopen the file, as a network file system may require, and truncate it to its size before a failed write."""
        with called("open"):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
        try:
            with called("ftruncate"):
                os.ftruncate(descriptor, size)
        except OSError:
            os.close(descriptor)
            raise
        os.close(self.descriptor)
        self.descriptor = descriptor

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


def read_file(path: Path, *, offset: int = 0, most: int = -1, retry_for: float = RETRY_SECONDS) -> bytes:
    """A regular file's bytes; transient errors are retried.

    Args:
        path: the file.
        offset: first byte to read.
        most: maximum number of bytes; -1 for all.
        retry_for: seconds for which transient errors are retried.

    Raises:
        FileNotFoundError: when there is no such file.
        TransientError: when it could not be read within that time: nothing is known of the file.
        AiperfError: when it cannot be read: a pipe, a device, a directory.
    """

    def read() -> bytes:
        with translate_os_errors(path, passing=FileNotFoundError, action="read"):
            return read_regular(path, offset=offset, most=most)

    return retry_transient(read, retry_for)


def read_whole_lines(path: Path, offset: int = 0, read: Reader = read_file) -> tuple[bytes, int]:
    """Complete lines of a growing file from a byte offset on, and the offset after them.

    A torn last line is not read.

    Args:
        path: the file.
        offset: first byte to read.
        read: reads the file's bytes, wherever they are stored.

    Raises:
        FileNotFoundError: when there is no such file.
        TransientError: when it cannot be read for now.
        AiperfError: when it cannot be read.
    """
    with translate_os_errors(path, passing=FileNotFoundError, action="read"):
        data = read(path, offset=offset)
    whole = data[: data.rfind(b"\n") + 1]
    return whole, offset + len(whole)


def file_exists(path: Path, *, retry_for: float = 0.0) -> bool:
    """Whether a file exists, by opening it: on a network file system other calls may be outdated.

    Args:
        path: the file.
        retry_for: seconds for which transient errors are retried.

    Raises:
        TransientError: when that cannot be determined for now.
    """

    def opens() -> bool:
        try:
            with translate_os_errors(path, passing=(FileNotFoundError, NotADirectoryError), action="read"):
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    return retry_transient(opens, retry_for)


def set_folder_mode(folder: Path, mode: int) -> None:
    """Set a folder's mode; where the file system refuses, its own mode is accepted if it grants others no more.

    Raises:
        AiperfError: when others have more access than `mode` grants, and the mode cannot be changed.
    """
    with translate_os_errors(folder):
        try:
            with called("chmod"):
                folder.chmod(mode)
        except OSError as error:
            found = stat.S_IMODE(folder.stat().st_mode)
            if error.errno not in UNSUPPORTED:
                raise
            if found & ~mode & 0o077:
                raise AiperfError(
                    f"{folder}: its mode {found:04o} grants others access, and the file system refuses to make it "
                    f"{mode:04o}: {error.strerror}: choose a folder on another file system, or have its administrator "
                    "remove these rights"
                ) from error


def _link(temporary: str, path: Path) -> None:
    """Give a file its final name; unlike rename, link cannot replace an existing file."""
    try:
        with called("link"):
            os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        with called("rename"):
            Path(temporary).rename(path)


@contextmanager
def _temporary(path: Path, data: bytes | BinaryIO) -> Iterator[str]:
    """A temporary file with this content beside `path`; removed afterwards, unless it was renamed."""
    temporary = _write_temporary(path, data)
    try:
        yield temporary
    finally:
        with suppress(OSError):
            Path(temporary).unlink(missing_ok=True)


def _write_temporary(path: Path, data: bytes | BinaryIO) -> str:
    with called("open"):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        _set_mode(descriptor, _MODE)
        _write(descriptor, data)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return temporary


def _write(descriptor: int, data: bytes | BinaryIO) -> None:
    """Write all data to the disk."""
    with called("write"):
        for piece in [data] if isinstance(data, bytes) else _pieces(data):
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
    with called("fsync"):
        os.fsync(descriptor)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)  # of a write that is tried again, too
    return iter(partial(file.read, _PIECE), b"")


def _set_mode(descriptor: int, mode: int) -> None:
    """Set a file's mode; where the file system refuses, the folder's mode denies others access."""
    try:
        with called("fchmod"):
            os.fchmod(descriptor, mode)
    except OSError:
        if os.fstat(descriptor).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise


def _sync_directory(directory: Path, retry_for: float = RETRY_SECONDS) -> None:
    """Make a new name survive a crash, where the file system supports fsync of directories."""

    def sync() -> None:
        with translate_os_errors(directory, action="opened"), called("open"):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                with translate_os_errors(directory), called("fsync"):
                    raise
        finally:
            os.close(descriptor)

    retry_transient(sync, retry_for)
