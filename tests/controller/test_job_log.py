"""The log of a job: the line that is shown, and the end reason that a known line stands for."""

import pytest

from aiperf_orch.controller.job_log import end_from_log, explanation, last_line, tail
from aiperf_orch.records.base import EndReason

pytestmark = pytest.mark.unit


def test_the_explanation_is_no_line_of_the_launcher(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "epoch 1\nbash: exec: /no/such/python: No such file\nsrun: error: n1: task 0: Exited\nslurmstepd-n1: x\n\n"
    )
    assert last_line(tmp_path / "none", log) == f"{log} ends: bash: exec: /no/such/python: No such file"
    log.write_text("srun: error: only this\n")
    assert last_line(log) == f"{log} ends: srun: error: only this"
    assert last_line(tmp_path / "none") == ""
    log.write_text(
        "epoch 1\nsubprocess.CalledProcessError: Command '['python', 'x']' died with <Signals.SIGKILL: 9>.\n\n"
        "Traceback (most recent call last):\n  raise FailedJobError(stderr)\nsubmitit.core.utils.FailedJobError\n"
    )
    assert last_line(log) == f"{log} ends: the trial's process died with <Signals.SIGKILL: 9>."


OOM = [
    "slurmstepd-n1: error: StepId=20.0 exceeded memory limit (265932800 > 104857600), being killed",
    "slurmstepd-n1: error: Exceeded job memory limit",
    "srun: Job step aborted: Waiting up to 5 seconds for job step to finish.",
    "slurmstepd-n1: error: *** STEP 20.0 ON n1 CANCELLED AT 2026-11-30T10:21:26 ***",
    "srun: error: n1: task 0: Killed",
    "srun: launch/slurm: _step_signal: Terminating StepId=20.0",
]
CGROUP_OOM = (
    "slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch. Some of the step tasks have been OOM Killed."
)
LAUNCH = "srun: error: Task launch for StepId=12.0 failed on node n2: Communication connection failure"
STEP = "slurmstepd: error: *** STEP 25.0 ON n4 CANCELLED AT 2026-11-30T10:21:29 DUE TO"
JOB = "slurmstepd-n4: error: *** JOB 25 ON n4 CANCELLED AT 2026-11-30T10:21:29"


@pytest.mark.parametrize(
    ("lines", "reason", "hosts", "shown"),
    [
        # printed by Slurm 22.05.8 and OpenPBS 23.06.06
        (["epoch 1", *OOM], EndReason.OUT_OF_MEMORY, (), OOM[0]),
        (["slurmstepd: error: Exceeded job memory limit"], EndReason.OUT_OF_MEMORY, (), None),
        ([f"{STEP} PREEMPTION ***", "srun: error: n4: task 0: Terminated"], EndReason.PREEMPTED, (),
         f"{STEP} PREEMPTION ***"),
        (["x", f"{JOB} DUE TO TIME LIMIT ***"], EndReason.TIME_LIMIT, (), f"{JOB} DUE TO TIME LIMIT ***"),
        (["srun: error: Node failure on n3"], EndReason.NODE_FAILURE, ("n3",), None),
        (["epoch 1", f"{JOB} ***"], None, (), f"{JOB} ***"),
        (["=>> PBS: job killed: walltime 6 exceeded limit 3"], EndReason.TIME_LIMIT, (), None),
        (["=>> PBS: job killed: mem 400280kb exceeded limit 102400kb"], EndReason.OUT_OF_MEMORY, (), None),
        # in the sources of 22.05 to 25.05
        (
            [
                CGROUP_OOM,
                "srun: error: n1: task 0: Out Of Memory",
            ],
            EndReason.OUT_OF_MEMORY,
            (),
            CGROUP_OOM,
        ),
        (["Killed", "srun: error: n1: task 0: Out Of Memory"], EndReason.OUT_OF_MEMORY, (), None),
        (
            [LAUNCH, "srun: error: Application launch failed: Communication connection failure",
             "srun: Job step aborted"],
            EndReason.NODE_FAILURE,
            ("n2",),
            LAUNCH,
        ),
        (
            ["slurmstepd: error: *** JOB 3 ON n2 CANCELLED AT 2026-11-30T10:21:29 DUE TO NODE FAILURE, SEE SLURMCTLD "
             "LOG FOR DETAILS ***"],
            EndReason.NODE_FAILURE,
            ("n2",),
            None,
        ),
        (["srun: error: task 0 launch failed: Job prolog failed"], EndReason.NODE_FAILURE, (), None),
        # lines that explain, but stand for no end reason
        (
            ["slurmstepd-n1: error: execve(): bash: No such file or directory",
             "srun: error: n1: task 0: Exited with exit code 2"],
            None,
            (),
            "slurmstepd-n1: error: execve(): bash: No such file or directory",
        ),
        (
            ["x", "srun: error: Unable to create step for job 12: Memory required by task is not available"],
            None,
            (),
            "srun: error: Unable to create step for job 12: Memory required by task is not available",
        ),
        # lines that are consequences
        (["it went wrong", "srun: error: n[1-2]: tasks 0-1: Exited with exit code 1"], None, (), "it went wrong"),
        (["it went wrong", f"{STEP[:-7]} ***".replace(" DUE TO", "")], None, (), "it went wrong"),
        (["it went wrong", "srun: launch/slurm: _step_signal: Terminating StepId=20.0"], None, (), "it went wrong"),
        (["it went wrong", "pbsdsh: task 0x00000001 exit status 254"], None, (), "it went wrong"),
        (["srun: error: n1: task 0: Exited", "srun: error: n2: task 1: Exited"], None, (), None),
        (["subprocess.CalledProcessError: Command 'x' returned 1", "then it went on"], None, (), None),
        (["my own Exceeded job memory limit"], None, (), "my own Exceeded job memory limit"),
        ([], None, (), ""),
    ],
)  # fmt: skip
def test_a_known_line_is_shown_and_names_the_end_reason(lines, reason, hosts, shown):
    end = end_from_log(lines)
    assert (end and end.reason) is reason
    assert (end.hosts if end else ()) == hosts
    assert explanation(lines) == (lines[-1] if shown is None else shown)
    if end is not None:
        assert end.detail in lines


def test_lines_of_an_earlier_run_explain_nothing(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "\n".join([f"{JOB} DUE TO PREEMPTION ***", "aiperf-orch: run 1 of job 25", "epoch 3", "it went wrong"])
    )
    assert last_line(log) == f"{log} ends: it went wrong"
    assert end_from_log(tail(log)) is None


def test_the_first_line_of_a_run_may_explain_its_end(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"aiperf-orch: run 1 of job 25\nit went wrong: \xff\n")
    assert last_line(log) == f"{log} ends: it went wrong: \N{REPLACEMENT CHARACTER}"


def test_only_the_end_of_a_long_log_is_read(tmp_path):
    log = tmp_path / "log"
    log.write_text("first\n" + "x" * 20_000 + "\n\nlast\n")
    lines = tail(tmp_path / "none", log)
    assert (len(lines), lines[-1]) == (2, "last")
    assert len(lines[0]) < 16_000


def test_a_missing_log_has_no_end(tmp_path):
    assert tail(tmp_path / "none") == []
    assert end_from_log([]) is None
    assert explanation([]) == ""
