"""`status --trial`, `--failed`, `--best`, and without a directory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.status import show_campaigns, show_status
from aiperf_orch.commands.status_parts import show_failures, show_trial
from aiperf_orch.util.errors import UsageError

pytestmark = pytest.mark.unit
Build = Callable[..., Any]


@pytest.fixture
def failing(campaign: Build) -> Any:
    """Trial 0 failed and is to be retried, trial 1 was refused, trial 2 runs, trial 3 waits."""
    made = campaign()
    for trial in range(4):
        made.submit(trial)
    made.events(made.begin(1, 0), made.end(6, 0, reason="TRIAL_ERROR"), trial=0)
    made.began(1, 0)
    made.ended(0, reason="TRIAL_ERROR", message="ValueError: \x1b[31m" + "x" * 90, hosts=["n1"], final=False)
    made.ended(1, runs=0, reason="SUBMIT_REFUSED", message="invalid account", final=True)
    made.events(made.begin(1, 2), made.epoch(1, 5, 0.2, 2), trial=2)
    return made


def test_failures_have_node_job_log_and_the_command(failing: Any) -> None:
    first, second = json.loads(show_failures(failing.path, "json").text)
    assert (first["trial"], first["reason"], first["retried"], first["node"]) == (0, "TRIAL_ERROR", True, "n1")
    assert first["job"]
    assert first["log"] == f"{failing.path}/jobs/00000-1/log"
    assert first["again"].endswith(f" trial {failing.path}/trials/00000.json")
    assert (second["trial"], second["node"], second["why"]) == (1, None, "invalid account")
    table = show_failures(failing.path, "table").text
    for part in (
        "TRIAL_ERROR",
        "n1",
        "jobs/00000-1/log",
        "SUBMIT_REFUSED",
        " trials/00001.json",
        f"trial {failing.path}/AGAIN",
    ):
        assert part in table
    assert "\x1b" not in table
    assert "x" * 61 not in table


def test_a_campaign_without_failures_says_so(campaign: Build) -> None:
    made = campaign()
    made.submit()
    assert show_failures(made.path, "table").text == "no attempt has failed\n"


def test_a_trial_is_shown_with_its_attempts(failing: Any) -> None:
    made = failing
    made.submit(0, 2)
    text = show_trial(made.path, 0, "table").text
    for part in (
        "attempt      1\nnode         n1\n",
        "attempt      2\n",
        "reason       TRIAL_ERROR\n",
        "/jobs/00000-2/log\n",
    ):
        assert part in text
    assert "\x1b" not in text
    assert "x" * 90 in text
    assert "reason       has not begun" in text
    assert text.rstrip().endswith("/trials/00000.json")
    attempts = json.loads(show_trial(made.path, 0, "json").text)["attempts"]
    assert [each["reason"] for each in attempts] == ["TRIAL_ERROR", None]
    assert attempts[0]["began"].endswith("Z")
    assert len(show_trial(made.path, 0, "csv").text.splitlines()) == 3
    assert "reason       has not ended" in show_trial(made.path, 2, "table").text


def test_a_trial_that_never_began_is_one_line(failing: Any) -> None:
    [refused] = show_trial(failing.path, 1, "table").text.splitlines()
    assert refused.startswith("trial 1 has not begun: attempt 1, job 123, submitted 20")
    assert refused.endswith("Z, ended SUBMIT_REFUSED: invalid account")
    [waiting] = show_trial(failing.path, 3, "table").text.splitlines()
    assert waiting.endswith("Z")


def test_a_number_that_is_no_trial_is_refused(failing: Any) -> None:
    with pytest.raises(UsageError, match=r"has no trial 4: its trials are 0 to 3$"):
        show_trial(failing.path, 4, "table")


def test_the_best_trials_come_first(campaign: Build) -> None:
    made = campaign()
    for trial, error in enumerate([0.3, 0.1, 0.2]):
        made.submit(trial)
        made.events(made.begin(1, trial), made.epoch(1, 5, error, trial), trial=trial)
    made.submit(3)
    trials = json.loads(show_status(made.path, "json", best=True).text)["trials"]
    assert [row["trial"] for row in trials] == [1, 2, 0]
    header, *lines = show_status(made.path, "table", best=True).text.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "0"], header


def test_a_campaign_says_how_many_trials_are_over(campaign: Build) -> None:
    made = campaign(campaign__max_trials=3, campaign__duration="10h")
    made.trial(0, [(5, 0.1)])
    made.submit(1)
    made.events(made.begin(1, 1), made.epoch(1, 5, 0.3, 1), trial=1)
    text = show_status(made.path, "table").text
    assert "progress   1 of 3 trials, 7h" in text
    assert "failed" not in text
    shown = json.loads(show_status(made.path, "json").text)
    assert (shown["best_error"], shown["best_trial"], shown["failed_attempts"]) == (0.1, 0, 0)


def test_no_error_yet_is_said(campaign: Build) -> None:
    made = campaign()
    made.submit()
    assert show_status(made.path, "table", best=True).text == "no trial has an error yet\n"


def test_without_a_directory_the_newest_campaign_is_shown(
    campaign: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="holds no campaign"):
        show_campaigns("table")
    (tmp_path / "campaigns").mkdir(mode=0o700)
    for name in ("old", "new", "damaged"):
        campaign(f"campaigns/{name}").submit()
    times = {"old": 100, "damaged": 50, "new": 200}
    for name, time in times.items():
        os.utime(tmp_path / "campaigns" / name / "campaign.yaml", (time, time))
    (tmp_path / "campaigns/damaged/journal.jsonl").write_text("{}\n{}\n")
    (tmp_path / "campaigns/file").touch()
    (tmp_path / "campaigns/folder").mkdir()
    shown = json.loads(show_campaigns("json").text)
    assert [row["campaign"] for row in shown["campaigns"]] == ["campaigns/new", "campaigns/old", "campaigns/damaged"]
    assert shown["campaigns"][2]["state"] == "unreadable"
    assert shown["campaigns"][0]["trials"] == 1
    assert shown["newest"]["campaign"] == str(tmp_path / "campaigns/new")
    assert f"campaign   {tmp_path}/campaigns/new\n" in show_campaigns("table").text
    assert len(show_campaigns("csv").text.splitlines()) == 4
    os.utime(tmp_path / "campaigns" / "damaged" / "campaign.yaml", (300, 300))
    table = show_campaigns("table").text
    assert table.splitlines()[1].startswith("campaigns/damaged  unreadable")
    assert f"campaign   {tmp_path}/campaigns/new\n" in table
