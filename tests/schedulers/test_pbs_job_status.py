"""What OpenPBS showed of a job, and what follows from it."""

import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobState
from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.schedulers.pbs.job_status import accounted, end_of, status_of

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
    ("name", "stuck", "final", "detail"),
    [
        ("queued_can_never_run", True, False, "Can Never Run: Insufficient amount of resource: ncpus (R: 100 A: 16"),
        ("queued_can_never_run_mem", True, False, "Can Never Run: Insufficient amount of resource: mem"),
        ("held_too_many_starts", True, True, "job held, too many failed attempts to run: held by the system"),
        ("start_refused_r_n", True, True, "job held, too many failed attempts to run: held by the system"),
        ("held_qhold", False, False, "Job held by pbsuser on Mon Nov 23 13:40:11 2026: held by its user: `qrls`"),
        ("held_user_qsub_h", False, False, "held by its user: `qrls` lets it go on"),
        ("held_depend_afterok", False, False, "waits for the end of job 50.vm"),
        ("depend_parent_deleted", False, False, "waits for the end of job 50.vm"),
        ("queued_no_room", False, False, "Not Running: Not enough free nodes available"),
        (
            "mom_dead_rerunable_requeued",
            False,
            False,
            "put back into the queue after 1 start(s), as its node was lost: ",
        ),
        ("waiting_a", False, False, "its start lies ahead: Tue Dec 31 23:59:00 2030"),
    ],
)
def test_a_job_that_waits_says_why_and_whether_for_ever(name, stuck, final, detail):
    status = status_of(shown(name))
    assert (status.state, status.stuck, status.final) == (JobState.PENDING, stuck, final)
    assert status.detail.startswith(detail)


@pytest.mark.parametrize("kind", ["s", "o", "os", "us"])
def test_a_hold_by_an_administrators_hand_is_waited_for_and_shown(kind):
    comment = "Job held by root on Mon Nov 30 11:02:03 2026"
    status = status_of(shown("held_qhold", comment=comment, Hold_Types=kind))
    assert (status.stuck, status.final) == (False, False)
    assert status.detail == f"{comment}: held by the system or an operator ({kind}), who alone can let it go on"


@pytest.mark.parametrize(("there", "stuck"), [({"50.vm"}, False), (set(), True), ({"5.vm", "500.vm"}, True)])
def test_a_job_whose_predecessor_is_not_in_the_queue_is_stuck(there, stuck):
    status = status_of(shown("depend_parent_deleted"), there.__contains__)
    assert (status.stuck, status.final) == (stuck, False)
    assert ("not in the queue any more" in status.detail) == stuck


def test_whom_a_job_follows_and_who_follows_it():
    depend = "afterany:50.vm@vm:51.vm@vm,beforeany:60.vm@vm,afterok:52.vm@vm"
    assert shown("running", depend=depend).follows == ("50.vm", "51.vm", "52.vm")
    assert shown("running", depend="beforeany:60.vm@vm").follows == ()


def test_a_job_that_was_removed_with_the_one_it_followed_is_not_cancelled():
    end = end_of(shown("depend_afterok_of_failed"))
    assert end.reason is None
    assert end.detail == "removed by PBS before it ran: it was to follow job 57.vm"


@pytest.mark.parametrize("comment", ["No available resources on nodes", "Internal Scheduling Error"])
def test_a_job_that_can_never_run_while_nodes_are_down_is_waited_for(comment):
    assert not status_of(shown("queued_can_never_run", comment=f"Can Never Run: {comment}")).stuck


@pytest.mark.parametrize("state", ["?", "", "Z"])
def test_an_unknown_state_is_no_end(state):
    assert status_of(shown("running", job_state=state)).state is JobState.RUNNING
    assert end_of(shown("running", job_state=state)) is None


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


@pytest.mark.parametrize(
    ("name", "changes", "detail"),
    [
        ("running", {}, ""),
        ("running", {"job_state": "U"}, "suspended: its node is in use by its owner"),
        ("running", {"job_state": "E"}, "ends: PBS collects its output"),
        ("suspended", {}, "suspended: `qsig -s resume` lets it go on"),
        ("suspended", {"substate": "99"}, "suspended"),
        ("qrerun", {}, "start 2: PBS has started it before"),
        ("mom_term_restarted", {}, "start 2: PBS has started it before"),
    ],
)
def test_a_job_that_has_its_nodes_says_why_it_does_not_simply_run(name, changes, detail):
    status = status_of(shown(name, **changes))
    assert (status.state, status.detail) == (JobState.RUNNING, detail)
