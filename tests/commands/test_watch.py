"""`status --watch`: a campaign that another process controls."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest

from aiperf_orch.commands import watch
from aiperf_orch.commands.live_view import heading, picture, waiting_line
from aiperf_orch.commands.watch import WatchedCampaign
from aiperf_orch.records.journal import Finished, Opened, SettingChange, SettingsChanged
from aiperf_orch.schedulers.base import JobState, JobStatus

pytestmark = pytest.mark.unit
Build = Callable[..., Any]


@pytest.fixture
def made(campaign: Build) -> Any:
    made = campaign(scheduler__kind="slurm", campaign__duration="10h")
    made.write(Opened, host="login1", pid=1)
    return made


def test_what_is_added_to_the_files_is_shown(made: Any) -> None:
    watched = WatchedCampaign(made.directory)
    watched.read_on()
    assert heading(watched)[1].plain == "0 running, 0 ended"
    made.submit(0)
    made.submit(1)
    made.events(made.begin(1, 0), made.epoch(1, 5, 0.3), trial=0)
    watched.read_on()
    [row] = picture(watched).running
    assert (row.trial, row.epoch, row.error) == (0, "1/50", "30.00%")
    assert heading(watched)[1].plain == "1 running, 1 waiting, 0 ended"
    made.began(1, 0)
    made.ended(0)
    watched.read_on()
    assert picture(watched).running == ()
    assert [outcome.trial for outcome in picture(watched).outcomes] == [0]
    assert not watched.is_over


def test_changed_settings_are_those_in_force(made: Any) -> None:
    made.submit(0)
    made.events(made.begin(0), made.epoch(1, 5, 0.3), trial=0)
    made.began(0)
    watched = WatchedCampaign(made.directory)
    before = watched.deadline
    change = SettingChange(key="campaign.duration", before="36000s", after="7200s")
    made.write(SettingsChanged, request="0" * 16, changes=[change], user="me", host="login1")
    watched.read_on()
    assert before == made.at(36000)
    assert watched.deadline == made.at(7200)


def test_the_queue_is_asked_why_jobs_wait_once_a_minute(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[list[str]] = []

    def query(names: Iterable[str]) -> dict[str, JobStatus]:
        queries.append(list(names))
        return {name: JobStatus(name, "1", JobState.PENDING, "Priority: others first") for name in queries[-1]}

    monkeypatch.setattr(watch, "make_scheduler", lambda _settings: SimpleNamespace(query=query))
    watched = WatchedCampaign(made.directory)
    watched.query_queue()
    made.submit(0)
    for _ in range(3):
        watched.read_on()
        watched.query_queue()
    assert queries == [[made.directory.attempt_name(0, 1)]]
    assert waiting_line(watched) == "1 waiting: Priority: others first"


def test_watching_ends_with_the_campaign(campaign: Build) -> None:
    made = campaign(campaign__max_trials=1)
    made.submit(0)
    command = [sys.executable, "-m", "aiperf_orch.cli", "status", str(made.path), "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        killer = Timer(60, process.kill)
        killer.start()
        try:
            assert process.stderr is not None
            assert "no controller runs at present; unless cron runs its steps, go on: " in process.stderr.readline()
            made.events(made.begin(1), made.epoch(1, 5, 0.3), made.end(6))
            made.began(1)
            made.ended()
            made.write(Finished, reason="its 1 trials have ended", by_deadline=False)
            shown, errors = process.communicate()
        finally:
            killer.cancel()
            process.kill()
    assert process.returncode == 0
    assert "trial 0 ended: COMPLETED, error 30.00% at epoch 1" in errors
    assert "\nstate      finished: its 1 trials have ended\n" in shown


def test_watching_shows_one_form(aiperf: Callable[..., Any], made: Any) -> None:
    assert "--watch: shows no json" in aiperf("status", made.path, "--watch", "--format", "json").stderr
    assert "--watch: give one of them" in aiperf("status", made.path, "--watch", "--best").stderr
