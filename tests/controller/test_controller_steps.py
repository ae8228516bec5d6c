"""Steps of a controller with a scheduler that the test plays: from an answer to the journal and the next call."""

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.controller import Controller
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import CancelResult, JobEnd, JobState, JobStatus, SubmitResult


class Scheduler:
    """Accepts all jobs; `status` and `known` answer for each of them, `calls` lists submissions and cancellations."""

    nonblocking, query_interval, lookahead, avoids_nodes, announces_jobs = True, 0.0, 0, True, False
    has_queue = True
    early_log, max_cancels_per_call = "log", None

    def __init__(self):
        self.status, self.known, self.calls = None, None, []
        self.submit_result = None

    def hold(self, generation):
        pass

    def free_places(self):
        return None

    def take_news(self):
        return ()

    def gone_jobs(self):
        return ()

    def submit(self, requests):
        self.calls += [("submit", request.name.split("-", 1)[1]) for request in requests]
        if self.submit_result is not None:
            return self.submit_result(requests)
        return SubmitResult(jobs={request.name: "7" for request in requests})

    def array_limit(self):
        return 1

    def release_resources(self, names):
        pass

    def query(self, names):
        fields = self.status
        return {} if fields is None else {name: JobStatus(name, "7", **fields) for name in names}

    def query_unlisted(self, jobs):
        return {} if self.known is None else dict.fromkeys(jobs, self.known)

    def cancel(self, jobs, *, force):
        self.calls += [("kill" if force else "cancel", name.split("-", 1)[1]) for name in jobs]
        return CancelResult(never_started=list(jobs))


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def controller(campaign, scheduler, warnings):
    """A controller whose first trial is submitted, of a campaign without any patience but `begin_within`."""
    patience = {f"scheduler__{name}": "10ms" for name in ("poll_interval", "silent_after", "lost_after")}
    made = campaign(campaign__max_attempts=2, campaign__max_trials=2, scheduler__begin_within="15m", **patience)
    controller = Controller(made.directory, scheduler, resume=True, warn=warnings.append)
    scheduler.status = {"state": JobState.PENDING}
    controller.step()
    assert scheduler.calls == [("submit", "00000-1")]
    scheduler.calls.clear()
    yield controller
    controller.close()


def ends(controller):
    return [(end.trial, end.attempt, end.reason.value, end.final) for end in controller.state.ends]


def test_a_job_that_runs_but_never_begins_is_cancelled_as_hung(controller, scheduler):
    scheduler.status = {"state": JobState.RUNNING, "running_for": 899.0}
    controller.step()
    assert scheduler.calls == []
    scheduler.status = {"state": JobState.RUNNING, "running_for": 900.0}
    controller.step()
    assert scheduler.calls == [("cancel", "00000-1")], "a job that never begins must be cancelled within one step"
    assert ends(controller) == [(0, 1, "HUNG", False)]


def test_a_job_that_can_never_run_is_cancelled_as_held(controller, scheduler):
    scheduler.status = {"state": JobState.PENDING, "detail": "Can Never Run", "stuck": True, "final": True}
    controller.step()
    assert scheduler.calls == [("cancel", "00000-1")]
    assert ends(controller) == [(0, 1, "HELD", False)]
    assert controller.state.ends[0].message == "Can Never Run"


def test_a_job_that_never_started_is_submitted_again_by_its_name(controller, scheduler):
    scheduler.status = {"state": JobState.ENDED, "never_started": True}
    controller.step()
    assert scheduler.calls == [("submit", "00000-1")]
    assert (ends(controller), list(controller.state.live)) == ([], [(0, 1)])


def test_the_first_failure_of_an_unproven_site_pauses_the_campaign(controller, scheduler):
    scheduler.status, scheduler.known = None, JobEnd(EndReason.TRIAL_ERROR, "exit status 1", ("n3",))
    wait_for_end(controller)
    assert ends(controller) == [(0, 1, "TRIAL_ERROR", False)]
    assert controller.state.ends[0].hosts == ["n3"]
    assert controller.state.phase is Phase.PAUSED
    assert not controller.busy


def test_a_missing_job_is_ended_by_force_before_it_is_lost(controller, scheduler):
    scheduler.status = None
    wait_for_end(controller)
    assert scheduler.calls == [("kill", "00000-1")]
    assert ends(controller) == [(0, 1, "LOST", False)]


def test_a_refused_job_pauses_the_campaign(campaign, scheduler, warnings):
    made = campaign(campaign__max_trials=2)
    scheduler.submit_result = lambda requests: SubmitResult(refused={requests[0].name: "invalid account"})
    controller = Controller(made.directory, scheduler, resume=True, warn=warnings.append)
    controller.step()
    controller.close()
    assert ends(controller) == [(0, 1, "SUBMIT_REFUSED", True)]
    assert [file.run for file in controller.state.ends[0].files] == [0]  # with its end line
    assert controller.state.phase_reason == "trial 0 ended SUBMIT_REFUSED: invalid account"


@pytest.mark.parametrize(("why", "at_once"), [("", True), ("QOSMaxSubmitJobPerUserLimit", False)])
def test_an_unsubmitted_job_is_submitted_again(campaign, scheduler, warnings, why, at_once):
    made = campaign(campaign__max_trials=2)
    scheduler.submit_result = lambda requests: SubmitResult(waiting={requests[0].name: why})
    controller = Controller(made.directory, scheduler, resume=True, warn=warnings.append)
    controller.step()
    assert (controller.has_pending_work, controller.busy) == (at_once, False)
    assert (controller.seconds_to_next_step == 0.0) is at_once
    scheduler.submit_result = None
    controller.step()
    assert len(scheduler.calls) == (2 if at_once else 1)
    controller.step(stop=True)
    assert ends(controller) == [(0, 1, "STOPPED", False)]
    assert (("cancel", "00000-1") in scheduler.calls) is at_once  # what was not submitted needs no cancellation
    controller.close()


def test_a_stop_cancels_all_live_attempts_and_ends_the_campaign(controller, scheduler):
    assert controller.step(stop=True) is Phase.STOPPED
    assert scheduler.calls == [("cancel", "00000-1")]
    assert ends(controller) == [(0, 1, "STOPPED", False)]
    assert controller.cancelled_count == 0


def test_a_trial_that_always_fails_gets_max_attempts_and_no_more(campaign, scheduler, warnings):
    made = campaign(
        campaign__max_attempts=2, campaign__max_trials=2, campaign__duration="9h", scheduler__poll_interval="10ms"
    )
    made.trial(0, [(1, 0.5)])
    controller = Controller(made.directory, scheduler, resume=True, warn=warnings.append)
    scheduler.status = {"state": JobState.RUNNING, "running_for": 9e9}  # it never begins
    step_until(controller, lambda: controller.state.phase is not Phase.RUNNING)
    controller.close()
    submitted = [name for call, name in scheduler.calls if call == "submit"]
    assert submitted == ["00001-1", "00001-2"], "max_attempts is 2"
    assert ends(controller)[1:] == [(1, 1, "HUNG", False), (1, 2, "HUNG", True)]
    assert controller.state.phase is Phase.FINISHED


def wait_for_end(controller):
    """Step until an attempt has ended."""
    step_until(controller, lambda: controller.state.ends)


def step_until(controller, condition):
    """Step until a condition holds: the settings of the tests have 10 ms of real time for `lost_after`."""
    for _ in range(500):
        controller.step()
        if condition():
            return
        controller.wait(0.01)
    pytest.fail("not within 500 steps of 10 ms")
