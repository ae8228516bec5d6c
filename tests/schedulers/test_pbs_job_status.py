"""Status, end reason and accounting record of PBS jobs, on recorded output of OpenPBS 23.06.06."""

import time
from datetime import datetime
from pathlib import Path

import pytest

from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobState
from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.schedulers.pbs.job_status import accounted_job, end_of, status_of

pytestmark = pytest.mark.unit

RECORDED = Path(__file__).parent / "pbs"


def recorded(name, **changes):
    """A recorded job with some attributes changed."""
    (job,) = qstat.parse_jobs((RECORDED / f"{name}.txt").read_text(errors="replace"))
    return qstat.QstatJob(job.id, {**job.attributes, **changes})


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
        ("finished_ok", None),  # exit status 0 does not count as success
        ("finished_self_sigkill", None),
        ("exec_self_kill9", None),
    ],
)
def test_end_reason_of_a_recorded_job(name, reason):
    assert status_of(recorded(name)).state is JobState.ENDED
    assert end_of(recorded(name)).reason is reason


def test_a_job_that_was_deleted_after_a_node_failed_is_cancelled():
    comment = "Job run at Mon Nov 23 at 14:06 on (pbsn1:ncpus=1) and terminated by pbsuser@localhost"
    assert end_of(recorded("finished_exit3", Exit_status="271", comment=comment)).reason is EndReason.CANCELLED


def test_a_time_limit_that_an_older_server_reports_as_a_signal():
    comment = "Job run at Mon Nov 23 at 14:06 on (pbsn1:ncpus=1) and exceeded resource walltime"
    assert end_of(recorded("finished_exit3", Exit_status="271", comment=comment)).reason is EndReason.TIME_LIMIT


def test_a_job_that_moved_to_another_server_was_not_cancelled():
    attributes = {key: value for key, value in recorded("queued_no_room").attributes.items() if key != "comment"}
    assert end_of(qstat.QstatJob("1.vm", attributes | {"job_state": "M"})).reason is None


@pytest.mark.parametrize(
    ("name", "stuck", "final", "detail"),
    [
        ("queued_can_never_run", True, False, "Can Never Run: Insufficient amount of resource: ncpus (R: 100 A: 16"),
        ("queued_can_never_run_mem", True, False, "Can Never Run: Insufficient amount of resource: mem"),
        ("held_too_many_starts", True, True, "job held, too many failed attempts to run: held by the system"),
        ("start_refused_r_n", True, True, "job held, too many failed attempts to run: held by the system"),
        ("held_qhold", False, False, "Job held by pbsuser on Mon Nov 23 13:40:11 2026: held by its user; `qrls`"),
        ("held_user_qsub_h", False, False, "held by its user; `qrls` releases it"),
        ("held_depend_afterok", False, False, "waits for the end of job 50.vm"),
        ("depend_parent_deleted", False, False, "waits for the end of job 50.vm"),
        ("queued_no_room", False, False, "Not Running: Not enough free nodes available"),
        ("mom_dead_rerunable_requeued", False, False, "requeued after 1 start(s), as its node was lost: "),
        ("waiting_a", False, False, "its start time is not reached: Tue Dec 31 23:59:00 2030"),
    ],
)
def test_status_of_a_pending_job(name, stuck, final, detail):
    status = status_of(recorded(name))
    assert (status.state, status.stuck, status.final) == (JobState.PENDING, stuck, final)
    assert status.detail.startswith(detail)


@pytest.mark.parametrize("kind", ["s", "o", "os", "us"])
def test_an_administrators_hold_is_temporary(kind):
    comment = "Job held by root on Mon Nov 30 11:02:03 2026"
    status = status_of(recorded("held_qhold", comment=comment, Hold_Types=kind))
    assert (status.stuck, status.final) == (False, False)
    assert status.detail == f"{comment}: held by the system or an operator ({kind}), who alone can release it"


@pytest.mark.parametrize(("listed", "stuck"), [({"50.vm"}, False), (set(), True), ({"5.vm", "500.vm"}, True)])
def test_a_job_whose_predecessor_is_not_in_the_queue_is_stuck(listed, stuck):
    status = status_of(recorded("depend_parent_deleted"), listed.__contains__)
    assert (status.stuck, status.final) == (stuck, False)
    assert ("not in the queue any more" in status.detail) == stuck


@pytest.mark.parametrize(
    ("listed", "stuck"), [({"50.vm", "51.vm"}, False), ({"50.vm"}, False), ({"51.vm"}, False), (set(), True)]
)
def test_a_job_is_stuck_only_without_all_of_its_predecessors(listed, stuck):
    job = recorded("depend_parent_deleted", depend="afterany:50.vm@vm:51.vm@vm")
    assert status_of(job, listed.__contains__).stuck is stuck


def test_a_job_that_was_removed_with_its_predecessor_is_not_cancelled():
    end = end_of(recorded("depend_afterok_of_failed"))
    assert end.reason is None
    assert end.detail == "removed by PBS before it ran, with its predecessor 57.vm"


@pytest.mark.parametrize("comment", ["No available resources on nodes", "Internal Scheduling Error"])
def test_a_job_that_cannot_run_while_nodes_are_down_is_not_stuck(comment):
    assert not status_of(recorded("queued_can_never_run", comment=f"Can Never Run: {comment}")).stuck


@pytest.mark.parametrize("state", ["?", "", "Z"])
def test_a_job_in_an_unknown_state_has_not_ended(state):
    assert status_of(recorded("running", job_state=state)).state is JobState.RUNNING
    assert end_of(recorded("running", job_state=state)) is None


@pytest.mark.parametrize(
    ("name", "state", "start", "end"),
    [
        ("finished_ok", "COMPLETED", True, True),
        ("finished_exit3", "FAILED", True, True),
        ("qdel_running", "DELETED", True, True),
        ("qdel_queued", "DELETED", False, False),
        ("running", "RUNNING", True, False),
        ("qrerun", "RUNNING", False, False),  # it ran before: PBS reports the last start only
    ],
)
def test_accounting_record_of_a_job(name, state, start, end, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        job = accounted_job(recorded(name), "trial")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (job.name, job.state, job.start is not None, job.end is not None) == ("trial", state, start, end)
    if start:
        hour = int(recorded(name).attributes["stime"].split()[3][:2])
        assert datetime.fromisoformat(job.start).hour == (hour - 9) % 24


def test_a_time_that_an_older_release_prints_as_a_number():
    assert accounted_job(recorded("finished_ok", obittime="1795441068"), "trial").end == "2026-11-23T13:37:48Z"
    assert accounted_job(recorded("finished_ok", obittime="0"), "trial").end is None


@pytest.mark.parametrize(
    ("state", "accounted"),
    [("Q", "PENDING"), ("H", "PENDING"), ("W", "PENDING"), ("S", "RUNNING"), ("E", "RUNNING"), ("?", "RUNNING")],
)
def test_accounted_state_of_a_live_job(state, accounted):
    job = accounted_job(recorded("finished_ok", job_state=state), "trial")
    assert (job.state, job.end) == (accounted, None)


def test_a_job_that_the_pbs_scheduler_deleted_is_preempted():
    by_scheduler = recorded("qdel_running", comment="Job run at Mon Nov 23 and terminated by Scheduler@vm")
    assert end_of(by_scheduler).reason is EndReason.PREEMPTED


@pytest.mark.parametrize(
    ("code", "reason", "detail"),
    [
        ("-29", EndReason.TIME_LIMIT, "exceeded its walltime"),
        ("-28", EndReason.TRIAL_ERROR, "exceeded its processor time"),
        ("-27", EndReason.OUT_OF_MEMORY, "exceeded its memory"),
        ("-26", EndReason.OUT_OF_MEMORY, "exceeded its virtual memory"),
        ("-25", EndReason.TRIAL_ERROR, "exceeded its number of processors (average)"),
        ("-24", EndReason.TRIAL_ERROR, "exceeded its number of processors (burst)"),
        ("-20", EndReason.NODE_FAILURE, "its node was lost"),
        ("-4", EndReason.NODE_FAILURE, "PBS was restarted on its node"),
        ("-1", EndReason.NODE_FAILURE, "PBS could not run it (exit status -1)"),
        ("0", None, "exit status 0"),
        ("1", EndReason.TRIAL_ERROR, "exit status 1"),
        ("128", EndReason.TRIAL_ERROR, "exit status 128"),
        ("129", None, "ended by signal 1"),
        ("192", None, "ended by signal 64"),
        ("193", EndReason.TRIAL_ERROR, "exit status 193"),
        ("256", EndReason.TRIAL_ERROR, "exit status 256"),
        ("257", None, "its shell was ended by signal 1"),
        ("320", None, "its shell was ended by signal 64"),
        ("321", EndReason.TRIAL_ERROR, "exit status 321"),
    ],
)
def test_meaning_of_an_exit_status(code, reason, detail):
    end = end_of(qstat.QstatJob("1.vm", {"job_state": "F", "Exit_status": code, "run_count": "1"}))
    assert (end.reason, end.detail) == (reason, detail)


@pytest.mark.parametrize(
    ("comment", "reason"),
    [
        ("and exceeded resource mem", EndReason.OUT_OF_MEMORY),
        ("and exceeded resource vmem", EndReason.OUT_OF_MEMORY),
        ("and exceeded resource walltime", EndReason.TIME_LIMIT),
        ("and terminated by pbsuser@vm", EndReason.CANCELLED),
        ("and failed", None),
    ],
)
def test_end_reason_from_the_comment_of_a_job(comment, reason):
    job = qstat.QstatJob("1.vm", {"job_state": "F", "Exit_status": "271", "run_count": "1", "comment": comment})
    assert end_of(job).reason is reason
    assert end_of(job).detail.endswith(f" ({comment})")


@pytest.mark.parametrize(
    ("attributes", "detail"),
    [
        ({"job_state": "Q"}, "not yet evaluated by the PBS scheduler"),
        ({"job_state": "T"}, "in transit to another server"),
        ({"job_state": "W"}, "its start time is not reached"),
        ({"job_state": "Q", "run_count": "2"}, "requeued after 2 start(s)"),
        ({"job_state": "Q", "run_count": "1", "Exit_status": "1"}, "requeued after 1 start(s)"),
        (
            {"job_state": "Q", "run_count": "1", "Exit_status": "-4", "comment": "Not Running"},
            "requeued after 1 start(s), as PBS was restarted on its node: Not Running",
        ),
        ({"job_state": "H", "depend": "on:1"}, "waits for another job"),
        ({"job_state": "H", "depend": "afterok:7.vm@vm:8.vm@vm"}, "waits for the end of job 7.vm, 8.vm"),
        ({"job_state": "H", "Hold_Types": "u"}, "held by its user; `qrls` releases it"),
        ({"job_state": "H"}, "held by the system or an operator (n), who alone can release it"),
        ({"job_state": "W", "depend": "afterok:7.vm@vm", "Hold_Types": "u"}, "its start time is not reached"),
    ],
)
def test_detail_of_a_pending_job(attributes, detail):
    status = status_of(qstat.QstatJob("1.vm", attributes), lambda _: True)
    assert (status.state, status.detail) == (JobState.PENDING, detail)


def test_only_a_held_job_waits_for_a_predecessor():
    attributes = {"job_state": "Q", "depend": "afterok:7.vm@vm"}
    assert not status_of(qstat.QstatJob("1.vm", attributes), lambda _: False).stuck
    assert not status_of(qstat.QstatJob("1.vm", {"job_state": "H"}), lambda _: False).stuck
    assert not status_of(qstat.QstatJob("1.vm", attributes | {"job_state": "H"})).stuck
    assert status_of(qstat.QstatJob("1.vm", attributes | {"job_state": "H"}), lambda _: False).stuck


def test_status_of_a_running_and_of_an_ended_job():
    running = status_of(recorded("running", **{"resources_used.walltime": "00:01:30"}))
    assert (running.name, running.job, running.running_for, running.suspended) == ("ok", "34.vm", 90.0, False)
    assert status_of(recorded("suspended")).suspended
    ended = status_of(recorded("finished_exit3"))
    assert (ended.state, ended.detail[:14]) == (JobState.ENDED, "exit status 3 ")


def test_the_end_of_a_job_that_never_ran():
    deleted = qstat.QstatJob("1.vm", {"job_state": "F", "substate": "91", "depend": "afterok:7.vm@vm"})
    assert end_of(deleted).reason is EndReason.CANCELLED
    assert end_of(qstat.QstatJob("1.vm", {"job_state": "X"})).reason is EndReason.CANCELLED


@pytest.mark.parametrize(
    ("name", "changes", "detail"),
    [
        ("running", {}, ""),
        ("running", {"job_state": "U"}, "suspended: its node is in use by its owner"),
        ("running", {"job_state": "E"}, "exiting: PBS collects its output"),
        ("suspended", {}, "suspended; `qsig -s resume` resumes it"),
        ("suspended", {"substate": "45"}, "suspended for a job of higher priority"),
        ("suspended", {"substate": "99"}, "suspended"),
        ("qrerun", {}, "start 2: PBS has started it before"),
        ("mom_term_restarted", {}, "start 2: PBS has started it before"),
    ],
)
def test_detail_of_a_running_job(name, changes, detail):
    status = status_of(recorded(name, **changes))
    assert (status.state, status.detail) == (JobState.RUNNING, detail)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Exit_status": "3", "run_count": "1", "depend": "afterany:7.vm@vm"}, EndReason.TRIAL_ERROR),
        ({"Exit_status": "271", "run_count": "1", "substate": "91"}, EndReason.CANCELLED),
    ],
)
def test_end_reason_of_a_job_that_ran(attributes, reason):
    assert end_of(qstat.QstatJob("1.vm", {"job_state": "F", **attributes})).reason is reason
