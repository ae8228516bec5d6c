"""The PBS scheduler on the stand-in: submission, queries, cancellation, and answers that allow no conclusion."""

import subprocess
import sys
import threading
import time

import pytest

from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobEnd, JobRequest, JobState, JobStatus
from aiperf_orch.schedulers.command import CommandResult
from aiperf_orch.schedulers.pbs import scheduler as module
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import SchedulerUnreachableError

pytestmark = pytest.mark.pbs

WAITING = "import time; open('started', 'w').close(); time.sleep(300)"


@pytest.fixture
def scheduler(pbs):
    settings = {"scheduler": {"kind": "pbs", "command_timeout": "60s", "time_limit": "10m"}}
    return make_scheduler(SiteSettings.model_validate(settings).scheduler)


@pytest.fixture
def request_for(tmp_path):
    """Makes job requests in a campaign directory."""
    campaign = tmp_path / "campaign"
    campaign.mkdir(mode=0o700)

    def make(number, program=WAITING, after=None):
        folder = campaign / "jobs" / f"{number:05d}-1"
        folder.mkdir(parents=True)
        command = (sys.executable, "-c", program)
        return JobRequest(f"conf1-{number:05d}-1", folder, folder, campaign, command, after=after)

    return make


@pytest.fixture
def running(scheduler, request_for, wait_for):
    """Submits a job, waits until it runs, and returns its id."""

    def run(number):
        request = request_for(number)
        job = scheduler.submit([request]).jobs[request.name]
        wait_for((request.folder / "started").exists, f"job {job} starts")
        return job

    return run


@pytest.fixture
def wait_for():
    """Waits until a condition holds; `event` names what the test waits for."""

    def wait(condition, event, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{event}: did not happen within {seconds} s"
            time.sleep(0.05)

    return wait


@pytest.mark.parametrize("history", [True, False])
def test_query_of_unlisted_jobs_finds_live_and_ended_ones(scheduler, pbs, running, history):
    pbs.configure(history=history)
    script = "#!/bin/bash\nsleep 300\n"
    jobs = {
        "runs": running(0),
        "waits": pbs.submit(script, "-l", "select=1:ncpus=99"),
        "held": pbs.submit(script, "-h"),
        "suspended": running(1),
        "ended": pbs.submit("exit 3"),
        "deleted": pbs.submit(script, "-h"),
        "unknown": "999.vm",
    }
    pbs.run("qsig", "-s", "suspend", jobs["suspended"], operator=True)
    pbs.run("qdel", jobs["deleted"])
    pbs.wait_ended(jobs["ended"])
    known = scheduler.query_unlisted(jobs)
    living = {name: status.state for name, status in known.items() if isinstance(status, JobStatus)}
    assert living == {
        "runs": JobState.RUNNING,
        "waits": JobState.PENDING,
        "held": JobState.PENDING,
        "suspended": JobState.RUNNING,
    }
    assert known["suspended"].detail.startswith("suspended")
    ends = {name: end.reason for name, end in known.items() if isinstance(end, JobEnd)}
    assert ends == ({"ended": EndReason.TRIAL_ERROR, "deleted": EndReason.CANCELLED} if history else {})


@pytest.mark.parametrize("keep", [0.0, 0.5])
@pytest.mark.parametrize("history", [True, False])
def test_an_empty_or_truncated_answer_allows_no_conclusion(scheduler, pbs, history, keep):
    pbs.configure(history=history)
    jobs = {name: pbs.submit("true", "-h") for name in ("first", "second")}
    pbs.fault("qstat", "truncated", keep=keep)
    with pytest.raises(SchedulerUnreachableError):
        scheduler.query_unlisted(jobs)
    pbs.heal()
    pbs.stop_server()
    with pytest.raises(SchedulerUnreachableError):
        scheduler.query_unlisted(jobs)
    pbs.start_server()
    assert scheduler.query_unlisted(jobs).keys() == jobs.keys()


def test_a_disabled_queue_postpones_and_an_unknown_queue_refuses(scheduler, pbs, request_for):
    pbs.disable_queue()
    first, second = request_for(0), request_for(1)
    done = scheduler.submit([first, second])
    assert done.postponed == {first.name: "qsub: Queue is not enabled"}
    assert (done.refused, done.jobs, done.unsure) == ({}, {}, {})
    pbs.enable_queue()
    assert scheduler.submit([first, second]).jobs.keys() == {first.name, second.name}
    pbs.fault("qsub", "refused", text="Unknown queue", status=170)
    assert scheduler.submit([request_for(2)]).refused == {"conf1-00002-1": "qsub: Unknown queue"}


def test_a_job_waits_for_its_predecessor_and_is_not_stuck(scheduler, pbs, running, request_for, wait_for):
    first = running(0)
    request = request_for(1, after=first)
    job = scheduler.submit([request]).jobs[request.name]
    status = scheduler.query([request.name])[request.name]
    assert (status.state, status.job, status.stuck, status.final) == (JobState.PENDING, job, False, False)
    assert status.detail == f"waits for the end of job {first}"
    assert scheduler.query_unlisted({request.name: job})[request.name].stuck is False
    assert not (request.folder / "started").exists()
    scheduler.cancel({"conf1-00000-1": first}, force=False)
    wait_for((request.folder / "started").exists, f"job {request.name} starts")


@pytest.mark.parametrize("history", [True, False])
def test_a_job_whose_predecessor_is_gone_runs_immediately(scheduler, pbs, request_for, wait_for, history):
    pbs.configure(history=history)
    ended = pbs.submit("true")
    pbs.wait_ended(ended)
    for number, gone in enumerate((ended, "999.vm")):
        request = request_for(number, after=gone)
        done = scheduler.submit([request])
        assert (list(done.jobs), done.refused, done.postponed) == ([request.name], {}, {})
        wait_for((request.folder / "started").exists, f"job {request.name} starts")
        assert scheduler.query([request.name])[request.name].job == done.jobs[request.name]


@pytest.mark.parametrize(
    ("status", "text"), [(153, "Unknown Job Id 7.vm"), (35, "Job has finished 7.vm"), (206, "Invalid Job Dependency")]
)
def test_a_refused_predecessor_is_omitted(scheduler, pbs, request_for, status, text):
    pbs.fault("qsub", "refused", times=1, status=status, text=text)
    request = request_for(0, after="7.vm")
    assert list(scheduler.submit([request]).jobs) == [request.name]
    assert "depend" not in (request.folder / "job.sh").read_text()


def test_a_job_whose_pending_predecessor_was_deleted_is_stuck(scheduler, pbs, request_for):
    first = pbs.submit("true", "-h")
    request = request_for(0, after=first)
    job = scheduler.submit([request]).jobs[request.name]
    pbs.run("qdel", first)
    status = scheduler.query([request.name])[request.name]
    assert (status.job, status.stuck, status.final) == (job, True, False)
    assert status.detail == f"waits for the end of job {first}, which is not in the queue any more"


def test_a_job_recovers_when_nodes_report_to_a_restarted_server(scheduler, pbs, request_for, wait_for):
    pbs.restart_server()
    request = request_for(0)
    scheduler.submit([request])
    status = scheduler.query([request.name])[request.name]
    assert (status.state, status.stuck, status.final) == (JobState.PENDING, True, False)
    assert status.detail.startswith("Can Never Run: Insufficient amount of resource")
    pbs.moms_report()
    wait_for(lambda: scheduler.query([request.name])[request.name].state is JobState.RUNNING, "the job runs")


def test_an_administrators_hold_is_temporary_and_the_servers_is_final(scheduler, pbs, request_for):
    pbs.configure(refuse_starts=["conf1-00001-1"], scheduling=False)
    requests = [request_for(number) for number in range(2)]
    jobs = scheduler.submit(requests).jobs
    assert pbs.run("qhold", "-h", "s", jobs[requests[0].name], operator=True).returncode == 0
    pbs.configure(scheduling=True)
    first, second = (scheduler.query(list(jobs))[request.name] for request in requests)
    assert (first.stuck, first.final, first.detail[:20]) == (False, False, "Job held by root on ")
    assert (second.stuck, second.final) == (True, True)


@pytest.mark.parametrize("history", [True, False])
def test_pending_jobs_are_deleted_first_and_never_run(scheduler, pbs, running, request_for, wait_for, history):
    pbs.configure(history=history)
    first = running(0)
    request = request_for(1, after=first)
    job = scheduler.submit([request]).jobs[request.name]
    done = scheduler.cancel({"conf1-00000-1": first, request.name: job}, force=False)
    assert (done.never_started, done.refused) == ([request.name], {})
    assert [words for _, _, words in pbs.calls("qdel")] == [[job], [first]]
    pbs.wait_ended(first)
    assert not (request.folder / "started").exists()


def test_a_job_that_starts_while_it_is_deleted_has_started(scheduler, pbs, request_for):
    pbs.configure(scheduling=False)
    request = request_for(0)
    job = scheduler.submit([request]).jobs[request.name]
    query = scheduler.query

    def late(names):
        listed = query(names)
        pbs.configure(scheduling=True)  # it starts after the listing
        pbs.run("qstat")
        pbs.wait(job, "R")
        return listed

    scheduler.query = late
    assert scheduler.cancel({request.name: job}, force=False).never_started == []
    assert pbs.wait(job)["substate"] == 91


def test_threads_share_the_rate_of_commands_fairly(scheduler, monkeypatch, wait_for):
    calls, lock = [], threading.Lock()

    def run_command(command, **_):
        with lock:
            calls.append(command[0])
        return CommandResult(0, "1.vm\n", "")

    monkeypatch.setattr(module, "run_command", run_command)
    begin = time.monotonic()
    series = threading.Thread(target=lambda: [scheduler._run(["qsub"]) for _ in range(12)])
    series.start()
    wait_for(lambda: calls, "the first command runs")
    for _ in range(4):
        scheduler._run(["qdel"])
    assert calls.index("qdel") <= 3
    assert calls.count("qsub") < 12  # the series goes on
    series.join()
    assert time.monotonic() - begin >= 15 * module._CALL_INTERVAL


def test_a_killed_qsub_may_have_submitted_the_job(scheduler, pbs, request_for, monkeypatch):
    monkeypatch.setattr(module, "run_command", lambda *_, **__: CommandResult(-9, "", ""))
    request = request_for(0)
    assert list(scheduler.submit([request]).unsure) == [request.name]


def test_the_id_of_a_job_is_kept_if_the_lookup_fails(scheduler, pbs, running, request_for):
    request = request_for(1, after=running(0))
    pbs.fault("qstat", "down", times=1)
    assert list(scheduler.submit([request]).jobs) == [request.name]
    assert len(subprocess.run([pbs.bin / "qselect"], capture_output=True, text=True).stdout.splitlines()) == 2
