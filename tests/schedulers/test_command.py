"""Scheduler commands: their environment, output, time-out, and their lines in the log."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from aiperf_orch.schedulers.command import (
    LOGGED_CHARACTERS,
    CommandResult,
    checked_output,
    clean_environment,
    run_command,
)
from aiperf_orch.util.errors import SchedulerUnreachableError

KEPT = {
    "SLURM_CONF": "/etc/slurm/slurm.conf",
    "SLURM_CONF_SERVER": "ctl1,ctl2",
    "SLURM_CLUSTERS": "big",
    "SLURM_JWT": "a.b.c",
    "SLURM_SACK_SOCKET": "/run/slurm/sack.socket",
    "MUNGE_SOCKET": "/run/munge/other",
    "PBS_SERVER": "pbs1",
    "PBS_CONF_FILE": "/etc/pbs.conf",
    "PBS_DEFAULT": "pbs2",
    "PBS_EXEC": "/opt/pbs",
}
DROPPED = ["SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_EXPORT_ENV", "SLURM_CPU_BIND", "SLURM_TIME_FORMAT", "SBATCH_CLUSTERS"]
DROPPED += ["SBATCH_EXPORT", "SRUN_CPUS_PER_TASK", "SQUEUE_FORMAT", "SACCT_FEDERATION", "SCANCEL_QOS", "PBS_DPREFIX"]


def test_variables_of_cluster_and_user_are_kept_and_those_of_jobs_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEPT.items() | {(name, "x") for name in DROPPED}:
        monkeypatch.setenv(name, value)
    environment = clean_environment()
    assert {name: environment.get(name) for name in KEPT} == KEPT
    assert not environment.keys() & set(DROPPED)


def test_output_and_errors_are_separate() -> None:
    result = run_command(["sh", "-c", "echo out; echo err >&2; echo more >&2; exit 3"], timeout=60)
    assert result == CommandResult(3, "out\n", "err\nmore\n")
    assert (result.error_text, result.error_line) == ("err\nmore", "err more")
    assert CommandResult(1, "", "").error_line == "exit status 1, without a message"


def test_long_output_on_both_streams_is_complete() -> None:
    script = "yes out | head -100000 & yes err | head -100000 >&2; wait"
    result = run_command(["sh", "-c", script], timeout=60)
    assert (len(result.output), len(result.errors)) == (400000, 400000)


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    assert run_command(["printf", r"\351t\303\251"], timeout=60).output == "�té"


def test_a_late_command_is_killed_with_its_children_and_keeps_its_errors(tmp_path: Path) -> None:
    script = f"echo 'queue full,' >&2; echo sleeping >&2; (sleep 3; touch '{tmp_path}/lives') & sleep 300"
    began = time.monotonic()
    with pytest.raises(SchedulerUnreachableError) as error:
        run_command(["sh", "-c", script], timeout=1)
    assert time.monotonic() - began < 100
    assert str(error.value) == "sh did not answer within 1s; it had printed: queue full, sleeping"
    time.sleep(4)
    assert not (tmp_path / "lives").exists()
    with pytest.raises(SchedulerUnreachableError, match=r"^sleep did not answer within 1s$"):
        run_command(["env", "A=b", "sleep", "300"], timeout=1)


def test_a_command_is_killed_as_soon_as_it_has_printed_enough() -> None:
    began = time.monotonic()
    script = "echo one >&2; echo retrying >&2; sleep 300"
    result = run_command(["sh", "-c", script], timeout=200, enough=lambda line: "retrying" in line)
    assert time.monotonic() - began < 100
    assert (result.status, result.error_text) == (-9, "one\nretrying")


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(SchedulerUnreachableError, match="nosuch: not found"):
        run_command(["nosuch"], timeout=60)
    with pytest.raises(SchedulerUnreachableError, match="missing: not found"):
        run_command(["true"], timeout=60, folder=tmp_path / "missing")
    with pytest.raises(SchedulerUnreachableError, match=r"^false failed: exit status 1, without a message"):
        checked_output(["env", "TZ=UTC", "false"], timeout=60)


def test_commands_of_several_threads_are_independent() -> None:
    outputs: dict[int, str] = {}

    def run(number: int) -> None:
        outputs[number] = run_command(["sh", "-c", f"sleep 0.1; echo {number}"], timeout=60).output

    threads = [threading.Thread(target=run, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {number: f"{number}\n" for number in range(8)}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "aiperf_orch.schedulers.command")
    return caplog


def test_a_command_is_logged_with_duration_status_and_output(log: pytest.LogCaptureFixture) -> None:
    run_command(["sh", "-c", "echo 'a b'; echo why >&2; exit 3"], timeout=60)
    [record] = log.records
    assert (record.name, record.levelname) == ("aiperf_orch.schedulers.command", "DEBUG")
    command, _, rest = record.getMessage().partition(": exit status 3 after ")
    assert command == """sh -c 'echo '"'"'a b'"'"'; echo why >&2; exit 3'"""
    seconds, _, output = rest.partition(" s; ")
    assert 0 <= float(seconds) < 60
    assert output == "stdout: a b; stderr: why"


def test_a_command_that_prints_nothing_is_logged(log: pytest.LogCaptureFixture) -> None:
    run_command(["true"], timeout=60)
    assert log.messages[0].startswith("true: exit status 0 after ")
    assert log.messages[0].endswith(" s; stdout: empty; stderr: empty")


def test_control_characters_in_the_log_are_escaped(log: pytest.LogCaptureFixture) -> None:
    run_command(["printf", r"a\nb\033[31m\tc"], timeout=60)
    [message] = log.messages
    assert message.endswith(r"stdout: a\nb\x1b[31m\tc; stderr: empty")
    assert message.isprintable()


def test_long_commands_and_outputs_in_the_log_are_shortened(log: pytest.LogCaptureFixture) -> None:
    script = "head -c 50000 /dev/zero | tr '\\0' x; head -c 60000 /dev/zero | tr '\\0' y >&2; : "
    result = run_command(["sh", "-c", script + "z" * 70000], timeout=60)
    assert (len(result.output), len(result.errors)) == (50000, 60000)
    [message] = log.messages
    assert len(message) < 4 * LOGGED_CHARACTERS
    for letter, total in (("x", "50,000"), ("y", "60,000")):
        assert f"{letter * LOGGED_CHARACTERS}... ({total} characters)" in message
        assert letter * (LOGGED_CHARACTERS + 1) not in message


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["nosuch", "--x"], "nosuch --x: nosuch: not found: is this a login node of the cluster?, after "),
        (["sh", "-c", "echo why >&2; sleep 300"], "sh did not answer within 1s; it had printed: why, after "),
    ],
)
def test_a_command_without_result_is_logged(log: pytest.LogCaptureFixture, command: list[str], message: str) -> None:
    with pytest.raises(SchedulerUnreachableError):
        run_command(command, timeout=1)
    [line] = log.messages
    assert message in line


def test_the_environment_is_not_logged(log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JWT", "a.secret.token")
    assert run_command(["sh", "-c", 'test -n "$SLURM_JWT"'], timeout=60).status == 0
    with pytest.raises(SchedulerUnreachableError):
        run_command(["nosuch"], timeout=60)
    assert len(log.records) == 2
    assert "secret" not in log.text


def test_nothing_is_logged_above_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiperf_orch.schedulers.command")
    run_command(["true"], timeout=60)
    assert caplog.records == []
