"""Reading of a submission in a process of its own, so that no file can stop a ranking.

A file that takes too long, needs too much memory or meets an error of this program ends the process that reads it, and
is listed as not checked. So is one that changes while it is read: its signature and its records might be those of two
different contents.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import tempfile
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from aiperf_orch.committee.submission import Submission, read_submission
from aiperf_orch.package.findings import printable_line
from aiperf_orch.package.signature import signature_of
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.temporary_folders import scratch_folder
from aiperf_orch.util.units import format_duration

_PRELOADED: Final = ["aiperf_orch.committee.submission", "aiperf_orch.package.verify"]
_RENDERER: Final = "aiperf_orch.results.report"  # it loads matplotlib
_END_SECONDS: Final = 10.0  # that a process may take to end: on a file system that hangs it cannot be ended


def read_isolated(path: Path, signers: Path | None, seconds: float, report: Path | None = None) -> Submission:
    """Read a submission as `read_submission` does, in a process of its own. Nothing about the file raises an error.

    Args:
        path: of the file.
        signers: an `allowed_signers` file; None asks for no signature.
        seconds: after this time the process is ended.
        report: where the process writes a report that is rendered from a package's records; None writes none.

    Raises:
        AiperfError: There is no space for temporary files.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED if report is None else [*_PRELOADED, _RENDERER])
    with scratch_folder() as scratch:  # an ended process leaves its copy of the package here
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_read, args=(path, signers, report, scratch, sender), daemon=True)
        process.start()
        sender.close()
        try:
            return _answer(process, receiver, path, seconds)
        finally:
            process.kill()
            process.join(_END_SECONDS)
            receiver.close()


def _answer(
    process: multiprocessing.process.BaseProcess, receiver: Connection, path: Path, seconds: float
) -> Submission:
    """The submission that the process sends, or one that says why it sends none."""
    if not receiver.poll(seconds):
        limit = format_duration(seconds)
        return _unchecked(path, f"its check took longer than {limit}; `--timeout` permits more")
    try:
        answer = receiver.recv()
    except EOFError:
        process.join(_END_SECONDS)
        code = process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
        return _unchecked(path, f"its check was ended {how}, for example because it needed too much memory")
    return answer if isinstance(answer, Submission) else _unchecked(path, str(answer))


def _read(path: Path, signers: Path | None, report: Path | None, scratch: Path, sender: Connection) -> None:
    """Body of the process: send the submission, or a message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    tempfile.tempdir = str(scratch)
    gc.disable()  # many small objects that all stay: the search for cycles among them takes a third of the time
    with suppress(BrokenPipeError):  # the parent was interrupted before it could end this process
        _send_answer(path, signers, report, sender)


def _send_answer(path: Path, signers: Path | None, report: Path | None, sender: Connection) -> None:
    try:
        before = _versions(path)
        submission = read_submission(path, signers, report)
        if _versions(path) != before:
            submission = _unchecked(path, "it or its signature was changed while it was read: give it again")
        sender.send(submission)
    except UsageError as error:  # it cannot be read
        sender.send(Submission(path, None, False, printable_line(str(error).removeprefix(f"{path}: "))))
    except AiperfError as error:
        sender.send(str(error).removeprefix(f"{path}: "))
    except Exception as error:  # any error concerns this file only
        sender.send(f"its check failed, which is an error of aiperf-orch: {type(error).__name__}: {error}")


def _unchecked(path: Path, why: str) -> Submission:
    return replace(Submission(path, None, False, printable_line(why)), is_unchecked=True)


def _versions(path: Path) -> list[tuple[int, ...] | None]:
    """What changes with the contents of a file or of its signature."""
    found: list[tuple[int, ...] | None] = []
    for file in (path, signature_of(path)):
        try:
            status = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return found
