"""How a scheduler's commands are run: what they get of the environment, and what is kept of what they say."""

import threading
import time

import pytest

from aiperf_orch.schedulers.command import CommandResult, ask, clean_environment, run_command
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


def test_what_says_which_cluster_and_who_is_kept_and_what_changes_jobs_is_not(monkeypatch):
    for name, value in KEPT.items() | {(name, "x") for name in DROPPED}:
        monkeypatch.setenv(name, value)
    environment = clean_environment()
    assert {name: environment.get(name) for name in KEPT} == KEPT
    assert not environment.keys() & set(DROPPED)


def test_what_a_command_says_is_kept_apart():
    answer = run_command(["sh", "-c", "echo out; echo err >&2; echo more >&2; exit 3"], timeout=60)
    assert answer == CommandResult(3, "out\n", "err\nmore\n")
    assert (answer.error_text, answer.error_line) == ("err\nmore", "err more")
    assert CommandResult(1, "", "").complaint == "exit status 1, without a word"


def test_much_output_on_both_sides_is_read_whole():
    script = "yes out | head -100000 & yes err | head -100000 >&2; wait"
    answer = run_command(["sh", "-c", script], timeout=60)
    assert (len(answer.output), len(answer.errors)) == (400000, 400000)


def test_what_is_not_utf_8_is_no_error():
    assert run_command(["printf", r"\351t\303\251"], timeout=60).output == "�té"


def test_a_late_command_is_ended_with_all_that_it_started_and_what_it_said_is_known(tmp_path):
    script = f"echo 'queue full,' >&2; echo sleeping >&2; (sleep 3; touch '{tmp_path}/lives') & sleep 300"
    began = time.monotonic()
    with pytest.raises(SchedulerUnreachableError) as error:
        run_command(["sh", "-c", script], timeout=1)
    assert time.monotonic() - began < 100
    assert str(error.value) == "sh did not answer within 1s; it had said: queue full, sleeping"
    time.sleep(4)
    assert not (tmp_path / "lives").exists()
    with pytest.raises(SchedulerUnreachableError, match=r"^sleep did not answer within 1s$"):
        run_command(["env", "A=b", "sleep", "300"], timeout=1)


def test_a_command_is_ended_as_soon_as_it_has_said_enough():
    began = time.monotonic()
    script = "echo one >&2; echo retrying >&2; sleep 300"
    answer = run_command(["sh", "-c", script], timeout=200, enough=lambda line: "retrying" in line)
    assert time.monotonic() - began < 100
    assert (answer.status, answer.error_text) == (-9, "one\nretrying")


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SchedulerUnreachableError, match="nosuch: not found"):
        run_command(["nosuch"], timeout=60)
    with pytest.raises(SchedulerUnreachableError, match="gone: not found"):
        run_command(["true"], timeout=60, folder=tmp_path / "gone")
    with pytest.raises(SchedulerUnreachableError, match=r"^false failed: exit status 1, without a word"):
        ask(["env", "TZ=UTC", "false"], timeout=60)


def test_commands_of_several_threads_do_not_mix():
    answers = {}

    def run(number):
        answers[number] = run_command(["sh", "-c", f"sleep 0.1; echo {number}"], timeout=60).output

    threads = [threading.Thread(target=run, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"{number}\n" for number in range(8)}
