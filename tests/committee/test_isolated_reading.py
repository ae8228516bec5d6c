"""Tests of reading a submission in a process of its own, whose reader fails, ends or meets a file that changes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.committee import isolated_reading
from aiperf_orch.committee.isolated_reading import read_isolated
from aiperf_orch.committee.submission import Submission, read_submission
from aiperf_orch.util.errors import AiperfError, UsageError
from committee import result_rows

_FAILED = "its check failed, which is an error of aiperf-orch"


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are forks of this one, which has the changed reader."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(isolated_reading.multiprocessing, "get_context", lambda _method: context)
    monkeypatch.setattr(type(context), "set_forkserver_preload", lambda *_: None)


def _write_again(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"\n")


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def _sign_again(path: Path) -> None:
    path.with_name(f"{path.name}.sig").write_text("another signature")


@pytest.mark.parametrize("change", [_write_again, _replace, _sign_again])
def test_a_file_that_changes_while_it_is_read_is_not_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    def read(path: Path, signers: Path | None, report: Path | None) -> Submission:
        found = read_submission(path, signers, report)
        change(path)
        return found

    monkeypatch.setattr(isolated_reading, "read_submission", read)
    found = read_isolated(result_rows.write(tmp_path / "r.csv"), None, 60)
    assert (found.row, found.is_unchecked) == (None, True)
    assert found.fault == "it or its signature was changed while it was read: give it again"


def test_an_unchanged_file_is_read(tmp_path: Path) -> None:
    path = result_rows.write(tmp_path / "r.csv")
    assert read_isolated(path, None, 60) == read_submission(path)


def test_the_report_is_rendered_in_the_process_that_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read(path: Path, signers: Path | None, report: Path | None) -> Submission:
        assert report
        report.write_text(str(os.getpid()))
        return read_submission(path, signers, report)

    monkeypatch.setattr(isolated_reading, "read_submission", read)
    read_isolated(result_rows.write(tmp_path / "r.csv"), None, 60, tmp_path / "report")
    assert (tmp_path / "report").read_text() not in ("", str(os.getpid()))


def _raise(error: Exception) -> Callable[..., Any]:
    def read(*_: Any) -> None:
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "unchecked", "message"),
    [
        (
            _raise(RecursionError("too\x1b deep")),
            True,
            "its check failed, which is an error of aiperf-orch: RecursionError",
        ),
        (_raise(MemoryError()), True, "its check failed, which is an error of aiperf-orch: MemoryError"),
        (_raise(AiperfError("x: no space is left")), True, "x: no space is left"),
        (_raise(UsageError("x: is a folder")), False, "x: is a folder"),
        (lambda *_: os.kill(os.getpid(), signal.SIGKILL), True, "its check was ended by signal 9, for example"),
        (lambda *_: os._exit(3), True, "its check was ended with status 3"),
        (lambda *_: signal.pause(), True, "its check took longer than"),
    ],
    ids=["deep", "memory", "no space", "usage", "killed", "exit", "hangs"],
)
def test_a_reader_that_fails_concerns_its_file_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read: Callable[..., Any], unchecked: bool, message: str
) -> None:
    monkeypatch.setattr(isolated_reading, "read_submission", read)
    found = read_isolated(tmp_path / "file", None, 0.2 if "longer" in message else 60)
    assert (found.row, found.verified, found.is_unchecked) == (None, False, unchecked)
    assert found.fault
    assert found.fault.startswith(message)
    assert found.fault.isprintable()


def test_a_killed_reader_leaves_no_copy_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read(*_: Any) -> None:
        tempfile.mkdtemp()
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(isolated_reading, "read_submission", read)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    read_isolated(tmp_path / "file", None, 60)
    assert list(tmp_path.iterdir()) == []


def test_a_process_whose_parent_was_interrupted_ends_without_a_traceback(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    receiver.close()
    process = context.Process(target=isolated_reading._read, args=(tmp_path / "none", None, None, tmp_path, sender))
    process.start()
    process.join(60)
    assert (process.exitcode, capfd.readouterr().err) == (0, "")
