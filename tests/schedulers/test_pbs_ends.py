"""What OpenPBS showed of a job, and what follows from it."""

import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiperf_orch.errors import QueueFull, SchedulerUnreachable, SubmitRefused
from aiperf_orch.records import EndReason
from aiperf_orch.schedulers.base import JobState
from aiperf_orch.schedulers.command import Answer
from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.schedulers.pbs.ends import accounted, complaint_of, end_of, status_of

SHOWN = Path(__file__).parent / "pbs"


def shown(name, **changes):
    (job,) = qstat.parse_jobs((SHOWN / f"{name}.txt").read_text(errors="replace"))
    return qstat.Job(job.id, {**job.attributes, **changes})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("walltime_killed", EndReason.TIME_LIMIT),
        ("walltime_killed_trapping", EndReason.TIME_LIMIT),
        ("mem_exceeded", EndReason.OUT_OF_MEMORY),
        ("mom_dead_not_rerunable", EndReason.NODE_FAILURE),
        ("mom_kill_restarted_r_n", EndReason.NODE_FAILURE),
        ("home_missing", EndReason.NODE_FAILURE),
        ("qdel_running", EndReason.CANCELLED),
        ("qdel_queued", EndReason.CANCELLED),
        ("qdel_held", EndReason.CANCELLED),
        ("qdel_force", EndReason.CANCELLED),
        ("exec_qdel_trap_exit99", EndReason.CANCELLED),
        ("finished_exit3", EndReason.TRIAL_ERROR),
        ("finished_exit255", EndReason.TRIAL_ERROR),
        ("exec_missing_program", EndReason.TRIAL_ERROR),
        ("finished_bad_shebang", EndReason.TRIAL_ERROR),
        ("profile_exits_9", EndReason.TRIAL_ERROR),
        ("finished_ok", None),  # 0 is no success: the end line is
        ("finished_self_sigkill", None),
        ("exec_self_kill9", None),
    ],
)
def test_why_a_job_ended(name, reason):
    assert status_of(shown(name)).state is JobState.ENDED
    assert end_of(shown(name)).reason is reason


def test_a_job_whose_other_node_died_and_that_was_then_deleted_is_cancelled():
    comment = "Job run at Mon Nov 23 at 14:06 on (pbsn1:ncpus=1) and terminated by pbsuser@localhost"
    assert end_of(shown("finished_exit3", Exit_status="271", comment=comment)).reason is EndReason.CANCELLED


def test_an_older_server_gives_the_time_limit_the_code_of_a_signal():
    comment = "Job run at Mon Nov 23 at 14:06 on (pbsn1:ncpus=1) and exceeded resource walltime"
    assert end_of(shown("finished_exit3", Exit_status="271", comment=comment)).reason is EndReason.TIME_LIMIT


def test_a_job_that_moved_to_another_server_was_not_cancelled():
    attributes = {key: value for key, value in shown("queued_no_room").attributes.items() if key != "comment"}
    assert end_of(qstat.Job("1.vm", attributes | {"job_state": "M"})).reason is None


@pytest.mark.parametrize(
    ("name", "stuck"),
    [
        ("queued_can_never_run", True),
        ("queued_can_never_run_mem", True),
        ("held_too_many_starts", True),
        ("held_qhold", False),
        ("held_user_qsub_h", False),
        ("held_depend_afterok", False),
        ("queued_no_room", False),
        ("waiting_a", False),
    ],
)
def test_a_job_that_waits_says_why_and_whether_for_ever(name, stuck):
    status = status_of(shown(name))
    assert (status.state, status.stuck) == (JobState.PENDING, stuck)
    assert status.detail


@pytest.mark.parametrize("comment", ["No available resources on nodes", "Internal Scheduling Error"])
def test_a_job_that_can_never_run_while_nodes_are_down_is_waited_for(comment):
    assert not status_of(shown("queued_can_never_run", comment=f"Can Never Run: {comment}")).stuck


@pytest.mark.parametrize("state", ["?", "", "Z"])
def test_an_unknown_state_is_no_end(state):
    assert status_of(shown("running", job_state=state)).state is JobState.RUNNING
    assert end_of(shown("running", job_state=state)) is None


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (162, "Connection refused\nqsub: cannot connect to server vm (errno=15010)", SchedulerUnreachable),
        (160, "Unknown Host.\nqsub: cannot connect to server vm (errno=15008)", SchedulerUnreachable),
        (160, "qsub: Access from host not allowed, or unknown host", SubmitRefused),
        (185, "qsub: No free connections", SchedulerUnreachable),
        (212, "qsub: Server is shutting down", SchedulerUnreachable),
        (38, "qsub: would exceed complex's per-user limit", QueueFull),
        (39, "qsub: would exceed limit on resource ncpus in queue workq", QueueFull),
        (188, "qsub: Job violates queue and/or server resource limits", SubmitRefused),
        (170, "qsub: Unknown queue", SubmitRefused),
        (32, "qsub: Please give a project with -A\nsecond line of the message", SubmitRefused),
    ],
)
def test_what_a_failed_qsub_means_and_all_that_it_said(status, text, error):
    complaint = complaint_of("qsub", Answer(status, "", text))
    assert type(complaint) is error
    assert " ".join(text.split("\n")) in str(complaint)


@pytest.mark.parametrize("path", sorted(SHOWN.glob("*.txt")), ids=lambda path: path.stem)
def test_an_answer_that_broke_off_anywhere_is_noticed(path):
    text = path.read_text(errors="replace")
    assert qstat.is_whole(text)
    assert not any(qstat.is_whole(text[:end]) for end in range(1, len(text)))


def test_a_resource_may_have_a_hyphen_in_its_name():
    text = "Job Id: 1.vm\n    Job_Name = a\n    Resource_List.net-bw = first,\n\tsecond\n    queue = q\n\n"
    (job,) = qstat.parse_jobs(text)
    assert job.attributes == {"Job_Name": "a", "Resource_List.net-bw": "first,second", "queue": "q"}


@given(st.text() | st.text("JobId: \n\t=_Ejxit-s0123F", max_size=200).map(lambda text: f"Job Id: 1.vm\n{text}"))
def test_nothing_that_qstat_prints_raises(output):
    for job in qstat.parse_jobs(output):
        status_of(job)
        end_of(job)


@pytest.mark.parametrize(
    ("name", "state", "start", "end"),
    [
        ("finished_ok", "COMPLETED", True, True),
        ("finished_exit3", "FAILED", True, True),
        ("qdel_running", "DELETED", True, True),
        ("qdel_queued", "DELETED", False, False),
        ("running", "RUNNING", True, False),
        ("qrerun", "RUNNING", False, False),  # it ran before: PBS tells the last start only
    ],
)
def test_what_the_history_accounts_for(name, state, start, end, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        job = accounted(shown(name), "trial")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (job.name, job.state, job.start is not None, job.end is not None) == ("trial", state, start, end)
    if start:
        shown_hour = int(shown(name).attributes["stime"].split()[3][:2])
        assert datetime.fromisoformat(job.start).hour == (shown_hour - 9) % 24


def test_a_time_that_an_older_release_writes_as_a_number():
    assert accounted(shown("finished_ok", obittime="1795441068"), "trial").end == "2026-11-23T13:37:48Z"
    assert accounted(shown("finished_ok", obittime="0"), "trial").end is None


def test_who_preempted_and_who_suspended():
    by_scheduler = shown("qdel_running", comment="Job run at Mon Nov 23 and terminated by Scheduler@vm")
    assert end_of(by_scheduler).reason is EndReason.PREEMPTED
    assert status_of(shown("suspended")).detail == "suspended: `qsig -s resume` lets it go on"
    assert status_of(shown("suspended", substate="45")).detail == "suspended for a job of higher priority"
