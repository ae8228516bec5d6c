"""The report while a campaign runs: when it is started, and that its errors concern nobody."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.running_report import REPORT_INTERVAL, RunningReport
from aiperf_orch.commands.status import show_status
from aiperf_orch.package.page_syntax import PageError, read_page
from aiperf_orch.records.journal import Finished

Start = Callable[..., RunningReport]


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(clock: Clock) -> Iterator[Start]:
    reports = []

    def begin(script: str, *arguments: Any) -> RunningReport:
        reports.append(RunningReport([sys.executable, "-c", script, *map(str, arguments)], clock))
        return reports[-1]

    yield begin
    for report in reports:
        report.close()


def _ended(report: RunningReport) -> None:
    """Wait until the process has ended, and let the report note it."""
    process = report._process
    assert process is not None
    process.wait(20)
    report.step()


NOTE = "import sys; open(sys.argv[1], 'a').write('x')"


def test_it_is_started_each_minute(start: Start, clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    report = start(NOTE, file)
    report.step()
    assert report._process is None, "not at the begin"
    for number in (1, 2):
        clock.time = number * REPORT_INTERVAL
        report.step()
        _ended(report)
        report.step()
        assert file.read_text() == number * "x"


@pytest.mark.parametrize(("duration", "next_start"), [(2.0, 60.0), (6.0, 120.0), (30.0, 600.0)])
def test_a_long_report_is_started_less_often(start: Start, clock: Clock, duration: float, next_start: float) -> None:
    report = start("pass")
    clock.time = begin = REPORT_INTERVAL
    report.step()
    assert report._process is not None
    report._process.wait(20)
    clock.time = begin + duration
    report.step()
    clock.time = begin + next_start - 0.1
    report.step()
    assert report._process is None
    clock.time = begin + next_start
    report.step()
    assert report._process is not None


def test_one_that_hangs_is_the_only_one_and_is_killed_at_the_end(start: Start, clock: Clock) -> None:
    report = start("import time; time.sleep(600)")
    clock.time = REPORT_INTERVAL
    report.step()
    process = report._process
    assert process is not None
    clock.time = 100 * REPORT_INTERVAL
    began = time.monotonic()
    report.step()
    assert report._process is process
    report.close()
    assert process.returncode is not None
    assert time.monotonic() - began < 5


def test_an_error_is_logged_once(start: Start, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    report = start("import sys; sys.exit('error: the disk is full')")
    with caplog.at_level(logging.WARNING):
        for number in (1, 2):
            clock.time = number * REPORT_INTERVAL
            report.step()
            _ended(report)
    assert [record.getMessage() for record in caplog.records] == [
        "the report could not be written while the campaign runs, which goes on: error: the disk is full"
    ]


def test_a_program_that_is_missing_is_logged_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    report = RunningReport(["/nowhere/python"], clock)
    with caplog.at_level(logging.WARNING):
        for number in (1, 2):
            clock.time = number * REPORT_INTERVAL
            report.step()
    assert len(caplog.records) == 1
    report.close()


@pytest.mark.parametrize("phase", ["running", "finished"])
def test_the_page_of_a_running_campaign_reads_itself_again(campaign: Any, aiperf: Any, phase: str) -> None:
    made = campaign()
    made.trial(0, [(5, 0.5)])
    if phase == "finished":
        made.write(Finished, reason="its 1 trial has ended", by_deadline=False)
    aiperf("report", made.path, "--controller", str(os.getpid()))
    if phase == "finished":
        assert not made.directory.report.exists(), "the controller's last page would be replaced"
        return
    tag = '<meta http-equiv="refresh" content="60">'
    running = made.directory.report.read_text()
    with pytest.raises(PageError, match='the element meta with http-equiv="refresh": a report has none'):
        read_page(running)
    aiperf("report", made.path)
    assert running.replace(f"{tag}\n", "") == made.directory.report.read_text()
    assert read_page(made.directory.report.read_text())
    assert str(made.directory.report) in show_status(made.path, "table").text


def test_a_report_of_a_controller_that_has_gone_is_not_written(campaign: Any, aiperf: Any) -> None:
    made = campaign()
    made.trial(0, [(5, 0.5)])
    assert aiperf("report", made.path, "--controller", "1").returncode == 1
    assert not made.directory.report.exists()
