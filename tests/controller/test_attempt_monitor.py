"""How often a running trial's events are looked at, with a clock moved by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aiperf_orch.campaign.events import RunEvents
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller import attempt_monitor
from aiperf_orch.controller.job_triage import how_it_went
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobEnd
from aiperf_orch.settings.schedulers import LocalSettings

EPOCH = 600  # seconds
TICK = 5


@pytest.fixture
def looks(monkeypatch):
    """The times at which the events of the first run were looked at; `looks.time` is the present."""

    class Looks(list):
        time = 1e6

    looks, poll = Looks(), RunEvents.poll

    def looked_at(events, *limit):
        if events.run == 0:
            looks.append(looks.time)
        return poll(events, *limit)

    monkeypatch.setattr(RunEvents, "poll", looked_at)
    monkeypatch.setattr(attempt_monitor, "monotonic", lambda: looks.time)
    return looks


@pytest.fixture
def watched(campaign, looks):
    """A trial that trains its second epoch."""
    made = campaign()
    made.submit()
    made.events(made.begin(), made.epoch(1, end=EPOCH, start=0))
    state = CampaignState.of(read_journal(made.directory.journal))
    (attempt,) = state.live.values()
    watched = attempt_monitor.watch(made.directory, attempt, state.trials[0])

    def go_on(seconds):
        for _ in range(seconds // TICK):
            watched.poll(made.directory)
            looks.time += TICK

    return watched, go_on, made


def test_a_trial_is_looked_at_seldom_until_its_next_epoch_is_due_and_then_often(watched, looks):
    trial, go_on, made = watched
    begun = looks.time
    go_on(EPOCH + 60)
    assert len([look for look in looks if look < begun + EPOCH - 60]) <= (EPOCH - 60) / 25
    gaps = [after - before for before, after in pairwise(looks)]
    assert max(gaps) <= 35
    assert gaps[-10:] == [TICK] * 10  # overdue
    made.events(made.begin(), made.epoch(1, end=EPOCH, start=0), made.epoch(2, end=2 * EPOCH, start=EPOCH))
    go_on(TICK)
    assert len(trial.epochs) == 2


def test_a_trial_that_was_told_to_end_is_looked_at_every_time(watched, looks):
    trial, go_on, _ = watched
    go_on(60)
    before = len(looks)
    trial.attempt.cancelling = EndReason.STOPPED
    go_on(60)
    assert len(looks) - before == 60 / TICK


def test_the_last_word_of_a_log_is_not_its_launchers(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "epoch 1\nbash: exec: /no/such/python: No such file\nsrun: error: n1: task 0: Exited\nslurmstepd-n1: x\n\n"
    )
    assert attempt_monitor.last_line(tmp_path / "none", log) == f"{log} ends: bash: exec: /no/such/python: No such file"
    log.write_text("srun: error: only this\n")
    assert attempt_monitor.last_line(log) == f"{log} ends: srun: error: only this"
    assert attempt_monitor.last_line(tmp_path / "none") == ""
    log.write_text(
        "epoch 1\nsubprocess.CalledProcessError: Command '['python', 'x']' died with <Signals.SIGKILL: 9>.\n\n"
        "Traceback (most recent call last):\n  raise FailedJobError(stderr)\nsubmitit.core.utils.FailedJobError\n"
    )
    assert attempt_monitor.last_line(log) == f"{log} ends: the trial's process died with <Signals.SIGKILL: 9>."


OOM = [
    "slurmstepd-n1: error: StepId=20.0 exceeded memory limit (265932800 > 104857600), being killed",
    "slurmstepd-n1: error: Exceeded job memory limit",
    "srun: Job step aborted: Waiting up to 5 seconds for job step to finish.",
    "slurmstepd-n1: error: *** STEP 20.0 ON n1 CANCELLED AT 2026-11-30T10:21:26 ***",
    "srun: error: n1: task 0: Killed",
    "srun: launch/slurm: _step_signal: Terminating StepId=20.0",
]
LAUNCH = "srun: error: Task launch for StepId=12.0 failed on node n2: Communication connection failure"
STEP = "slurmstepd: error: *** STEP 25.0 ON n4 CANCELLED AT 2026-11-30T10:21:29 DUE TO"
JOB = "slurmstepd-n4: error: *** JOB 25 ON n4 CANCELLED AT 2026-11-30T10:21:29"


@pytest.mark.parametrize(
    ("lines", "reason", "hosts", "shown"),
    [
        # printed by Slurm 22.05.8 and OpenPBS 23.06.06
        (["epoch 1", *OOM], EndReason.OUT_OF_MEMORY, (), OOM[0]),
        (["slurmstepd: error: Exceeded job memory limit"], EndReason.OUT_OF_MEMORY, (), None),
        ([f"{STEP} PREEMPTION ***", "srun: error: n4: task 0: Terminated"], EndReason.PREEMPTED, (), f"{STEP} PREEMPTION ***"),
        (["x", f"{JOB} DUE TO TIME LIMIT ***"], EndReason.TIME_LIMIT, (), f"{JOB} DUE TO TIME LIMIT ***"),
        (["srun: error: Node failure on n3"], EndReason.NODE_FAILURE, ("n3",), None),
        (["epoch 1", f"{JOB} ***"], None, (), f"{JOB} ***"),
        (["=>> PBS: job killed: walltime 6 exceeded limit 3"], EndReason.TIME_LIMIT, (), None),
        (["=>> PBS: job killed: mem 400280kb exceeded limit 102400kb"], EndReason.OUT_OF_MEMORY, (), None),
        # in the sources of 22.05 to 25.05
        (
            [
                "slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch. Some of the step tasks have been OOM Killed.",
                "srun: error: n1: task 0: Out Of Memory",
            ],
            EndReason.OUT_OF_MEMORY,
            (),
            "slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch. Some of the step tasks have been OOM Killed.",
        ),
        (["Killed", "srun: error: n1: task 0: Out Of Memory"], EndReason.OUT_OF_MEMORY, (), None),
        (
            [LAUNCH, "srun: error: Application launch failed: Communication connection failure", "srun: Job step aborted"],
            EndReason.NODE_FAILURE,
            ("n2",),
            LAUNCH,
        ),
        (
            ["slurmstepd: error: *** JOB 3 ON n2 CANCELLED AT 2026-11-30T10:21:29 DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR "
             "DETAILS ***"],
            EndReason.NODE_FAILURE,
            ("n2",),
            None,
        ),
        (["srun: error: task 0 launch failed: Job prolog failed"], EndReason.NODE_FAILURE, (), None),
        # lines that explain, and type nothing
        (
            ["slurmstepd-n1: error: execve(): bash: No such file or directory", "srun: error: n1: task 0: Exited with exit code 2"],
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
        # lines that only follow
        (["it went wrong", "srun: error: n[1-2]: tasks 0-1: Exited with exit code 1"], None, (), "it went wrong"),
        (["it went wrong", f"{STEP[:-7]} ***".replace(" DUE TO", "")], None, (), "it went wrong"),
        (["it went wrong", "srun: launch/slurm: _step_signal: Terminating StepId=20.0"], None, (), "it went wrong"),
        (["it went wrong", "pbsdsh: task 0x00000001 exit status 254"], None, (), "it went wrong"),
        (["my own Exceeded job memory limit"], None, (), "my own Exceeded job memory limit"),
        ([], None, (), ""),
    ],
)  # fmt: skip
def test_what_a_launcher_says_in_the_log_is_shown_and_types_the_end(lines, reason, hosts, shown):
    end = attempt_monitor.end_from_log(lines)
    assert (end and end.reason) is reason
    assert (end.hosts if end else ()) == hosts
    assert attempt_monitor.explanation(lines) == (lines[-1] if shown is None else shown)
    if end is not None:
        assert end.detail in lines


def test_what_ended_an_earlier_run_of_a_job_is_not_its_end(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "\n".join([f"{JOB} DUE TO PREEMPTION ***", "aiperf-orch: run 1 of job 25", "epoch 3", "it went wrong"])
    )
    assert attempt_monitor.last_line(log) == f"{log} ends: it went wrong"
    assert attempt_monitor.end_from_log(attempt_monitor.tail(log)) is None


@pytest.mark.parametrize(
    ("queue", "log", "reason"),
    [
        (None, None, EndReason.LOST),
        (None, OOM, EndReason.OUT_OF_MEMORY),
        (JobEnd(None, "FAILED, ended by signal 9"), OOM, EndReason.OUT_OF_MEMORY),
        (JobEnd(EndReason.TRIAL_ERROR, "FAILED, exit status 1"), [LAUNCH], EndReason.NODE_FAILURE),
        (JobEnd(EndReason.CANCELLED, "CANCELLED by 0"), OOM, EndReason.OUT_OF_MEMORY),
        (JobEnd(EndReason.PREEMPTED, "PREEMPTED"), OOM, EndReason.PREEMPTED),
        (JobEnd(EndReason.TRIAL_ERROR, "FAILED, exit status 1"), [f"{JOB} ***"], EndReason.TRIAL_ERROR),
        (JobEnd(EndReason.TRIAL_ERROR, "FAILED, exit status 1"), ["it went wrong"], EndReason.TRIAL_ERROR),
        (JobEnd(None, "COMPLETED"), [f"{JOB} ***"], EndReason.LOST),
    ],
)
def test_the_log_types_an_end_of_which_the_queue_knows_only_how(watched, tmp_path, queue, log, reason):
    trial, _, _ = watched
    path = tmp_path / "log"
    if log is not None:
        path.write_text("\n".join(log))
    found, message = how_it_went(trial, queue, LocalSettings(), [path])
    assert found is reason
    assert "left the queue without an end line" in message
    if log is not None:
        assert attempt_monitor.explanation(log) in message
