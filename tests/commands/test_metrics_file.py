"""The file of metrics in a campaign directory: replaced each minute, and never in the way of the campaign."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiperf_orch.commands import metrics_file
from aiperf_orch.commands.metrics import metrics_text, show_metrics
from aiperf_orch.commands.metrics_file import MetricsFile
from aiperf_orch.commands.watch import WatchedCampaign
from waiting import wait_for

Build = Callable[..., Any]


@pytest.fixture
def made(campaign: Build) -> Any:
    """A campaign of one trial whose deadline has passed; its next controller finishes it."""
    made = campaign()
    made.trial(0, [(2, 0.5), (8, 0.2)])
    return made


@pytest.mark.unit
def test_the_file_is_replaced_once_a_minute(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: 1000.0)
    monkeypatch.setattr(metrics_file, "time", clock)
    file, campaign, path = MetricsFile(pytest.fail), WatchedCampaign(made.directory), made.directory.metrics
    file.update(campaign)
    first = path.read_text()
    made.submit(1)
    campaign.read_on()
    clock.monotonic = lambda: 1059.0
    file.update(campaign)
    assert path.read_text() == first
    clock.monotonic = lambda: 1060.0
    file.update(campaign)
    assert path.read_text() == metrics_text(campaign) != first
    assert [each.name for each in made.path.iterdir() if "metrics" in each.name] == [path.name]


@pytest.mark.unit
def test_a_file_that_cannot_be_written_is_one_warning_and_tried_again(made: Any) -> None:
    warnings: list[str] = []
    file, campaign, path = MetricsFile(warnings.append), WatchedCampaign(made.directory), made.directory.metrics
    for count in (1, 2):
        path.mkdir()
        for _ in range(3):
            file.write(campaign)
        assert len(warnings) == count
        assert str(path) in warnings[-1]
        path.rmdir()
        file.write(campaign)
        assert path.read_text().endswith("# EOF\n")
        path.unlink()


@pytest.mark.parametrize("command", ["run", "tick"])
def test_a_controller_leaves_the_metrics_of_its_last_step(made: Any, aiperf: Build, command: str) -> None:
    arguments = {"run": [made.site, "--campaign-dir", made.path], "tick": [made.path]}[command]
    done = aiperf(command, *arguments)
    assert done.returncode == 0, done.stderr
    text = made.directory.metrics.read_text()
    assert 'phase="finished"} 1' in text
    assert aiperf("status", made.path, "--format", "openmetrics").stdout == text == show_metrics(made.path).text


def test_the_format_is_of_the_campaign_as_a_whole(made: Any, aiperf: Build) -> None:
    refused = aiperf("status", made.path, "--format", "openmetrics", "--best")
    assert refused.returncode == 2
    assert "has the campaign as a whole" in refused.stderr


@pytest.mark.local
def test_a_controller_writes_the_metrics_while_it_runs(write_site: Build, tmp_path: Path) -> None:
    site = write_site(training__trainer="simulated", campaign__duration="60s")
    command = [sys.executable, "-m", "aiperf_orch.cli", "run", str(site), "--campaign-dir", str(tmp_path / "campaign")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            path = tmp_path / "campaign" / "metrics.prom"
            wait_for(path.exists, "the metrics are written")
            assert 'phase="running"} 1' in path.read_text(encoding="utf-8")
            assert running.poll() is None
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(60)
    assert 'phase="stopped"} 1' in path.read_text(encoding="utf-8")
