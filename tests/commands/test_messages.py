"""Messages on standard error, `--verbose` and `--log-file`."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands import messages
from aiperf_orch.util.errors import UsageError

Run = Callable[..., subprocess.CompletedProcess[str]]
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
_LOG = logging.getLogger("aiperf_orch.room.module")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    messages.configure()


def test_messages_have_a_prefix_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    messages.configure()
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        _LOG.log(level, "level %d", level)
    assert capsys.readouterr().err == "level 20\nwarning: level 30\nerror: level 40\n"


def test_verbose_shows_debug_with_time_level_and_module(capsys: pytest.CaptureFixture[str]) -> None:
    messages.configure(verbose=True)
    _LOG.debug("a\nb")
    assert re.fullmatch(rf"{_TIME} DEBUG aiperf_orch\.room\.module: a\\nb\n", capsys.readouterr().err)


def test_a_log_file_has_all_messages_and_is_appended_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    file.write_text("before\n")
    messages.configure(log_file=file)
    _LOG.debug("a detail")
    _LOG.warning("a warning")
    lines = file.read_text().splitlines()
    assert lines[0] == "before"
    assert re.fullmatch(rf"{_TIME} DEBUG aiperf_orch\.room\.module: a detail", lines[1])
    assert re.fullmatch(rf"{_TIME} WARNING aiperf_orch\.room\.module: a warning", lines[2])
    assert capsys.readouterr().err == "warning: a warning\n"


def test_a_log_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--log-file: .*: cannot be opened: No such file or directory"):
        messages.configure(log_file=tmp_path / "nowhere" / "log")


def test_a_full_disk_does_not_end_the_program(small_disk: Path, fill: Any, capsys: pytest.CaptureFixture[str]) -> None:
    messages.configure(log_file=small_disk / "log")
    fill(small_disk)
    for _ in range(50):
        _LOG.warning("x" * 1000)
    messages.configure()  # closes the file
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("before", [True, False])
def test_options_stand_before_or_after_the_command(aiperf: Run, tmp_path: Path, before: bool) -> None:
    options = ("--verbose", "--log-file", "log")
    done = aiperf(*options, "status", tmp_path) if before else aiperf("status", tmp_path, *options)
    assert done.returncode == 2
    assert re.fullmatch(rf"{_TIME} ERROR aiperf_orch\.commands\.command_group: .*: is not a campaign .*\n", done.stderr)
    assert (tmp_path / "log").read_text() == done.stderr


def test_a_wrong_log_file_is_one_message(aiperf: Run) -> None:
    done = aiperf("--log-file", "nowhere/log", "status", ".")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --log-file: nowhere/log: cannot be opened: No such file or directory\n"


def test_a_full_disk_is_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    messages.configure(log_file=Path("/dev/full"))
    for _ in range(3):
        _LOG.info("a line")
    messages.configure()
    text = capsys.readouterr().err
    assert text.count("warning: --log-file: /dev/full: cannot be written: ") == 1
    assert text.count("a line") == 3


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(campaign: Callable[..., Any], closed: str) -> None:
    made = campaign()
    made.trial(0, [(2, 0.5)])
    for command in ("status", "tick", "score"):
        line = f"{sys.executable} -m aiperf_orch.cli {command} {made.path} {closed}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, "Traceback" in done.stderr + done.stdout) == (0, False), done.stderr
