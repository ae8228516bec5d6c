"""The three ways to write a file that must survive a crash: once, replaced whole, appended; and how each is read.

Everything is fsynced before it has its final name or before an append returns. A file system that has no fsync of
directories, no modes or no hard links is served without them where nothing depends on them. What the files mean is left
to others.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.safe_reading import RETRY_SECONDS, Reader, is_transient, read_regular, retry_transient
from aiperf_orch.util.errors import AiperfError, TransientError

_MODE: Final = 0o640  # the directory's own mode decides whether the group gets there
_UNSUPPORTED: Final = (
    errno.EPERM,
    errno.EACCES,
    errno.EINVAL,
    errno.ENOTSUP,
    errno.ENOSYS,
    errno.ENOTTY,
    errno.EBADF,
    errno.EMLINK,
    errno.EXDEV,
)
"""What file systems answer to a call that they do not have: CIFS, FUSE, GPFS with ACLs, some object stores."""


def write_once(path: Path, data: bytes) -> None:
    """Write an immutable file; a file that is there already with the same bytes is left alone.

    Raises:
        AiperfError: when the file is there with other bytes, or the disk refuses.
    """

    def write() -> None:
        with translate_os_errors(path, may_pass=True), _temporary(path, data) as temporary:
            try:
                _link(temporary, path)
            except FileExistsError:
                if path.read_bytes() != data:
                    raise AiperfError(
                        f"{path}: is already there with other contents, and is never overwritten"
                    ) from None

    retry_transient(write)
    _sync_directory(path.parent)


def replace_file(path: Path, data: bytes, *, retry_for: float = RETRY_SECONDS) -> None:
    """Write a file whole, replacing what was there at once.

    Args:
        path: the file.
        data: its bytes.
        retry_for: seconds of trying again when an error may pass.

    Raises:
        AiperfError: when the disk refuses; what was there before is still there.
    """

    def write() -> None:
        with translate_os_errors(path, may_pass=True), _temporary(path, data) as temporary, called("rename"):
            Path(temporary).replace(path)

    retry_transient(write, retry_for)
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
        with called("open"):
            self.descriptor = os.open(path, flags, _MODE)
        try:
            _set_mode(self.descriptor, _MODE)
            _sync_directory(path.parent)
        except (OSError, AiperfError):
            if exclusive:  # whoever tries again must not find it taken
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
            retry_for: seconds of trying again when an error may pass.

        Raises:
            AiperfError: when the disk refuses. Then nothing of `text` is left in the file, or at worst a torn last
                line, which every reader takes for "not yet".
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
        """Cut the file to a size in bytes: how a new writer drops a torn last line."""
        with translate_os_errors(self.path):
            with called("ftruncate"):
                os.ftruncate(self.descriptor, size)
            with called("fsync"):
                os.fsync(self.descriptor)

    def _go_back_to(self, size: int) -> None:
        """Open the file again, which a network file system may ask for, without what a write left behind `size` bytes."""
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


def read_file(path: Path, *, offset: int = 0, retry_for: float = RETRY_SECONDS) -> bytes:
    """A regular file's bytes; an error that may pass is waited out.

    Args:
        path: the file.
        offset: in bytes, where to begin.
        retry_for: seconds of trying again.

    Raises:
        FileNotFoundError: when there is no such file.
        TransientError: when it could not be read for as long as that: nothing is known of it.
        AiperfError: when it is none that can be read: a pipe, a device, a directory.
    """

    def read() -> bytes:
        with translate_os_errors(path, passing=FileNotFoundError, action="read"):
            return read_regular(path, offset=offset)

    return retry_transient(read, retry_for)


def read_whole_lines(path: Path, offset: int = 0, read: Reader = read_file) -> tuple[bytes, int]:
    """The complete lines of a growing file from a byte offset on, and the offset behind them.

    A torn last line is left for the next time. `read` reads the file, wherever it really is.

    Raises:
        FileNotFoundError: when there is no such file.
        TransientError: when it could not be read for now.
        AiperfError: when it cannot be read.
    """
    with translate_os_errors(path, passing=FileNotFoundError, action="read"):
        data = read(path, offset=offset)
    whole = data[: data.rfind(b"\n") + 1]
    return whole, offset + len(whole)


def file_exists(path: Path, *, retry_for: float = 0.0) -> bool:
    """Whether a file can be opened: on a network file system only this tells.

    Args:
        path: the file.
        retry_for: seconds of trying again.

    Raises:
        TransientError: when that cannot be told for now.
    """

    def look() -> bool:
        try:
            with translate_os_errors(path, passing=(FileNotFoundError, NotADirectoryError), action="read"):
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    return retry_transient(look, retry_for)


@contextmanager
def translate_os_errors(
    path: Path,
    passing: type[OSError] | tuple[type[OSError], ...] = (),
    action: str = "written",
    *,
    may_pass: bool = False,
) -> Iterator[None]:
    """Turn what the operating system says of a file into a message, but let errors of `passing` through.

    Args:
        path: the file.
        passing: errors that the caller handles.
        action: what was done to the file, as "read".
        may_pass: whether a file that was written can be written again; one that is read always can.

    Raises:
        TransientError: for an error that may pass.
        AiperfError: for any other.
    """
    try:
        yield
    except passing:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        refused = f"{reason}: the file system refuses this call: choose a folder on another one"
        unsupported = (errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS) if action != "read" else ()
        lasts = error.errno in _UNSUPPORTED and error.errno != errno.EACCES
        if is_transient(error) and (action != "written" or (may_pass and not lasts)):
            raise TransientError(f"{path}: cannot be {action} for now: {reason}") from error
        advice = {
            errno.ENOSPC: "the disk is full: free some room, then run the same command again; nothing recorded is lost",
            errno.EDQUOT: "the disk quota is used up: free some room, then run the same command again; "
            "nothing recorded is lost",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: reason.replace("Permission", "permission"),
            **dict.fromkeys(unsupported, refused),
        }.get(error.errno or 0, reason)
        raise AiperfError(f"{path}: cannot be {action}: {advice}") from error


@contextmanager
def called(name: str) -> Iterator[None]:
    """Let an error of the operating system say which call it answers."""
    try:
        yield
    except OSError as error:
        error.strerror = f"{error.strerror} ({name})"
        raise


def set_folder_mode(folder: Path, mode: int) -> None:
    """Give a folder its mode; a file system that refuses may keep its own where that gives nobody else more.

    Raises:
        AiperfError: when it gives others more than `mode`, and cannot be changed.
    """
    with translate_os_errors(folder):
        try:
            with called("chmod"):
                folder.chmod(mode)
        except OSError as error:
            found = stat.S_IMODE(folder.stat().st_mode)
            if error.errno not in _UNSUPPORTED:
                raise
            if found & ~mode & 0o077:
                raise AiperfError(
                    f"{folder}: its mode is {found:04o}, which lets others in, and the file system refuses to make it "
                    f"{mode:04o}: {error.strerror}: choose a folder on another file system, or let its administrator "
                    "take these rights away"
                ) from error


def _link(temporary: str, path: Path) -> None:
    """Give a file its name, which nobody else may have; unlike rename, link cannot replace what is there."""
    try:
        with called("link"):
            os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        with called("rename"):
            Path(temporary).rename(path)


@contextmanager
def _temporary(path: Path, data: bytes) -> Iterator[str]:
    """A file with this content beside `path`; it is gone afterwards, unless it was given another name."""
    temporary = _write_temporary(path, data)
    try:
        yield temporary
    finally:
        with suppress(OSError):
            Path(temporary).unlink(missing_ok=True)


def _write_temporary(path: Path, data: bytes) -> str:
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


def _write(descriptor: int, data: bytes) -> None:
    """Write to the disk, whole."""
    view = memoryview(data)
    with called("write"):
        while view:
            view = view[os.write(descriptor, view) :]
    with called("fsync"):
        os.fsync(descriptor)


def _set_mode(descriptor: int, mode: int) -> None:
    """Give a file of ours its mode; where the file system has modes of its own, the folder's keeps others out."""
    try:
        with called("fchmod"):
            os.fchmod(descriptor, mode)
    except OSError:
        if os.fstat(descriptor).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise


def _sync_directory(directory: Path) -> None:
    """Let a new name survive a crash, where the file system has an fsync of directories at all."""

    def sync() -> None:
        with translate_os_errors(directory, action="opened"), called("open"):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                with translate_os_errors(directory), called("fsync"):
                    raise
        finally:
            os.close(descriptor)

    retry_transient(sync)
