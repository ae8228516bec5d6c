"""Properties of the Slurm scheduler beyond the conformance suite, on a real cluster."""

import os
import re
import shutil
import sys
import threading
import time
from dataclasses import replace

import pytest

from aiperf_orch.controller.job_log import end_from_log, tail
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobEnd, JobRequest, JobState, JobStatus
from aiperf_orch.schedulers.slurm.scheduler import SlurmScheduler
from aiperf_orch.schedulers.slurm.survey import survey
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util.errors import SchedulerUnreachableError

pytestmark = pytest.mark.slurm

ENVIRONMENT = "import os; print(*sorted(os.environ.items()), sep='\\n')"
WAITING = "import time; open('started', 'w').close(); time.sleep(300)"
FAILED = "sbatch: error: Batch job submission failed: "
POLICY = FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


def make_scheduler(**settings):
    return SlurmScheduler(SlurmSettings.model_validate({"cpus_per_task": 1, "memory": "200M"} | settings))


@pytest.fixture
def scheduler(slurm):
    return make_scheduler()


@pytest.fixture
def job(tmp_path):
    """Makes the request of a job that prints its environment, or runs another Python script."""

    def make(name, *exclude, script=ENVIRONMENT, array=None):
        campaign = tmp_path / "campaign"
        folder = campaign / "jobs" / name
        folder.mkdir(parents=True)
        submit_folder = campaign / "jobs" / array if array else folder
        submit_folder.mkdir(exist_ok=True)
        campaign.chmod(0o700)
        return JobRequest(name, folder, submit_folder, campaign, (sys.executable, "-c", script), exclude=exclude)

    return make


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Replaces a command of Slurm by a shell script, until the end of the test or a call with None; `REAL` runs it.

    Request it after the cluster, whose cleanup needs the real commands.
    """
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{folder}:{path}")

    def make(program, script):
        file = folder / program
        file.unlink(missing_ok=True)  # an earlier one may still run
        if script is not None:
            file.write_text(f"#!/bin/bash\nREAL() {{ PATH='{path}' {program} \"$@\"; }}\n{script}\n")
            file.chmod(0o755)

    yield make
    for file in folder.iterdir():
        file.unlink()


@pytest.fixture
def as_other_user(slurm, stand_in):
    """Makes a command of Slurm run as another user, who owns no job and sees nothing hidden."""
    slurm.root.parent.chmod(0o711)  # slurm.conf is below it

    def make(*programs):
        for program in programs:
            real = shutil.which(program, path=os.environ["PATH"].partition(":")[2])
            stand_in(program, f'exec setpriv --reuid=65534 --regid=65534 --clear-groups -- {real} "$@"')

    return make


def wait_for(condition, event, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {event}"
        time.sleep(0.1)
    return found


def submitted(scheduler, *requests):
    """Submits jobs that Slurm must accept; returns their ids."""
    submission = scheduler.submit(requests)
    assert submission.jobs.keys() == {request.name for request in requests}, submission
    return [submission.jobs[request.name] for request in requests]


def wait_for_start(*requests):
    for request in requests:
        wait_for((request.folder / "started").exists, f"job {request.name} starts")


def log_of(scheduler, request):
    """A job's output, once it has ended."""

    def ended():
        status = scheduler.query([request.name]).get(request.name)
        return status is not None and status.state is JobState.ENDED

    wait_for(ended, f"job {request.name} ends")
    return (request.folder / "log").read_text()


def end_of_job(scheduler, name, job):
    """A job's end, once it is known."""

    def end():
        known = scheduler.query_unlisted({name: job}).get(name)
        return known if isinstance(known, JobEnd) else None

    return wait_for(end, f"the end of job {name} is known")


def test_job_options_of_the_login_node_do_not_reach_the_job(scheduler, job, monkeypatch):
    for name, value in {
        "SBATCH_PARTITION": "nosuch",
        "SBATCH_EXCLUSIVE": "1",
        "SBATCH_EXPORT": "NONE",
        "SLURM_JOB_ID": "999",
        "SLURM_NTASKS": "7",
        "SLURM_CPU_BIND": "verbose",
        "SLURM_MEM_PER_CPU": "1",
        "SLURM_MEM_PER_GPU": "1",
        "SLURM_TRES_PER_TASK": "cpu=3",
        "SLURM_GPUS_PER_TASK": "9",
        "SRUN_OUTPUT": "/elsewhere",
        "SRUN_CPUS_PER_TASK": "9",
        "SQUEUE_FORMAT": "%i",
        "SQUEUE_STATES": "PENDING",
    }.items():
        monkeypatch.setenv(name, value)
    request = job("leaks-00000-1")
    (ident,) = submitted(scheduler, request)
    log = log_of(scheduler, request)
    assert f"('SLURM_JOB_ID', '{ident}')" in log
    assert "('SLURM_NTASKS', '1')" in log
    assert "nosuch" not in log
    assert "verbose" not in log


def test_nodes_are_avoided_as_long_as_others_exist(scheduler, job):
    elsewhere, anywhere = job("avoid-00000-1", "n1", "n2", "n4"), job("avoid-00001-1", "n1", "n2", "n3", "n4")
    submitted(scheduler, elsewhere, anywhere)
    assert "('AIPERF_ORCH_HOSTS', 'n3')" in log_of(scheduler, elsewhere)
    assert "AIPERF_ORCH_HOSTS" in log_of(scheduler, anywhere)


def test_drained_nodes_stay_excluded_where_no_other_node_is_left(scheduler, job):
    every = ("n1", "n2", "n3", "n4")
    request, nowhere = (
        replace(job("drain-00000-1", *every), drained=every[:3]),
        replace(job("gone-00000-1"), drained=every),
    )
    submitted(scheduler, request)
    assert "('AIPERF_ORCH_HOSTS', 'n4')" in log_of(scheduler, request)
    assert scheduler.submit([nowhere]).jobs == {}


@pytest.mark.parametrize(
    "directive", ["--export=NONE", "--export=NIL", "--ntasks-per-node=2", "--export=ALL,SLURM_JWT=x"]
)
def test_a_trial_runs_once_with_any_export_directive(slurm, job, directive):
    scheduler = make_scheduler(directives=[directive])
    request = job("export-00000-1")
    submitted(scheduler, request)
    log = log_of(scheduler, request)
    assert "execve" not in log
    assert log.count("('SUBMITIT_EXECUTOR', 'slurm')") == 1, log
    assert f"('PATH', '{os.environ['PATH'].partition(':')[0]}" in log or "NONE" in directive or "NIL" in directive
    assert "('SLURM_JWT'" not in log


def test_a_login_container_without_munge_authenticates_by_token(slurm, job, stand_in, monkeypatch):
    """Also with the cluster's name, which the commands get, and jobs do not."""
    refusal = 'echo "sbatch: error: Munge encode failed: Failed to access \\"/run/munge/munge.socket.2\\"" >&2; exit 1'
    for program in ("sbatch", "squeue", "scancel", "scontrol", "sacct"):
        # the real commands have no database of clusters, and no plugin for tokens
        check = f'[ -n "$SLURM_JWT" ] && [ "$SLURM_CLUSTERS" = here ] || {{ {refusal}; }}'
        stand_in(program, f'{check}\nunset SLURM_JWT SLURM_CLUSTERS; REAL "$@"')
    with pytest.raises(SchedulerUnreachableError, match="Munge encode failed"):
        make_scheduler().check(1)
    monkeypatch.setenv("SLURM_JWT", "a.secret.token")
    monkeypatch.setenv("SLURM_CLUSTERS", "here")
    scheduler = make_scheduler()
    assert scheduler.check(1) == []
    request = job("token-00000-1", script=f"{ENVIRONMENT}; {WAITING}")
    (ident,) = submitted(scheduler, request)
    wait_for_start(request)
    assert scheduler.cancel({request.name: ident}, force=True).refused == {}
    log = log_of(scheduler, request)
    assert "SLURM_JOB_ID" in log
    assert "secret" not in log


def test_jobs_in_a_hidden_partition_are_found_by_ordinary_users(slurm, job, stand_in, as_other_user):
    """Root sees hidden partitions, so that the queries are made by another user."""
    slurm.run("scontrol", "update", "partitionname=low", "hidden=yes")
    scheduler = make_scheduler(partition="low")
    try:
        request = job("hidden-00000-1", script=WAITING)
        (ident,) = submitted(scheduler, request)
        wait_for_start(request)
        as_other_user("squeue", "scontrol", "sinfo")
        assert scheduler.query([request.name])[request.name].state is JobState.RUNNING
        for others in (0, 10):
            jobs = {request.name: ident} | {f"hidden-8888{index}-1": f"88888{index}" for index in range(others)}
            assert scheduler.query_unlisted(jobs)[request.name].state is JobState.RUNNING
        cluster = survey(None, timeout=60)
        assert "low" in {partition.name for partition in cluster.partitions}
        assert "low" in {group.partition for group in cluster.nodes}
    finally:
        for program in ("squeue", "scontrol", "sinfo"):
            stand_in(program, None)
        slurm.run("scontrol", "update", "partitionname=low", "hidden=no")


EMPTY = '[ -e "{0}" ] && exit 0\nREAL "$@"'


@pytest.mark.parametrize("others", [0, 10])
def test_live_jobs_are_found_although_squeue_prints_nothing(scheduler, job, stand_in, tmp_path, others):
    running = job("empty-00000-1", script=WAITING)
    waits = [job(f"empty-w00001[{index}]", script=WAITING, array="empty-w00001") for index in range(3)]
    unlike = job("empty-00002-1", "n1", script=WAITING)
    (ident, *elements) = submitted(scheduler, running) + submitted(make_scheduler(directives=["--hold"]), *waits)
    wait_for_start(running)
    stand_in("squeue", EMPTY.format(tmp_path / "empty"))
    (tmp_path / "empty").touch()
    assert scheduler.query([running.name]) == {}
    jobs = {running.name: ident, "empty-99999-1": "999999", unlike.name: ident}
    jobs |= {request.name: element for request, element in zip(waits, elements, strict=True)}
    jobs |= {
        f"empty-8888{index}-1": f"88888{index}" for index in range(others)
    }  # one listing instead of single queries
    known = scheduler.query_unlisted(jobs)
    assert {name: (each.state, each.job) for name, each in known.items()} == {
        running.name: (JobState.RUNNING, ident),
        **{request.name: (JobState.PENDING, element) for request, element in zip(waits, elements, strict=True)},
    }
    assert known[running.name].running_for is not None
    assert "JobHeldUser" in known[waits[0].name].detail

    done = scheduler.cancel({name: jobs[name] for name in (running.name, waits[1].name, "empty-99999-1")}, force=False)
    assert (done.never_started, done.refused) == ([waits[1].name], {})
    assert end_of_job(scheduler, running.name, ident).reason is not None
    (tmp_path / "empty").unlink()
    assert {name: each.state for name, each in scheduler.query([each.name for each in waits]).items()
            if each.state is JobState.PENDING}.keys() == {waits[0].name, waits[2].name}  # fmt: skip


def test_suspended_and_requeued_jobs_have_not_ended(slurm, job, stand_in, tmp_path):
    scheduler = make_scheduler(requeue=True)
    suspended, requeued = (job(f"lives-0000{number}-1", script=WAITING) for number in range(2))
    idents = submitted(scheduler, suspended, requeued)
    wait_for_start(suspended, requeued)
    slurm.run("scontrol", "suspend", idents[0])
    slurm.run("scontrol", "requeue", idents[1])
    stand_in("squeue", EMPTY.format(tmp_path))

    def known():
        found = scheduler.query_unlisted({suspended.name: idents[0], requeued.name: idents[1]})
        return [found[each.name] for each in (suspended, requeued)]

    wait_for(lambda: known()[1].state is JobState.PENDING, "the requeued job is pending")
    assert [type(each) for each in known()] == [JobStatus, JobStatus]
    assert (known()[0].state, known()[0].detail) == (JobState.RUNNING, "SUSPENDED")
    slurm.run("scontrol", "resume", idents[0])


def test_accounting_knows_ends_of_purged_jobs_but_proves_no_life(slurm_accounting, job, stand_in):
    scheduler = make_scheduler()
    failed, running = job("purged-00000-1", script="raise SystemExit('x')"), job("purged-00001-1", script=WAITING)
    idents = submitted(scheduler, failed, running)
    wait_for_start(running)
    log_of(scheduler, failed)
    wait_for(
        lambda: slurm_accounting.run("sacct", "-nXj", idents[1], "-ostate").stdout.strip() == "RUNNING",
        "sacct shows the running job",
    )
    stand_in(
        "scontrol",
        '[[ $* = *" job "* ]] && { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }\nREAL "$@"',
    )
    jobs = {failed.name: idents[0], running.name: idents[1], "purged-00009-1": idents[0]}
    wait_for(lambda: scheduler.query_unlisted(jobs), "sacct shows the end of the failed job")
    known = scheduler.query_unlisted(jobs)
    assert {name: each.reason for name, each in known.items()} == {failed.name: EndReason.TRIAL_ERROR}

    stand_in("sacct", "echo 'sacct: error: Problem talking to the database: Connection refused' >&2; exit 1")
    with pytest.raises(SchedulerUnreachableError, match=r"sacct failed: .*Connection refused"):
        scheduler.query_unlisted(jobs)
    stand_in("scontrol", None)
    assert isinstance(scheduler.query_unlisted({running.name: idents[1]})[running.name], JobStatus)
    assert isinstance(scheduler.query_unlisted({failed.name: idents[0]})[failed.name], JobEnd)


@pytest.mark.parametrize(
    ("program", "script"),
    [
        ("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1"),
        ("squeue", "echo 'slurm_load_jobs error: Socket timed out on send/recv operation' >&2; exit 0"),
        ("scontrol", "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1"),
        ("scontrol", "exit 1"),
        ("scontrol", "kill -9 $$"),
    ],
)
def test_a_failed_query_does_not_make_a_job_unknown(scheduler, stand_in, program, script):
    stand_in(program, script)
    queries = {"squeue": lambda: scheduler.query(["x"]), "scontrol": lambda: scheduler.query_unlisted({"x": "1"})}
    with pytest.raises(SchedulerUnreachableError, match=f"{program} failed: "):
        queries[program]()


def test_a_job_that_cannot_be_cancelled_is_reported(scheduler, job, stand_in, as_other_user):
    request, waits = job("scancel-00000-1", script=WAITING), job("scancel-00001-1", script=WAITING)
    idents = submitted(scheduler, request) + submitted(make_scheduler(directives=["--hold"]), waits)
    jobs = dict(zip([request.name, waits.name], idents, strict=True))
    wait_for_start(request)
    as_other_user("scancel")  # Slurm's own refusal; below, a site's wrapper
    done = scheduler.cancel(jobs, force=True)
    assert (done.never_started, done.refused) == ([], dict.fromkeys(jobs, "Access/permission denied"))
    stand_in("scancel", "echo 'mysite: no scancel on Mondays' >&2; exit 3")
    done = scheduler.cancel(jobs, force=False)
    assert (done.never_started, done.refused) == ([], dict.fromkeys(jobs, "mysite: no scancel on Mondays"))
    stand_in("scancel", "kill -9 $$")
    with pytest.raises(SchedulerUnreachableError, match="scancel failed"):
        scheduler.cancel(jobs, force=False)
    stand_in("scancel", None)
    done = scheduler.cancel(jobs, force=True)
    assert (done.never_started, done.refused) == ([waits.name], {})
    log_of(scheduler, request)
    assert scheduler.cancel(jobs, force=True).refused == {}  # nothing is left to cancel


REFUSALS = {
    "refused": [FAILED + "Invalid partition name specified", "sbatch: error: Invalid --time specification"],
    "postponed": [
        FAILED + "I/O error writing script/environment to file",
        FAILED + "Required partition not available (inactive or drain)",
        "sbatch: error: MySite: to resolve this, renew your authentication token\n" + FAILED + "Unspecified error",
        "sbatch: error: mysite: connection to the socket timed out",
        POLICY,
    ],
    "waiting": [
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + POLICY,
        FAILED + "Resource temporarily unavailable",
    ],
    "unsure": [FAILED + "Socket timed out on send/recv operation"],
}


@pytest.mark.parametrize(
    ("outcome", "message"), [(outcome, message) for outcome, messages in REFUSALS.items() for message in messages]
)
def test_refusals_of_sbatch_are_sorted_by_slurms_own_sentence(scheduler, job, stand_in, tmp_path, outcome, message):
    (tmp_path / "message").write_text(message)
    stand_in("sbatch", f"cat '{tmp_path}/message' >&2; exit 1")
    first, second = job("refuse-00000-1"), job("refuse-00001-1")
    submission = scheduler.submit([first, second])
    assert getattr(submission, outcome)[first.name].endswith(" ".join(message.split("\n")))
    assert second.name in submission.waiting
    assert submission.jobs == {}


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("kill -9 $$", "unsure"),
        ("exit 137", "unsure"),
        ("exit 0", "unsure"),
        ("exit 1", "postponed"),
        ('echo "Welcome to MySite"; REAL "$@"', "jobs"),
        ('REAL "$@"; echo "sbatch: MySite: a note" >&2; exit 1', "jobs"),
    ],
)
def test_a_submission_without_an_answer_may_have_been_accepted(scheduler, job, stand_in, script, outcome):
    stand_in("sbatch", script)
    request = job("word-00000-1")
    assert list(getattr(scheduler.submit([request]), outcome)) == [request.name]


def test_a_file_that_cannot_be_written_postpones_the_job(scheduler, job):
    request = job("file-00000-1")
    (request.folder / "job.sh").mkdir()
    submission = scheduler.submit([request])
    assert f"{request.folder}/job.sh: cannot be written: " in submission.postponed[request.name]


ROOM_FOR_TWO = """
range=$(sed -n 's/^#SBATCH --array=//p' job.sh)
number=0; for part in ${{range//,/ }}; do (( number += ${{part##*-}} - ${{part%%-*}} + 1 )); done
if (( $(cat '{0}/jobs' 2>/dev/null || echo 0) + number > 2 )); then {1}; fi
echo $(( $(cat '{0}/jobs' 2>/dev/null || echo 0) + number )) > '{0}/jobs'; echo 4711
"""


@pytest.mark.parametrize(
    ("refusal", "single"),
    [
        (f'printf "%s\\n" "sbatch: error: QOSMaxSubmitJobPerUserLimit" "{POLICY}" >&2; exit 1', "waiting"),
        (f'echo "{POLICY}" >&2; exit 1', "postponed"),
        (f'echo "{FAILED}Invalid job array specification" >&2; exit 1', "postponed"),
        (
            'echo "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying" >&2; sleep 300',
            "waiting",
        ),
    ],
)
def test_an_array_is_halved_until_a_limit_is_met(scheduler, job, stand_in, tmp_path, refusal, single):
    stand_in("sbatch", ROOM_FOR_TWO.format(tmp_path, refusal))
    requests = [job(f"halves-w00000[{index}]", array="halves-w00000") for index in range(8)]
    began = time.monotonic()
    submission = scheduler.submit(requests)
    assert time.monotonic() - began < 250  # sbatch itself would retry for longer
    assert submission.jobs == {f"halves-w00000[{index}]": f"4711_{index}" for index in range(2)}
    assert "halves-w00000[2]" in getattr(submission, single)
    assert len(submission.waiting) == (6 if single == "waiting" else 5)
    assert submission.refused == {}


def test_errors_of_an_sbatch_that_timed_out_are_reported(slurm, job, stand_in):
    scheduler = make_scheduler(command_timeout="2s")
    stand_in("sbatch", "echo 'sbatch: error: Job creation temporarily disabled, retrying' >&2; sleep 300")
    request = job("late-00000-1")
    message = scheduler.submit([request]).unsure[request.name]
    printed = "sbatch: error: Job creation temporarily disabled, retrying"
    assert message == f"sbatch did not answer within 2s; it had printed: {printed}"


def test_elements_of_an_array_may_depend_on_different_jobs(slurm, scheduler, job):
    held = make_scheduler(directives=["--hold"])
    before = [job(f"before-0000{number}-1", script=WAITING) for number in range(2)]
    idents = submitted(held, *before)
    after = [replace(job(f"after-w00000[{n}]", array="after-w00000"), after=idents[n % 2]) for n in range(4)]
    elements = submitted(scheduler, *after)
    assert len(set(elements)) == 4
    shown = slurm.run("squeue", "--noheader", "--array", "--format=%j %K %E").stdout
    for number in range(4):
        assert re.search(rf"after-w00000 {number} afterany:{idents[number % 2]}\D", shown), shown


def ends_by_cancel(slurm, ident):
    slurm.run("scancel", ident)


def ends_by_force(slurm, ident):
    slurm.run("scancel", "--signal=KILL", ident)


def ends_by_node(slurm, ident):
    node = slurm.run("squeue", "--noheader", f"--jobs={ident}", "--format=%N").stdout.strip()
    slurm.down(node)


@pytest.mark.parametrize("end", [ends_by_cancel, ends_by_force, ends_by_node])
@pytest.mark.parametrize("element", [False, True])
def test_a_dependent_job_starts_after_any_end_of_the_other_one(slurm, scheduler, job, end, element):
    name = "first-w00000[3]" if element else "first-00000-1"
    first = job(name, script=WAITING, array="first-w00000" if element else None)
    (ident,) = submitted(scheduler, first)
    wait_for_start(first)
    second = replace(job("second-00001-1", script=WAITING), after=ident)
    submitted(scheduler, second)
    status = scheduler.query([second.name])[second.name]
    assert (status.state, status.stuck) == (JobState.PENDING, False)
    wait_for(
        lambda: "waits for another job" in scheduler.query([second.name])[second.name].detail,
        "the pending reason is the dependency",
    )
    end(slurm, ident)
    wait_for_start(second)


@pytest.mark.long
def test_a_job_that_depends_on_a_requeued_one_stays_pending(slurm, job):
    scheduler = make_scheduler(requeue=True, directives=["--nodelist=n1"])
    first = job("again-00000-1", script=WAITING)
    (ident,) = submitted(scheduler, first)
    wait_for_start(first)
    (second,) = submitted(make_scheduler(), replace(job("again-00001-1", script=WAITING), after=ident))
    (first.folder / "started").unlink()
    slurm.run("scontrol", "requeue", ident)
    wait_for_start(first)
    assert slurm.state(second) == "PENDING"
    assert "aiperf-orch: run 1 of job" in (first.folder / "log").read_text()


def test_a_job_that_depends_on_an_unknown_one_starts(scheduler, job):
    requests = [replace(job(f"left-0000{n}-1"), after=after) for n, after in enumerate(("999999", "999999_3"))]
    submitted(scheduler, *requests)
    for request in requests:
        assert "SLURM_JOB_ID" in log_of(scheduler, request)


def test_the_log_of_a_job_shows_that_it_ran_out_of_memory(slurm_accounting, job):
    scheduler = make_scheduler(memory="64M")
    request = job(
        "memory-00000-1", script="import time; open('started', 'w').close(); x = bytearray(300 << 20); time.sleep(60)"
    )
    (ident,) = submitted(scheduler, request)
    log_of(scheduler, request)
    end = end_from_log(tail(request.folder / "log"))
    assert end is not None, (request.folder / "log").read_text()
    assert end.reason is EndReason.OUT_OF_MEMORY
    assert "exceeded memory limit" in end.detail
    assert end_of_job(scheduler, request.name, ident).reason is not EndReason.OUT_OF_MEMORY  # only the log shows it


def test_the_log_of_a_job_names_its_lost_node(slurm, scheduler, job):
    request = job("node-00000-1", script=WAITING)
    (ident,) = submitted(scheduler, request)
    wait_for_start(request)
    node = slurm.run("squeue", "--noheader", f"--jobs={ident}", "--format=%N").stdout.strip()
    slurm.down(node)
    log_of(scheduler, request)
    end = wait_for(lambda: end_from_log(tail(request.folder / "log")), "the launcher's last line names the node")
    assert (end.reason, end.hosts) == (EndReason.NODE_FAILURE, (node,))


def test_a_campaign_that_is_not_visible_on_a_node_is_named(scheduler, job):
    request = job("guard-00000-1")
    elsewhere = replace(request, campaign=request.campaign / "elsewhere")
    submitted(scheduler, elsewhere)
    assert re.search(r"refused: \S+ does not see \S+/elsewhere: is it on a file system", log_of(scheduler, request))


def test_different_methods_may_run_concurrently(scheduler, job):
    requests = [job(f"thread-0000{number}-1", script=WAITING) for number in range(6)]
    names = [request.name for request in requests]
    done = threading.Event()
    errors = []

    def again(method):
        try:
            while not done.is_set():
                method()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [
        threading.Thread(target=again, args=[method])
        for method in (
            lambda: scheduler.query(names),
            lambda: scheduler.query_unlisted({name: str(number + 1) for number, name in enumerate(names)}),
            lambda: scheduler.array_limit(),
            lambda: scheduler.cancel(dict.fromkeys(["thread-99999-1"]), force=False),
        )
    ]
    for thread in threads:
        thread.start()
    try:
        idents = [submitted(scheduler, request)[0] for request in requests]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert len(set(idents)) == 6
    statuses = scheduler.query(names)
    assert [statuses[name].job for name in names] == idents
