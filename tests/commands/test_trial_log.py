"""`log`: which lines explain an end, what is said without a log, and real campaigns with trials that fail."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from aiperf_orch.commands.trial_log import explaining_lines, show_log
from aiperf_orch.util.errors import UsageError
from terminal import in_terminal

TRACEBACK = "Traceback (most recent call last):"
FRAMES = [f'File "model.py", line {number}, in f' for number in range(30)]
SUBMITIT = [
    "submitit ERROR (2026-11-30 10:00:00,000) - Submitted job triggered an exception",
    TRACEBACK,
    "subprocess.CalledProcessError: Command '['python']' returned non-zero exit status 1.",
    "submitit.core.utils.FailedJobError: ValueError: x",
]
KILLED = "subprocess.CalledProcessError: Command '['python']' died with <Signals.SIGKILL: 9>."
DIED = "the trial's process died with <Signals.SIGKILL: 9>."
FAILED = "submitit.core.utils.FailedJobError"
SIGKILLED = "aiperf-orch: the process of the job was ended by SIGKILL"
EPOCHS = [f"epoch {number}: loss 1.0, error 0.5" for number in range(1, 31)]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ([], []),
        (["epoch 1", "ended: COMPLETED"], ["epoch 1", "ended: COMPLETED"]),
        (EPOCHS, EPOCHS[-20:]),
        # a traceback is shown from its begin, however long it is
        (
            [*EPOCHS, TRACEBACK, *FRAMES, "ValueError: x", "ended: TRIAL_ERROR: ValueError: x"],
            [TRACEBACK, *FRAMES, "ValueError: x", "ended: TRIAL_ERROR: ValueError: x"],
        ),
        # a log of 0.1.0, which submitit ended
        (["epoch 1", "ValueError: x", *SUBMITIT], ["epoch 1", "ValueError: x"]),
        (["epoch 1", *SUBMITIT[:3], KILLED, FAILED], [DIED, "epoch 1"]),
        # what launchers print after the reason
        (["ended: HUNG", "srun: error: n1: task 0: Exited with exit code 1", "srun: launch/slurm: x"], ["ended: HUNG"]),
        ([SIGKILLED, "srun: error: n1: task 0: Exited with exit code 1"], [SIGKILLED]),
        (["x", "srun: error: n1: task 0: Exited"], ["x", "srun: error: n1: task 0: Exited"]),
        # the line that explains stands far above
        (
            ["slurmstepd: error: Exceeded job memory limit", *EPOCHS],
            ["slurmstepd: error: Exceeded job memory limit", *EPOCHS[-20:]],
        ),
    ],
)  # fmt: skip
def test_the_lines_that_explain_an_end(lines: list[str], shown: list[str]) -> None:
    assert explaining_lines(lines) == shown


@pytest.mark.unit
def test_a_number_that_is_no_trial_or_attempt_is_refused(campaign: Callable[..., Any]) -> None:
    made = campaign()
    with pytest.raises(UsageError, match=r"has no trial 0: it has no trials yet$"):
        show_log(made.path, 0, None, follow=False)
    made.submit()
    with pytest.raises(UsageError, match=r"has no trial 17: its trials are 0 to 0$"):
        show_log(made.path, 17, None, follow=False)
    with pytest.raises(UsageError, match=r"trial 0 has no attempt 2: it has 1, from 1$"):
        show_log(made.path, 0, 2, follow=False)


@pytest.mark.unit
def test_a_trial_without_a_log_is_one_line(campaign: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    made = campaign()
    made.submit()
    assert show_log(made.path, 0, None, follow=False).exit_status == 1
    assert "trial 0, attempt 1: has not begun (job " in caplog.messages[-1]
    made.ended(runs=0, reason="SUBMIT_REFUSED", message="invalid account", final=True)
    assert show_log(made.path, 0, None, follow=True).exit_status == 1
    assert caplog.messages[-1].endswith("it ended SUBMIT_REFUSED: invalid account")
    assert not any("\n" in message for message in caplog.messages)


@pytest.mark.unit
def test_control_characters_of_a_log_are_shown_as_codes(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.submit()
    made.ended(runs=0, reason="LOST", message="left the queue", final=True)
    made.write_job(0, 1, script="", log="\x1b[31mred\n")
    status, shown = in_terminal(sys.executable, "-m", "aiperf_orch.cli", "log", str(made.path), "0", columns=80)
    assert status == 0
    assert r"\x1b[31mred" in shown
    assert "\x1b[31m" not in shown


def _last_lines(campaign: Path) -> list[str]:
    return [path.read_text().strip().rpartition("\n")[2] for path in sorted(campaign.glob("jobs/0*/log"))]


@pytest.mark.local
@pytest.mark.parametrize("job_per_trial", [True, False])
def test_logs_of_failing_trials_end_with_the_reason(
    aiperf: Callable[..., Any], write_site: Callable[..., Path], tmp_path: Path, job_per_trial: bool
) -> None:
    failing = {"epoch_seconds": 0, "failure_rate": 0.5, "failure_reason": "TRAINING_DIVERGED"}
    site = write_site(
        training__simulated=failing, campaign__max_trials=6, scheduler__job_per_trial=job_per_trial, campaign__seed=3
    )
    assert aiperf("run", site, "--campaign-dir", tmp_path / "campaign").returncode in (0, 1)
    lines = _last_lines(tmp_path / "campaign")
    assert "ended: TRAINING_DIVERGED: a simulated failure, as the settings request" in lines
    assert {line.split(":")[1] for line in lines} <= {" TRAINING_DIVERGED", " COMPLETED", " EARLY_STOPPED"}, lines
    assert not any("submitit." in path.read_text() for path in tmp_path.glob("campaign/jobs/0*/log"))
    failed = next(number for number, line in enumerate(lines) if "TRAINING_DIVERGED" in line)
    shown = aiperf("log", tmp_path / "campaign", str(failed))
    assert shown.returncode == 0
    for part in ("TRAINING_DIVERGED", os.uname().nodename, f"jobs/{failed:05d}-1/log\n", f"trials/{failed:05d}.json"):
        assert part in shown.stdout
    assert shown.stdout.endswith(lines[failed] + "\n")


@pytest.mark.local
def test_the_traceback_of_a_real_error_is_shown_and_its_last_line_is_the_reason(
    aiperf: Callable[..., Any], write_site: Callable[..., Path], tmp_path: Path
) -> None:
    site = write_site(scheduler__setup=["export AIPERF_ORCH_WORKERS=x"], campaign__max_trials=1)
    assert aiperf("run", site, "--campaign-dir", tmp_path / "campaign").returncode == 1
    shown = aiperf("log", tmp_path / "campaign", "0").stdout
    assert "submitit" not in shown
    assert "\nTraceback (most recent call last):\n  File " in shown
    assert shown.endswith("\nValueError: invalid literal for int() with base 10: 'x'\n")
    assert _last_lines(tmp_path / "campaign") == ["ValueError: invalid literal for int() with base 10: 'x'"]


@pytest.mark.unit
@pytest.mark.parametrize("killed", [True, False])
def test_follow_prints_further_lines_until_the_attempt_ends(campaign: Callable[..., Any], killed: bool) -> None:
    made = campaign()
    made.submit()
    made.events(made.begin())
    made.began()
    made.write_job(0, 1, script="", log="".join(f"line {number}\n" for number in range(30)))
    with _following(made.path) as process:
        lines = iter(process.stdout)  # type: ignore[arg-type]
        assert next(line for line in lines if line.startswith("line ")) == "line 10\n", "more than the last lines"
        assert next(line for line in lines if "line 29" in line)
        with made.directory.log(0, 1).open("a") as file:
            file.write("new\nlast")
        if killed:  # no end line
            made.ended(reason="LOST", message="its node is gone", final=False)
        else:
            made.events(made.begin(), made.end(6, reason="STOPPED", message="its node is gone"))
        assert list(lines) == ["new\n", "last\n"]
        assert process.wait(60) == 0
        reason = "LOST" if killed else "STOPPED"
        assert process.stderr is not None
        assert process.stderr.read() == f"trial 0, attempt 1 ended: {reason}: its node is gone\n"


@pytest.mark.unit
def test_ctrl_c_leaves_a_followed_log(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.submit()
    made.write_job(0, 1, script="", log="line\n")
    with _following(made.path) as process:
        assert any(line == "line\n" for line in process.stdout)  # type: ignore[union-attr]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


@contextmanager
def _following(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "aiperf_orch.cli", "log", str(path), "0", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        killer = Timer(60, process.kill)
        killer.start()
        try:
            yield process
        finally:
            killer.cancel()
            process.kill()


@pytest.mark.slurm
def test_the_log_of_a_failing_job_of_slurm(
    write_site: Callable[..., Path], aiperf: Callable[..., Any], slurm: Any, tmp_path: Path
) -> None:
    site = write_site(
        scheduler__kind="slurm",
        scheduler__cpus_per_task=1,
        scheduler__memory="200M",
        scheduler__time_limit="10m",
        scheduler__query_interval="500ms",
        training__simulated={"epoch_seconds": 0, "failure_rate": 1, "failure_reason": "TRAINING_DIVERGED"},
        campaign__max_trials=1,
    )
    done = aiperf("run", site, "--campaign-dir", tmp_path / "campaign", "--yes")
    failed = re.search(r"trial 0 failed on (n\d), job (\d+): log ", done.stderr)
    assert failed, done.stderr
    [failure] = json.loads(aiperf("status", tmp_path / "campaign", "--failed", "--format", "json").stdout)
    assert (failure["node"], failure["job"]) == failed.groups()
    log = (tmp_path / "campaign/jobs/00000-1/log").read_text()
    shown = aiperf("log", tmp_path / "campaign", "0").stdout
    assert "submitit" not in log.partition("\n")[2]
    assert shown.endswith("\nended: TRAINING_DIVERGED: a simulated failure, as the settings request\n")
