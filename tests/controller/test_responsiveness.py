"""A real controller goes on while a scheduler command or the file system hangs, and handles signals.

Each controller is a separate process; the scheduler's programs are small scripts that hang when a test wants it. No
time is asserted but by generous deadlines, all far below `command_timeout`.
"""

import signal
import sys
import time

import pytest

from cluster.slurm_standin import Command, Play, SlurmStandIn, wait_until

DEADLINE = 90  # seconds
FULL = "error: AssocMaxSubmitJobLimit"


class Site:
    """A campaign whose controllers are processes, on stand-ins of Slurm's programs."""

    def __init__(self, folder, write_site, **changes):
        self.folder, self.slurm = folder, SlurmStandIn(folder / "slurm")
        settings = {
            "poll_interval": "200ms",
            "query_interval": "1s",
            "command_timeout": "10m",
            "silent_after": "1s",
            "stop_grace": "5m",
            "lookahead": 0,
        }
        scheduler = {f"scheduler__{name}": value for name, value in settings.items()}
        scheduler |= {"scheduler__kind": "slurm", "campaign__max_trials": 50}
        self.site = write_site(**scheduler | {"training__warmup_epochs": [50], "training__epochs": 50} | changes)
        self.path = folder / "campaign"
        self.play = Play(self.slurm, self.path)
        self.environment = self.slurm.environment
        self.commands = []

    def call(self, *arguments):
        """A process of the command line."""
        self.commands.append(Command(sys.executable, arguments, self.environment, self.folder))
        return self.commands[-1]

    def run(self):
        """A controller."""
        return self.call("run", self.site, "--campaign-dir", self.path, "--yes")

    def stop(self):
        """A request to stop."""
        return self.call("stop", self.path)

    def submitted(self, number, seconds=DEADLINE):
        """The jobs once there are this many, and the controller knows their ids."""
        jobs = self.wait_for(
            lambda: len(self.slurm.jobs()) >= number and self.slurm.jobs(), f"{number} job(s)", seconds
        )
        self.wait_for(lambda: len(self.play.entries("submitted")) >= number, f"{number} submitted entries", seconds)
        return jobs

    def proven(self, number):
        """All jobs that there is room for, once the first trial has ended an epoch; they have begun."""
        (first,) = self.submitted(1)
        self.play.begin(first)
        self.play.epoch(first)
        jobs = self.submitted(number)
        for job in jobs[1:]:
            self.play.begin(job)
        assert self.journalled("began", number)
        return jobs

    def journalled(self, kind, number=1):
        """What the journal says in entries of a kind, when there is so much."""
        what = f"{number} journal entries of kind {kind}"
        return self.wait_for(lambda: len(self.play.entries(kind)) >= number and self.play.entries(kind), what)

    def hangs(self, program):
        """A program hangs, and a call of it does."""
        self.slurm.hang(program)
        self.is_hanging(program)

    def is_hanging(self, program):
        self.wait_for(lambda: self.slurm.hanging(program), f"a call of {program}")

    def wait_for(self, condition, what, seconds=DEADLINE):
        """Wait until a condition holds, and return its result; `what` names the awaited event."""
        found = wait_until(condition, seconds)
        assert found, f"not within {seconds} s: {what}\njournal: {self.play.journal()[-3:]}\noutput: {self.said()}"
        return found

    def said(self):
        return [command.text() for command in self.commands]


def hears(command, pattern, seconds=DEADLINE):
    """Wait for a line of a command's output; `^` stands for its beginning, after the time where there is one."""
    pattern = pattern.replace("^", r"^(?:\d{4}-\S+Z )?")
    assert wait_until(lambda: command.heard(pattern), seconds), (
        f"not within {seconds} s: {pattern!r} in the output: {command.text()}"
    )
    return True


@pytest.fixture
def make_site(tmp_path, write_site):
    made = []

    def make(**changes):
        made.append(Site(tmp_path, write_site, **changes))
        return made[-1]

    yield make
    for site in made:
        for program in ("sbatch", "squeue", "scancel", "scontrol"):
            site.slurm.release(program)
        for command in site.commands:
            command.kill()


def test_while_squeue_hangs_an_end_is_known_and_the_next_trial_submitted(make_site):
    site = make_site(campaign__concurrency=2)
    controller = site.run()
    jobs = site.proven(2)
    site.hangs("squeue")
    asked = len(site.slurm.calls("squeue"))
    site.play.end(jobs[0])
    site.journalled("ended")
    site.submitted(3)
    assert len(site.slurm.calls("squeue")) == asked  # one hangs, and there is no second beside it
    assert site.slurm.hanging("squeue")
    assert controller.status is None


def test_an_end_in_the_queue_is_noticed_in_a_poll_for_another_job(make_site):
    site = make_site(campaign__concurrency=2, scheduler__silent_after="10m")
    site.run()
    (first,) = site.submitted(1)
    site.play.begin(first)
    site.play.epoch(first)
    site.submitted(2)  # it does not begin, so that the queue is asked
    site.journalled("began")
    site.slurm.set_state(first, "FAILED")
    (end, *_) = site.journalled("ended")
    assert (end["trial"], end["reason"]) == (0, "TRIAL_ERROR")


def test_while_sbatch_hangs_events_are_known_and_ctrl_c_obeyed(make_site):
    site = make_site(campaign__concurrency=2)
    controller = site.run()
    jobs = site.proven(2)
    site.slurm.hang("sbatch")
    site.play.end(jobs[0])
    site.is_hanging("sbatch")
    site.play.epoch(jobs[1])
    site.play.end(jobs[1])
    site.journalled("ended", 2)

    controller.interrupt()
    hears(controller, "^stopping: ")
    site.journalled("cancelling")
    time.sleep(1)
    assert site.slurm.calls("scancel") == []  # a job cannot be cancelled while it is being submitted
    site.slurm.release("sbatch")
    assert controller.wait(DEADLINE) == 130
    assert len(site.slurm.jobs()) == 3
    assert site.slurm.state(site.slurm.jobs()[-1]) == "CANCELLED"
    assert site.play.journal()[-1]["type"] == "stopped"


def test_while_sbatch_hangs_other_jobs_are_cancelled(make_site):
    site = make_site(campaign__concurrency=2)
    controller = site.run()
    jobs = site.proven(2)
    site.slurm.hang("sbatch")
    site.play.end(jobs[0])
    site.is_hanging("sbatch")
    controller.interrupt()
    site.wait_for(lambda: site.slurm.is_told(jobs[1]), "the cancellation of a job")
    site.play.obey()
    site.journalled("ended", 2)
    assert site.slurm.hanging("sbatch")
    site.slurm.release("sbatch")
    assert controller.wait(DEADLINE) == 130


def test_a_job_that_is_tried_again_while_a_stop_comes_is_cancelled(make_site):
    site = make_site(scheduler__retry_submit_for="10m")
    site.slurm.fail("sbatch", FULL)
    controller = site.run()
    site.wait_for(lambda: site.slurm.calls("sbatch"), "a call of sbatch")
    site.slurm.hang("sbatch")
    site.slurm.mend("sbatch")
    site.is_hanging("sbatch")
    controller.interrupt()
    site.journalled("cancelling")
    time.sleep(1)
    assert site.play.entries("ended") == []
    site.slurm.release("sbatch")
    assert controller.wait(DEADLINE) == 130
    assert [site.slurm.state(job) for job in site.slurm.jobs()] == ["CANCELLED"]


def test_a_controller_that_waits_to_cancel_takes_no_cpu_time(make_site):
    site = make_site()
    site.slurm.hang("sbatch")
    controller = site.run()
    site.is_hanging("sbatch")
    controller.interrupt()
    site.journalled("cancelling")
    before = _seconds_of(controller.pid)
    time.sleep(5)
    assert _seconds_of(controller.pid) - before < 2.5
    site.slurm.release("sbatch")
    assert controller.wait(DEADLINE) == 130


def _seconds_of(pid):
    """CPU seconds of a process so far."""
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def test_while_scancel_hangs_ends_are_known(make_site):
    site = make_site(campaign__concurrency=2)
    controller = site.run()
    jobs = site.proven(2)
    site.slurm.hang("scancel")
    controller.interrupt()
    hears(controller, "^stopping: 2 live trial")
    site.is_hanging("scancel")
    for job in jobs:
        site.play.end(job, "STOPPED")
    site.journalled("ended", 2)
    assert site.slurm.hanging("scancel")
    assert controller.wait(DEADLINE) == 130
    assert site.play.journal()[-1]["type"] == "stopped"


@pytest.mark.long
def test_a_deadline_that_passes_while_commands_hang_ends_the_campaign(make_site):
    site = make_site(campaign__concurrency=2, campaign__duration="8s")
    controller = site.run()
    jobs = site.proven(2)
    for program in ("squeue", "sbatch"):
        site.slurm.hang(program)
    site.play.end(jobs[0])
    site.is_hanging("sbatch")
    site.journalled("cancelling", 2)
    for program in ("squeue", "sbatch"):
        site.slurm.release(program)
    site.wait_for(lambda: site.slurm.is_told(jobs[1]), "the cancellation of a job")
    site.play.obey()
    assert controller.wait(DEADLINE) == 0
    finished = site.play.journal()[-1]
    assert (finished["type"], finished["by_deadline"]) == ("finished", True)
    assert {end["reason"] for end in site.play.entries("ended")[1:]} == {"CAMPAIGN_ENDED"}
    assert "CANCELLED" in site.slurm.state(site.slurm.jobs()[-1])


@pytest.mark.parametrize("program", ["squeue", "sbatch", "scancel"])
def test_ctrl_c_twice_leaves_although_a_command_hangs(make_site, program):
    site = make_site(campaign__concurrency=2)
    controller = site.run()
    jobs = site.proven(2)
    site.slurm.hang(program)
    if program == "sbatch":
        site.play.end(jobs[0])
    if program != "scancel":
        site.is_hanging(program)
    controller.interrupt()
    hears(controller, "^stopping: 2 live trial")
    if program == "scancel":
        site.is_hanging(program)
    if program == "sbatch":  # the other one is cancelled meanwhile
        site.wait_for(lambda: site.slurm.is_told(jobs[1]), "the cancellation of a job")
        site.wait_for(lambda: len(site.slurm.calls("scancel", "end")) == 1, "the end of scancel")
        time.sleep(2)
    controller.interrupt()
    hears(controller, "^leaving at once")
    assert controller.wait(30) == 130
    outcome = {"sbatch": "1 of 2 live trial.s. were signalled to end"}.get(program, "2 live trial.s. run on")
    hears(controller, f"^left; {outcome}")


@pytest.fixture
def hanging_files(tmp_path, preload):
    """A path, and the environment in which opening an events file blocks while that path exists."""
    block = tmp_path / "block"
    return block, {"LD_PRELOAD": str(preload("blocked_events")), "BLOCK": str(block)}


def test_leaving_works_while_the_campaigns_file_system_hangs(make_site, hanging_files):
    block, environment = hanging_files
    site = make_site()
    site.environment |= environment
    controller = site.run()
    (job,) = site.submitted(1)
    site.play.begin(job)
    site.journalled("began")
    block.touch()
    time.sleep(1)
    controller.interrupt()
    hears(controller, "^stopping: 1 live trial", 30)
    time.sleep(1)
    assert site.play.entries("cancelling") == []  # it does hang
    controller.interrupt()
    hears(controller, "^leaving at once", 30)
    assert controller.wait(60) == 130
    hears(controller, "file system does not answer")
    block.unlink()

    again = site.run()
    site.play.epoch(job)
    site.play.end(job)
    site.journalled("ended")
    again.send(signal.SIGTERM)
    again.wait(DEADLINE)


def test_a_file_system_that_hung_costs_nothing_but_time(make_site, hanging_files):
    block, environment = hanging_files
    site = make_site()
    site.environment |= environment
    controller = site.run()
    (job,) = site.submitted(1)
    site.play.begin(job)
    site.journalled("began")
    block.touch()
    site.play.epoch(job)
    site.play.end(job)
    time.sleep(3)
    assert site.play.entries("ended") == []
    block.unlink()
    (end, *_) = site.journalled("ended")
    assert (end["reason"], end["epochs"]) == ("COMPLETED", 1)
    site.submitted(2)
    assert controller.status is None


def test_stop_reports_the_controller_it_asked_and_the_outcome(make_site):
    site = make_site(campaign__concurrency=2)
    controller = site.run()
    jobs = site.proven(2)
    stop = site.stop()
    hears(stop, rf"asked its controller \(process {controller.pid} on \S+\) to stop")
    assert (site.path / "stop.request").exists()
    site.wait_for(lambda: all(map(site.slurm.is_told, jobs)), "the cancellation of all jobs")
    assert stop.status is None
    site.play.obey()
    assert stop.wait(DEADLINE) == 0
    hears(stop, r"stopped; 2 trial\(s\) were ended$")
    assert controller.wait(DEADLINE) == 4


@pytest.mark.long
def test_stop_does_not_report_stopped_while_no_job_can_be_cancelled(make_site):
    site = make_site(scheduler__stop_grace="2s", scheduler__query_interval="500ms")
    controller = site.run()
    (job,) = site.submitted(1)
    site.play.begin(job)
    site.journalled("began")
    for program in ("squeue", "scancel", "sbatch", "scontrol"):
        site.slurm.fail(program)
    stop = site.stop()
    assert stop.wait(DEADLINE) == 4
    hears(stop, "not stopped yet: its controller is still ending 1 of 1 live trial")
    assert not stop.heard(" stopped[;]")
    assert controller.status is None


def test_stop_without_a_controller_reports_what_it_left(make_site):
    site = make_site()
    controller = site.run()
    (job,) = site.submitted(1)
    site.play.begin(job)
    site.journalled("began")
    controller.kill()
    for program in ("squeue", "scancel", "sbatch"):
        site.slurm.fail(program)
    stop = site.stop()
    hears(stop, r"no controller runs: ending 1 live trial\(s\) from this process")
    hears(stop, r"cancelling 1 job\(s\) again")
    assert stop.status is None
    stop.interrupt()
    hears(stop, "^stopping: 1 live trial")
    stop.interrupt()
    assert stop.wait(DEADLINE) == 130
    hears(stop, r"not stopped: of 1 live trial\(s\) 0 were signalled to end")
    assert not stop.heard(" stopped[;]")


def test_an_interrupted_stop_does_not_report_stopped(make_site):
    site = make_site()
    controller = site.run()
    (job,) = site.submitted(1)
    site.play.begin(job)
    site.journalled("began")
    site.slurm.hang("scancel")
    stop = site.stop()
    hears(stop, "asked its controller")
    site.is_hanging("scancel")
    stop.interrupt()
    assert stop.wait(30) == 130
    hears(stop, "not stopped yet, and no longer waited for")
    assert not stop.heard(" stopped[;]")
    assert controller.status is None


def test_a_stop_request_is_noticed_between_submissions(make_site):
    site = make_site(campaign__concurrency=12)
    (site.slurm.folder / "config").write_text("AccountingStorageType = (null)\nMaxArraySize = 1\n")  # no arrays
    controller = site.run()
    (first,) = site.submitted(1)
    site.slurm.slow("sbatch", 2)
    site.play.begin(first)
    site.play.epoch(first)
    site.submitted(2)
    stop = site.stop()
    site.journalled("cancelling")
    site.wait_for(lambda: site.slurm.is_told(first), "the cancellation of a job")
    site.play.obey()
    assert stop.wait(DEADLINE) == 0
    assert controller.wait(DEADLINE) == 4
    assert len(site.slurm.jobs()) < 9
    assert {site.slurm.state(job) for job in site.slurm.jobs()[1:]} == {"CANCELLED"}
