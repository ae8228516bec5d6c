"""The keeper of allocations, step by step, with a scheduler and a board of agents that the test plays."""

import time
from dataclasses import replace
from datetime import timedelta
from threading import Event
from types import SimpleNamespace

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.allocation_keeper import AllocationKeeper
from aiperf_orch.controller.allocation_plan import AllocationLimits
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.records.agents import AgentBegin
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import Finished, Stopped
from aiperf_orch.records.workforce import AgentLeave
from aiperf_orch.schedulers.base import JobEnd, JobState, JobStatus, SubmitResult
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.units import now
from controller.stepping import Scheduler
from waiting import wait_for

GRACE = 0.2


class Batch(Scheduler):
    """A batch system whose jobs are in these states; names that are in none are unknown to it."""

    def __init__(self):
        super().__init__()
        self.jobs, self.queries, self.ends, self.running_for = {}, [], {}, 1.0
        self.submit_result = self.accept
        self.requests = []

    def accept(self, requests):
        self.jobs |= {request.name: JobState.PENDING for request in requests}
        return SubmitResult(jobs={request.name: "7" for request in requests})

    def submit(self, requests):
        self.requests += requests
        return super().submit(requests)

    def query(self, names):
        self.queries.append(set(names))
        stuck = {"stuck": True, "final": True, "detail": "held by root"} if "stuck" in self.ends else {}
        return {
            name: JobStatus(name, "7", self.jobs[name], running_for=self.running_for, **stuck)
            for name in names
            if name in self.jobs
        }

    def query_unlisted(self, jobs):
        return {name: self.ends[name] for name in jobs if name in self.ends}


class Agents:
    """The placement of trials, as the keeper sees it: agents, and what they are ordered."""

    def __init__(self):
        self.agents, self.ended, self.dismissed = {}, [], []
        self.board = self
        self.controller_interval = 30.0

    def refresh(self):
        pass

    def left_before(self, leaves):
        pass

    def dismiss(self, reason):
        self.dismissed.append(reason)

    def allocation_ended(self, name, end):
        self.ended.append((name[-1], end.reason))

    def begin(self, name, allocation, **fields):
        begin = AgentBegin(
            time=now(), agent=name, allocation=allocation, job="7", host="n1", boot="b", namespace="n", pid=1,
            started=1, slots=4, cores=4, gpus=0, version="1.0", **fields,
        )  # fmt: skip
        self.agents[name] = SimpleNamespace(begin=begin, gone=None, silent_for=0.0)

    def leave(self, name, reason):
        self.agents[name].gone = AgentLeave(agent=name, time=now(), reason=reason)


class Kept:
    """A campaign with a keeper, which `restart` replaces."""

    def __init__(self, directory):
        self.directory, self.batch, self.agents, self.warnings = directory, Batch(), Agents(), []
        self.campaign = self.keeper = None
        self.limits = AllocationLimits.of(directory.settings)
        self.restart()

    def restart(self):
        """Another controller takes the campaign."""
        self.close()
        self.campaign = HeldCampaign(self.directory, resume=True)
        arguments = self.agents, self.batch, self.limits, self.warnings.append, Event()
        self.keeper = AllocationKeeper(self.campaign, *arguments)

    def limit(self, **changes):
        """Another controller, with other limits."""
        self.limits = replace(self.limits, **changes)
        self.restart()

    def close(self):
        if self.campaign is not None:
            self.campaign.close()

    def step(self, deadline=None):
        """One step, as the controller takes it."""
        self.keeper.step()
        if self.campaign.state.phase is Phase.RUNNING:
            self.keeper.submit(deadline)

    def step_until(self, condition, event, deadline=None):
        wait_for(lambda: self.step(deadline) or condition(), event, seconds=20, interval=0.01)

    @property
    def allocations(self):
        """Each allocation by its number: its job, or why it ended."""
        found = self.campaign.state.workforce.allocations.values()
        return {int(each.name[-5:]): each.end.reason if each.end else each.job for each in found}

    def name(self, number):
        return self.directory.allocation_name(number)

    def run(self, number=1, **fields):
        """Let an allocation run, with one agent."""
        self.step_until(lambda: self.allocations.get(number) == "7", "the allocation was accepted")
        self.batch.jobs[self.name(number)] = JobState.RUNNING
        self.agents.begin(f"n1.{number}", self.name(number), **fields)
        self.step_until(lambda: f"n1.{number}" in self.campaign.state.workforce.agents, "the agent joined")


@pytest.fixture
def kept(campaign):
    scheduler = {
        "kind": "slurm", "poll_interval": "10ms", "lost_after": "100ms", "begin_within": "10s", "silent_after": "100ms",
        "stop_grace": f"{GRACE * 1000:g}ms", "warn_before": "1s", "retry_submit_for": "1s",
        "allocations": {"nodes": 2, "time_limit": "1h"},
    }  # fmt: skip
    kept = Kept(campaign(**{f"scheduler__{key}": value for key, value in scheduler.items()}).directory)
    yield kept
    kept.close()


def test_agents_join_and_leave_in_the_journal(kept):
    kept.run()
    kept.agents.leave("n1.1", "lost")
    kept.step_until(lambda: not kept.campaign.state.workforce.present_agents, "the agent left")
    assert kept.directory.controller_heartbeat.exists()
    assert len(kept.batch.requests) == 1


def test_without_further_allocations_a_campaign_pauses_or_lives_on_other_agents(kept):
    kept.limit(total=1)
    kept.run()
    kept.batch.jobs.clear()
    kept.batch.ends[kept.name(1)] = JobEnd(EndReason.TIME_LIMIT)
    kept.agents.leave("n1.1", "time limit")
    kept.step_until(lambda: kept.campaign.state.phase is Phase.PAUSED, "the campaign paused")
    assert kept.campaign.state.phase_reason.startswith("no further trial can start: the only allocation ")
    kept.agents.begin("n2.1", None)  # by hand, while no controller runs
    kept.restart()
    kept.step_until(lambda: kept.campaign.state.workforce.present_agents, "the agent joined")
    kept.step()
    assert kept.campaign.state.phase is Phase.RUNNING


def test_the_next_allocation_waits_for_the_end_of_the_first(kept):
    kept.run(ends_at=now() + timedelta(hours=1))
    kept.step_until(lambda: 2 in kept.allocations, "the next one", deadline=now() + timedelta(hours=1.5))
    first, second = kept.batch.requests
    assert (first.after, first.time_limit, second.after) == (None, 3600.0, "7")
    assert second.time_limit == pytest.approx(1800 + GRACE + 1, abs=20)
    kept.batch.ends[kept.name(1)] = JobEnd(EndReason.NODE_FAILURE, "n1 failed")
    del kept.batch.jobs[kept.name(1)]
    kept.agents.agents["n1.1"].silent_for = 1.0
    kept.step_until(lambda: kept.allocations[1] == "NODE_FAILURE", "the end of the first")
    assert kept.agents.ended == [("1", EndReason.NODE_FAILURE)]
    kept.step()
    assert kept.allocations == {1: "NODE_FAILURE", 2: "7"}


def test_a_submission_without_an_answer_is_found_by_its_name(kept):
    kept.batch.submit_result = lambda requests: SubmitResult(unsure={each.name: "no answer" for each in requests})
    kept.step_until(lambda: 1 in kept.allocations, "the submission")
    kept.batch.jobs[kept.name(1)] = JobState.PENDING
    kept.step_until(lambda: kept.allocations == {1: "7"}, "it is found")


@pytest.mark.parametrize("restarts", [False, True])
def test_a_submission_without_a_job_counts_as_never_accepted(kept, restarts):
    kept.batch.submit_result = lambda requests: SubmitResult(unsure={each.name: "no answer" for each in requests})
    kept.step_until(lambda: 1 in kept.allocations, "the submission")
    kept.batch.submit_result = kept.batch.accept
    if restarts:
        kept.restart()
    kept.step_until(lambda: kept.allocations == {1: "NEVER_ACCEPTED", 2: "7"}, "another one is accepted")
    assert kept.campaign.state.phase is Phase.RUNNING
    # its job appears after all
    kept.batch.jobs[kept.name(1)] = JobState.RUNNING
    kept.step_until(lambda: ("cancel", "a00001") in kept.batch.calls, "it is cancelled")
    assert f"allocation {kept.name(1)} (job 7) was accepted too late, and is cancelled" in kept.warnings


def test_a_final_refusal_pauses_with_the_message_of_the_scheduler(kept):
    kept.batch.submit_result = lambda requests: SubmitResult(refused={each.name: "bad account" for each in requests})
    kept.step_until(lambda: kept.campaign.state.phase is Phase.PAUSED, "the pause")
    assert kept.campaign.state.phase_reason == f"allocation {kept.name(1)} was refused: bad account"
    assert kept.allocations == {1: "SUBMIT_REFUSED"}


def test_a_postponed_submission_is_repeated_under_its_name(kept):
    answers = [SubmitResult(postponed={kept.name(1): "too many jobs"})]
    kept.batch.submit_result = lambda requests: answers.pop() if answers else kept.batch.accept(requests)
    kept.step_until(lambda: kept.allocations == {1: "7"}, "the second submission")
    assert [request.name for request in kept.batch.requests] == [kept.name(1)] * 2
    assert "1 allocation(s) not submitted: too many jobs" in kept.warnings[0]


def test_a_held_job_is_cancelled_and_pauses_the_campaign(kept):
    kept.batch.never_starts = True
    kept.batch.ends["stuck"] = True
    kept.step_until(lambda: kept.campaign.state.phase is Phase.PAUSED, "the pause")
    assert kept.allocations == {1: "HELD"}
    assert "held by root" in kept.campaign.state.phase_reason


def test_an_allocation_without_agents_is_hung(kept):
    kept.batch.never_starts, kept.batch.running_for = False, 11.0
    kept.step_until(lambda: kept.allocations.get(1) == "7", "it was accepted")
    kept.batch.jobs[kept.name(1)] = JobState.RUNNING
    kept.step_until(lambda: ("kill", "a00001") in kept.batch.calls, "it is cancelled by force")
    kept.batch.jobs.clear()
    kept.batch.ends[kept.name(1)] = JobEnd(EndReason.CANCELLED)
    kept.step_until(lambda: kept.campaign.state.phase is Phase.PAUSED, "the pause")
    assert kept.allocations == {1: "HUNG"}
    assert "no agent began within 10s of its start" in kept.campaign.state.phase_reason


def test_an_allocation_that_outlives_its_agents_is_ended(kept):
    kept.batch.never_starts = False
    kept.run()
    kept.keeper._settings = kept.keeper._settings.model_copy(update={"begin_within": 0.1})
    kept.agents.leave("n1.1", "failed")
    kept.step_until(lambda: ("kill", "a00001") in kept.batch.calls, "it is cancelled by force")
    kept.batch.jobs.clear()
    kept.step_until(lambda: kept.allocations[1] == "HUNG", "its end")


@pytest.mark.parametrize("call", ["submit", "query", "cancel"])
def test_a_scheduler_that_hangs_does_not_block_a_step(kept, monkeypatch, call):
    answers, begun = Event(), Event()
    real = getattr(kept.batch, call)

    def hang(*arguments, **options):
        begun.set()
        assert answers.wait(20), "the test did not let the call end"
        return real(*arguments, **options)

    kept.batch.nonblocking = False
    kept.restart()
    monkeypatch.setattr(kept.batch, call, hang)
    if call == "cancel":
        kept.step_until(lambda: kept.allocations.get(1) == "7", "it was accepted")
        kept.campaign.append(Stopped)
    kept.agents.begin("n2.1", None)
    kept.step_until(begun.is_set, "the call")
    kept.step_until(lambda: "n2.1" in kept.campaign.state.workforce.agents, "an agent joined meanwhile")
    answers.set()
    kept.step_until(lambda: 1 in kept.allocations and not kept.keeper._submitter.running, "the call ended")


@pytest.mark.parametrize(("kind", "fields"), [(Stopped, {}), (Finished, {"reason": "done", "by_deadline": False})])
def test_a_campaign_that_is_over_dismisses_its_agents(kept, kind, fields):
    kept.run()
    assert not kept.keeper.busy
    kept.campaign.append(kind, **fields)
    assert kept.keeper.busy
    kept.step_until(lambda: kept.agents.dismissed, "the agents are dismissed")
    assert kept.agents.dismissed[0] == f"the campaign is {kept.campaign.state.phase.value}"
    kept.agents.leave("n1.1", "dismissed")
    kept.batch.ends[kept.name(1)] = JobEnd(None, "COMPLETED")
    del kept.batch.jobs[kept.name(1)]
    kept.step_until(lambda: not kept.keeper.busy, "all has ended")
    assert kept.allocations == {1: "DISMISSED"}
    assert [call for call in kept.batch.calls if call[0] != "submit"] == []


def test_agents_that_do_not_obey_are_ended_with_their_allocation(kept):
    kept.batch.never_starts = False
    kept.run()
    kept.campaign.append(Stopped)
    began = time.monotonic()
    kept.step_until(lambda: not kept.keeper.busy, "the time to end is over")
    assert time.monotonic() - began >= 2 * GRACE
    assert [call for call in kept.batch.calls if call[0] != "submit"][:2] == [("cancel", "a00001"), ("kill", "a00001")]


def test_a_pending_allocation_is_cancelled_when_the_campaign_is_over(kept):
    kept.step_until(lambda: kept.allocations.get(1) == "7", "it was accepted")
    kept.campaign.append(Stopped)
    kept.step_until(lambda: not kept.keeper.busy, "all has ended")
    assert kept.allocations == {1: "DISMISSED"}
    kept.restart()
    kept.step_until(lambda: kept.allocations.get(2) == "7", "the campaign goes on in another one")


def test_a_paused_campaign_keeps_its_allocations(kept):
    kept.run()
    kept.keeper._pause("for a test")
    for _ in range(10):
        kept.step()
    assert not kept.keeper.busy
    assert kept.agents.dismissed == []
    assert kept.allocations == {1: "7"}


def test_without_a_scheduler_nothing_is_concluded(kept, monkeypatch):
    kept.run()
    kept.agents.agents["n1.1"].silent_for = 1.0

    def unreachable(names):
        raise SchedulerUnreachableError("squeue failed")

    monkeypatch.setattr(kept.batch, "query", unreachable)
    kept.step_until(lambda: kept.warnings, "a query")
    assert "squeue failed" in kept.warnings[0]
    assert kept.allocations == {1: "7"}


def test_another_controller_knows_allocations_and_their_ends(kept):
    kept.run()
    kept.batch.ends[kept.name(1)] = JobEnd(EndReason.TIME_LIMIT)
    del kept.batch.jobs[kept.name(1)]
    kept.agents.agents["n1.1"].silent_for = 1.0
    kept.step_until(lambda: kept.allocations.get(2) == "7", "the next one")
    kept.agents.ended.clear()
    kept.restart()
    assert kept.agents.ended == [("1", EndReason.TIME_LIMIT)]
    kept.step()
    assert kept.allocations == {1: "TIME_LIMIT", 2: "7"}


def test_a_live_allocation_is_queried_for_every_few_minutes_only(kept):
    kept.run()
    kept.step_until(lambda: not kept.keeper._poller.running, "no query runs")
    kept.batch.queries.clear()
    for _ in range(20):
        kept.step()
        time.sleep(0.01)
    assert kept.batch.queries == []
