"""Conformance of every scheduler to its interface, with real jobs. A new scheduler adds itself to `SCHEDULERS`."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from ast import literal_eval
from dataclasses import replace

import pytest
import yaml

from agent.running_agent import RunningAgent
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import Lock
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers import local
from aiperf_orch.schedulers.allocation_jobs import allocation_request
from aiperf_orch.schedulers.base import JobEnd, JobRequest, JobState
from aiperf_orch.schedulers.registry import make_scheduler, make_trial_scheduler
from aiperf_orch.settings.models import LocalSettings, SiteSettings
from aiperf_orch.settings.placement import placement_settings

QUICK = {"command_timeout": "60s", "stop_grace": "10s", "time_limit": "10m", "poll_interval": "100ms"}
SLURM = {"kind": "slurm", "cpus_per_task": 1, "memory": "200M"} | QUICK
PBS = {"kind": "pbs"} | QUICK
SLOTS = 4
"""Number of slots of the agents; the jobs of a test run at once."""
ALLOCATIONS = {"nodes": 2, "time_limit": "20m", "cpus_per_node": SLOTS // 2}
PLACED = {
    "agents": {"kind": "agents", "poll_interval": "100ms"},
    "local-allocation": {"kind": "local", "job_per_trial": False, "poll_interval": "100ms"},
    "slurm-allocation": SLURM | {"allocations": ALLOCATIONS},
    "pbs-allocation": PBS | {"allocations": ALLOCATIONS},
}
"""Settings of schedulers that place trials on agents: started by hand, or by the job of an allocation."""
ALLOCATION = "conf1-a00001"
SIMULATED = {"trainer": "simulated"}
SCHEDULERS = {"local": {"kind": "local", "job_per_trial": True}, "slurm": SLURM, "pbs": PBS, "real_pbs": PBS} | PLACED
MARKS = {"real_pbs": "pbs", "agents": "local"}
PATIENCE = float(os.environ.get("AIPERF_ORCH_TEST_PATIENCE", "60"))
"""Seconds that a job may take to start: a real cluster may schedule jobs every ten minutes."""


@pytest.fixture
def real_pbs():
    """Settings, from AIPERF_ORCH_TEST_PBS, for the real PBS whose qsub is on PATH."""
    version = ["qsub", "--version"]  # Slurm has a wrapper of that name
    if not shutil.which("qsub") or "pbs_version" not in subprocess.run(version, capture_output=True, text=True).stdout:
        pytest.skip("there is no qsub of PBS on PATH: the stand-in, which other tests use, is not PBS")
    return yaml.safe_load(os.environ.get("AIPERF_ORCH_TEST_PBS", "{}"))


def scheduler_params(*, without=()):
    """The schedulers; those in `without` are left out."""
    names = [name for name in SCHEDULERS if name not in without]
    marks = {name: getattr(pytest.mark, MARKS.get(name, name.partition("-")[0])) for name in names}
    return [pytest.param(name, marks=marks[name]) for name in names]


@pytest.fixture(params=scheduler_params())
def site(request):
    cluster = None
    with contextlib.suppress(pytest.FixtureLookupError):  # this machine and agents have none
        cluster = request.getfixturevalue(request.param.partition("-")[0])
    if request.param.startswith("pbs"):
        cluster.configure(kill_delay=3600)  # a job that ignores SIGTERM is not killed by the delay
    own = cluster if request.param == "real_pbs" else {}
    return SiteSettings.model_validate(
        {"scheduler": SCHEDULERS[request.param] | own, "campaign": {"concurrency": SLOTS}, "training": SIMULATED}
    )


@pytest.fixture
def settings(site):
    return site.scheduler


@pytest.fixture
def campaign(tmp_path):
    """Path of the campaign directory, whose name needs quoting."""
    return tmp_path / "a campaign's directory $HOME"


@pytest.fixture
def new_scheduler(site, campaign):
    """Makes scheduler objects of these settings, of one controller; where trials are placed, agents are present."""
    if placement_settings(site.scheduler, SLOTS) is None:
        yield lambda: make_scheduler(site.scheduler)
        return
    directory = CampaignDirectory.create(campaign, site, {})
    lock = Lock.acquire(directory.lock, take_over=False)

    def make():
        scheduler = make_trial_scheduler(directory)
        scheduler.hold(lock.holder.generation)
        return scheduler

    with contextlib.ExitStack() as closing:
        closing.callback(lock.release)
        first = make()
        if first.batch is None:
            closing.enter_context(RunningAgent(directory, "--slots", str(SLOTS)))
        else:
            request = allocation_request(directory, site.scheduler, ALLOCATION)
            request.folder.mkdir(mode=0o700)
            jobs = first.batch.submit([request]).jobs
            closing.callback(wait_for_end, first.batch, ALLOCATION)
            closing.callback(first.batch.cancel, jobs, force=True)

        def slots_are_free():
            first.board.refresh()
            return first.free_places() >= SLOTS

        wait_for(slots_are_free, f"agents with {SLOTS} slots have begun")
        yield make


@pytest.fixture
def scheduler(new_scheduler):
    return new_scheduler()


@pytest.fixture
def jobs(campaign, request):
    """Makes job requests in the campaign directory, and kills the jobs afterwards."""
    campaign.mkdir(mode=0o700, exist_ok=True)
    names = []

    def make(name, script, array=None):
        folder = campaign / "jobs" / name.replace("[", "-").replace("]", "")
        folder.mkdir(parents=True)
        submit_folder = campaign / "jobs" / array if array else folder
        submit_folder.mkdir(exist_ok=True)
        names.append(name)
        return JobRequest(name, folder, submit_folder, campaign, (sys.executable, "-c", textwrap.dedent(script)))

    yield make
    if "scheduler" in request.fixturenames:
        request.getfixturevalue("scheduler").cancel(dict.fromkeys(names), force=True)


def wait_for(condition, event, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {event}"
        time.sleep(0.05)


def wait_for_file(request, name="started"):
    wait_for((request.folder / name).exists, f"job {request.name} writes the file {name}")


def wait_for_end(scheduler, name):
    wait_for(lambda: not is_live(scheduler, name), f"job {name} leaves the queue")


def is_live(scheduler, name):
    status = scheduler.query([name]).get(name)
    return status is not None and status.state is not JobState.ENDED


def end_of_job(scheduler, name, job):
    """The end of a job, as soon as the scheduler knows it."""
    ends = {}

    def is_known():
        ends.update(scheduler.query_unlisted({name: job}))
        return isinstance(ends.get(name), JobEnd)

    wait_for(is_known, f"the scheduler knows the end of job {name}")
    return ends[name]


WAITING = "import time; open('started', 'w').close(); time.sleep(120)"


def test_a_job_runs_in_its_folder_and_its_output_is_in_the_log(scheduler, jobs):
    request = jobs("conf1-00000-1", "import os; print('hello from', os.getcwd())")
    job = scheduler.submit([request]).jobs[request.name]
    assert job
    wait_for_end(scheduler, request.name)
    assert f"hello from {request.folder}" in (request.folder / "log").read_text()


def test_a_running_job_is_found_by_name_with_its_id(scheduler, jobs):
    request = jobs("conf1-00001-1", WAITING)
    job = scheduler.submit([request]).jobs[request.name]
    wait_for_file(request)
    status = scheduler.query([request.name, "conf1-99999-1"])
    assert set(status) == {request.name}
    assert (status[request.name].state, status[request.name].job) == (JobState.RUNNING, job)


def test_a_new_scheduler_object_finds_the_job_of_an_earlier_one(scheduler, new_scheduler, jobs):
    request = jobs("conf1-00002-1", WAITING)
    job = scheduler.submit([request]).jobs[request.name]
    wait_for_file(request)
    assert new_scheduler().query([request.name])[request.name].job == job


def test_neither_a_running_nor_an_unknown_job_has_an_end(scheduler, jobs):
    request = jobs("conf1-00014-1", WAITING)
    job = scheduler.submit([request]).jobs[request.name]
    wait_for_file(request)
    known = scheduler.query_unlisted({request.name: job, "conf1-99999-1": "999999"})
    assert [each for each in known.values() if isinstance(each, JobEnd)] == []
    found = {}

    def is_measured():  # a scheduler may measure it some seconds late
        found.update(scheduler.query([request.name]))
        return found[request.name].running_for is not None

    wait_for(is_measured, f"the queue shows how long {request.name} has run")
    status = found[request.name]
    assert 0 <= status.running_for < 300
    assert (status.stuck, status.final) == (False, False)


def test_jobs_that_are_submitted_together_run_in_their_own_folders(scheduler, jobs):
    limit = min(scheduler.array_limit(), 3)
    names = [f"conf1-w00001[{n}]" for n in range(limit)] if limit > 1 else ["conf1-00015-1", "conf1-00016-1"]
    script = "import os; print('in', os.getcwd(), flush=True); " + WAITING
    requests = [jobs(name, script, array="conf1-w00001" if "[" in name else None) for name in names]
    submission = scheduler.submit(requests)
    assert set(submission.jobs) == set(names)
    if scheduler.free_places() is None:  # else an id is the agent, which may have several
        assert len(set(submission.jobs.values())) == len(names)
    for request in requests:
        wait_for_file(request)
        wait_for(
            lambda request=request: f"in {request.folder}" in (request.folder / "log").read_text(),
            f"the log of {request.name} shows its folder",
        )
    statuses = scheduler.query(names)
    assert {name: status.job for name, status in statuses.items()} == submission.jobs
    scheduler.cancel(dict.fromkeys(names[:1]), force=False)
    wait_for_end(scheduler, names[0])
    assert all(is_live(scheduler, name) for name in names[1:])


def test_cancelling_sends_sigterm_first(scheduler, jobs):
    request = jobs(
        "conf1-00003-1",
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (open('signalled', 'w').close(), sys.exit(0)))
        open('started', 'w').close()
        time.sleep(120)
        """,
    )
    scheduler.submit([request])
    wait_for_file(request)
    scheduler.cancel(dict.fromkeys([request.name]), force=False)
    wait_for_end(scheduler, request.name)
    assert (request.folder / "signalled").exists()


def test_force_ends_a_job_that_ignores_sigterm(scheduler, jobs):
    request = jobs(
        "conf1-00004-1",
        """
        import signal, time
        signal.signal(signal.SIGTERM, lambda *_: open('signalled', 'w').close())
        open('started', 'w').close()
        while True:
            time.sleep(1)
        """,
    )
    scheduler.submit([request])
    wait_for_file(request)
    scheduler.cancel(dict.fromkeys([request.name]), force=False)
    wait_for_file(request, "signalled")
    assert is_live(scheduler, request.name)
    scheduler.cancel(dict.fromkeys([request.name]), force=True)
    wait_for_end(scheduler, request.name)


def test_cancelling_ends_only_the_jobs_named(scheduler, jobs):
    first, second = jobs("conf1-00005-1", WAITING), jobs("conf1-00006-1", WAITING)
    for request in (first, second):
        scheduler.submit([request])
        wait_for_file(request)
    scheduler.cancel(dict.fromkeys([first.name, "conf1-99999-1"]), force=False)
    wait_for_end(scheduler, first.name)
    assert is_live(scheduler, second.name)


def test_a_dependent_job_is_pending_until_the_other_one_has_ended(scheduler, jobs):
    if not scheduler.lookahead:
        pytest.skip("it has no queue")
    first, second = jobs("conf1-00017-1", WAITING), jobs("conf1-00018-1", WAITING)
    job = scheduler.submit([first]).jobs[first.name]
    wait_for_file(first)
    assert scheduler.submit([replace(second, after=job)]).jobs
    time.sleep(3)  # resources for it are free
    status = scheduler.query([second.name])[second.name]
    assert (status.state, status.stuck) == (JobState.PENDING, False)
    assert not (second.folder / "started").exists()
    scheduler.cancel({first.name: job}, force=True)
    wait_for_file(second)


def test_cancelling_ended_jobs_refuses_nothing(scheduler, jobs):
    request = jobs("conf1-00019-1", "pass")
    job = scheduler.submit([request]).jobs[request.name]
    wait_for_end(scheduler, request.name)
    for force in (False, True):
        done = scheduler.cancel({request.name: job, "conf1-99999-1": None}, force=force)
        assert (done.never_started, done.refused) == ([], {})


@pytest.mark.slurm
def test_cancelling_a_pending_element_leaves_its_array_pending(slurm, jobs):
    site = {"scheduler": SLURM | {"directives": ["--hold"]}}
    scheduler = make_scheduler(SiteSettings.model_validate(site).scheduler)
    names = [f"conf1-w00020[{index}]" for index in range(3)]
    requests = [jobs(name, WAITING, array="conf1-w00020") for name in names]
    scheduler.submit(requests)
    assert {status.state for status in scheduler.query(names).values()} == {JobState.PENDING}
    assert scheduler.cancel(dict.fromkeys(names[:1]), force=False).never_started == names[:1]
    wait_for_end(scheduler, names[0])
    assert all(is_live(scheduler, name) for name in names[1:])
    scheduler.cancel(dict.fromkeys(names), force=True)


def test_a_failed_command_is_reported(scheduler, jobs):
    request = jobs("conf1-00007-1", "import sys; sys.exit('it went wrong')")
    job = scheduler.submit([request]).jobs[request.name]
    wait_for_end(scheduler, request.name)
    assert "it went wrong" in (request.folder / "log").read_text()
    if not getattr(scheduler, "has_history", True):
        return  # a PBS without job history knows no more
    end = end_of_job(scheduler, request.name, job)
    assert end.reason is EndReason.TRIAL_ERROR
    assert "exit status 1" in end.detail


# an agent checks the directory when it begins: `tests/agent`
@pytest.mark.parametrize("site", scheduler_params(without=PLACED), indirect=True)
def test_the_script_refuses_a_campaign_that_others_can_write(scheduler, jobs):
    request = jobs("conf1-00008-1", "open('ran', 'w').close()")
    request.folder.parent.parent.chmod(0o770)
    scheduler.submit([request])
    wait_for_end(scheduler, request.name)
    wait_for_file(request, scheduler.early_log)  # PBS copies it after the job's end
    assert "refused" in (request.folder / scheduler.early_log).read_text()
    assert not (request.folder / "ran").exists()


def test_rendering_submits_nothing(scheduler, jobs):
    request = jobs("conf1-00009-1", "open('ran', 'w').close()")
    request.folder.rmdir()
    assert request.name in scheduler.render(request)
    assert not request.folder.exists()
    assert not scheduler.query([request.name])


def test_a_job_survives_the_process_that_submitted_it(scheduler, new_scheduler, settings, jobs):
    request = jobs("conf1-00010-1", WAITING)
    paths = [str(request.folder), str(request.submit_folder), str(request.campaign)]
    program = f"""
import os, signal
from pathlib import Path
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.schedulers.base import JobRequest
from aiperf_orch.schedulers.registry import make_scheduler, make_trial_scheduler
from aiperf_orch.settings.models import SiteSettings
request = JobRequest({request.name!r}, *map(Path, {paths!r}), {request.command!r})
if CampaignDirectory.exists(request.campaign):
    directory = CampaignDirectory.open(request.campaign)
    scheduler = make_trial_scheduler(directory)
    scheduler.hold(read_holder(directory.lock).generation)
else:
    settings = SiteSettings.model_validate({{"scheduler": {settings.model_dump(mode="json")!r}}})
    scheduler = make_scheduler(settings.scheduler)
scheduler.submit([request])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == -signal.SIGKILL
    wait_for_file(request)
    assert is_live(new_scheduler(), request.name)


# what an agent runs has the agent's variables, and none of the submitter's
@pytest.mark.parametrize("site", scheduler_params(without=PLACED), indirect=True)
def test_the_submitters_submitit_variables_do_not_reach_the_job(scheduler, jobs, monkeypatch):
    monkeypatch.setenv("SUBMITIT_FOLDER", "/elsewhere")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    request = jobs("conf1-00011-1", "import os; print('executor', os.environ['SUBMITIT_EXECUTOR'])")
    scheduler.submit([request])
    wait_for_end(scheduler, request.name)
    assert f"executor {scheduler._settings.kind}" in (request.folder / "log").read_text()


def test_local_jobs_are_bound_to_their_own_cores_and_gpus(jobs, monkeypatch):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    monkeypatch.setattr(local, "_NAME", "AIPERF_ORCH_TEST_JOB")  # other campaigns on this machine hold cores, too
    scheduler = make_scheduler(LocalSettings(gpus_per_trial=2))
    assert scheduler.check(concurrency=2) == []
    assert scheduler.check(concurrency=3)[-1] == "3 concurrent trials need 6 GPUs, and 4 are available: they share"
    seen = "sorted(os.sched_getaffinity(0)), os.environ['CUDA_VISIBLE_DEVICES']"
    report = f"import os, time; open('has', 'w').write(repr(({seen}))); time.sleep(120)"
    first, second = jobs("conf1-00012-1", report), jobs("conf1-00013-1", report)
    for request in (first, second):
        scheduler.submit([request])
        wait_for(
            lambda request=request: (request.folder / "has").exists() and (request.folder / "has").read_text(),
            f"job {request.name} reports its cores and GPUs",
        )
    (a_cores, a_gpus), (b_cores, b_gpus) = (literal_eval((each.folder / "has").read_text()) for each in (first, second))
    assert (len(a_cores), len(b_cores), len({*a_cores, *b_cores})) == (1, 1, 2)
    assert {a_gpus, b_gpus} == {"4,5", "6,7"}


def test_a_local_job_that_cannot_be_started_now_may_be_started_later(jobs, monkeypatch):
    def no_process(*_arguments, **_options):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    scheduler = make_scheduler(LocalSettings())
    requests = [jobs("conf1-00020-1", "pass"), jobs("conf1-00021-1", "pass")]
    with monkeypatch.context() as full:
        full.setattr(local.subprocess, "Popen", no_process)
        done = scheduler.submit(requests)
    assert "Resource temporarily unavailable" in done.postponed[requests[0].name]
    assert (list(done.waiting), done.refused) == ([requests[1].name], {})
    assert scheduler.submit(requests).jobs.keys() == {request.name for request in requests}
    for request in requests:
        wait_for_end(scheduler, request.name)
